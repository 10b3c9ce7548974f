//! The stages of a flow, drawn for a terminal: as a picture where it is clear, as a list of who waits for whom where
//! lines would cross or run out of the screen, and level by level where there are too many for either. Never more than
//! [`MOST_LINES`] lines, and what is left out is said.

use unicode_width::UnicodeWidthStr;

use super::picture;
use crate::domain::flow::graph::Graph;

/// What one drawing takes at most.
pub const MOST_LINES: usize = 60;

/// Lines of at most `width` columns. `label` is what stands for a stage: its name, or more.
pub fn draw(graph: &Graph, width: usize, label: &dyn Fn(usize) -> String) -> Vec<String> {
    if graph.len() > MOST_LINES {
        return levels(graph, width);
    }
    let needed = essential(graph);
    let labels: Vec<String> = (0..graph.len()).map(label).collect();
    picture::draw(graph, &needed, &labels, width).unwrap_or_else(|| list(graph, &needed, &labels, width))
}

/// The plain names as labels.
pub fn draw_names(graph: &Graph, width: usize) -> Vec<String> {
    draw(graph, width, &|stage| graph.name(stage).to_string())
}

/// For each stage what it waits for, without what follows from the rest: who waits for b, which waits for a, need not
/// be told to wait for a. Only for graphs that are small enough to be looked at.
fn essential(graph: &Graph) -> Vec<Vec<usize>> {
    let direct = |stage: usize| {
        let up = graph.upstream(stage);
        let further = graph.ancestors(up);
        up.iter().copied().filter(|before| !further.contains(before)).collect()
    };
    (0..graph.len()).map(direct).collect()
}

/// One line a stage, in the order in which they can run.
fn list(graph: &Graph, needed: &[Vec<usize>], labels: &[String], width: usize) -> Vec<String> {
    let wide = labels.iter().map(|label| label.width()).max().unwrap_or(0).min(width / 2);
    let line = |stage: &usize| {
        let label = cut(&labels[*stage], wide);
        let before: Vec<&str> = needed[*stage].iter().map(|before| graph.name(*before).as_str()).collect();
        if before.is_empty() {
            return cut(&label, width);
        }
        let pad = " ".repeat(wide.saturating_sub(label.width()));
        let start = format!("{label}{pad}  ← ");
        let room = width.saturating_sub(start.width());
        cut(&format!("{start}{}", some(&before, room)), width)
    };
    graph.order().iter().map(line).collect()
}

/// One line for all stages of a level; of many levels the first and the last.
fn levels(graph: &Graph, width: usize) -> Vec<String> {
    let mut levels: Vec<Vec<&str>> = Vec::new();
    for stage in graph.order() {
        let level = graph.level(*stage);
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        levels[level].push(graph.name(*stage).as_str());
    }
    let digits = levels.len().to_string().len();
    let line = |(number, names): (usize, &Vec<&str>)| {
        let start = format!("{:>digits$}  ", number + 1);
        let room = width.saturating_sub(start.len());
        cut(&format!("{start}{}", some(names, room)), width)
    };
    let mut lines = vec![cut(
        &format!("{} stages on {} levels; each waits for some before it", graph.len(), levels.len()),
        width,
    )];
    // The line above, and the one that says what is left out.
    let shown = MOST_LINES - 2;
    if levels.len() <= shown + 1 {
        lines.extend(levels.iter().enumerate().map(line));
        return lines;
    }
    let (first, last) = (shown / 2, levels.len() - shown.div_ceil(2));
    lines.extend(levels.iter().enumerate().take(first).map(line));
    let hidden: usize = levels.iter().take(last).skip(first).map(Vec::len).sum();
    lines.push(cut(
        &format!("{:>digits$}  {hidden} stages on {} levels are left out", "…", last - first),
        width,
    ));
    lines.extend(levels.iter().enumerate().skip(last).map(line));
    lines
}

/// As many of the names as there is room for, and how many more there are.
fn some(names: &[&str], room: usize) -> String {
    let all = names.join(", ");
    if all.width() <= room {
        return all;
    }
    let more = |left: usize| format!("… and {left} more");
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let next = format!("{text}{name}, ");
        if next.width() + more(names.len() - index - 1).width() > room && index > 0 {
            return format!("{text}{}", more(names.len() - index));
        }
        text = next;
    }
    all
}

/// At most so wide; what is cut ends with an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        let next = format!("{short}{c}");
        if next.width() + 1 > width {
            break;
        }
        short = next;
    }
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
