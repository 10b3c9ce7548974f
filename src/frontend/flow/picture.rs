//! The picture of a small graph: a column for each level, and lines between them.
//!
//! ```text
//! script ─┬─ storyboard ─── check ─┬─ render
//!         └─ voice ────────────────┘
//! ```
//!
//! Every line that is drawn means what it seems to mean: stages that share a vertical line on its left side are each
//! waited for by all on its right side. A graph that cannot be drawn so is not drawn.

use std::collections::BTreeSet;

use unicode_width::UnicodeWidthStr;

use crate::domain::flow::graph::Graph;

/// Taller ones are harder to read than a list.
const MOST_ROWS: usize = 30;
/// ` ─┬─ `
const GAP: usize = 5;

/// What stands in a column: a stage, or the line of one on its way further right.
#[derive(Debug, Clone)]
struct Cell {
    stage: Option<usize>,
    row: usize,
    /// Cells of the column before, by their places in it.
    from: Vec<usize>,
}

/// One vertical line: everything on the left leads to everything on the right.
#[derive(Debug)]
struct Bus {
    left: BTreeSet<usize>,
    right: BTreeSet<usize>,
}

pub(super) fn draw(
    graph: &Graph,
    needed: &[Vec<usize>],
    labels: &[String],
    width: usize,
) -> Option<Vec<String>> {
    let mut columns = columns(graph, needed)?;
    settle(&mut columns)?;
    let buses = buses(&columns)?;
    let widths: Vec<usize> = columns
        .iter()
        .map(|cells| {
            cells.iter().filter_map(|cell| cell.stage).map(|stage| labels[stage].width()).max().unwrap_or(0)
        })
        .collect();
    let rows = columns.iter().flatten().map(|cell| cell.row + 1).max()?;
    let total = widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
    (total <= width).then_some(())?;
    Some((0..rows).map(|row| line(row, &columns, &buses, labels, &widths)).collect())
}

/// Stages by level, each beside what it waits for where there is room, with the lines that pass by.
fn columns(graph: &Graph, needed: &[Vec<usize>]) -> Option<Vec<Vec<Cell>>> {
    let mut level = vec![0; graph.len()];
    let mut reach = vec![0; graph.len()];
    for stage in graph.order() {
        level[*stage] = needed[*stage].iter().map(|before| level[*before] + 1).max().unwrap_or(0);
        for before in &needed[*stage] {
            reach[*before] = reach[*before].max(level[*stage] - 1);
        }
    }
    let mut columns: Vec<Vec<Cell>> = Vec::new();
    // Whose line runs in each cell of the column before.
    let mut owners: Vec<usize> = Vec::new();
    for number in 0..=level.iter().copied().max()? {
        let before = columns.last().map(Vec::as_slice).unwrap_or_default();
        let place = |owner: usize| owners.iter().position(|one| *one == owner);
        let mut cells: Vec<(usize, Cell)> = Vec::new();
        for stage in graph.order().iter().copied() {
            let passes = level[stage] < number && reach[stage] >= number;
            let from: Vec<usize> = if passes {
                place(stage).into_iter().collect()
            } else if level[stage] == number {
                needed[stage].iter().filter_map(|before| place(*before)).collect()
            } else {
                continue;
            };
            let row = from.iter().filter_map(|at| before.get(*at)).map(|cell| cell.row).min();
            let stage_here = (!passes).then_some(stage);
            cells.push((stage, Cell { stage: stage_here, row: row.unwrap_or(usize::MAX), from }));
        }
        // What follows a line stays on it; stages that begin here come last.
        cells.sort_by_key(|(_, cell)| cell.row);
        let mut free = 0;
        for (_, cell) in &mut cells {
            cell.row = if cell.row == usize::MAX { free } else { cell.row.max(free) };
            free = cell.row + 1;
        }
        (free <= MOST_ROWS).then_some(())?;
        owners = cells.iter().map(|(owner, _)| *owner).collect();
        columns.push(cells.into_iter().map(|(_, cell)| cell).collect());
    }
    Some(columns)
}

/// Moves cells down, in their order, until no line has to cross another: below what the column before has above them,
/// and no line begins higher than where it comes from.
fn settle(columns: &mut [Vec<Cell>]) -> Option<()> {
    // Cells only go down, and not further than that.
    for _ in 0..MOST_ROWS * columns.len() {
        let mut moved = false;
        for number in 1..columns.len() {
            let (head, tail) = columns.split_at_mut(number);
            let (Some(before), Some(cells)) = (head.last_mut(), tail.first_mut()) else { continue };
            let mut lowest: Option<usize> = None;
            let mut last: Vec<usize> = Vec::new();
            for at in 0..cells.len() {
                let from = cells[at].from.clone();
                let top = from.iter().filter_map(|at| before.get(*at)).map(|cell| cell.row).min();
                let Some(mut top) = top else { continue };
                if from != last {
                    // Another vertical line begins, which has to stand below the one above.
                    let need = lowest.map_or(0, |lowest| lowest + 1);
                    if top < need {
                        push(before, top, need - top);
                        (top, moved) = (need, true);
                    }
                    last.clone_from(&from);
                    let row = cells[at].row;
                    if row < need.max(top) {
                        push(cells, row, need.max(top) - row);
                        moved = true;
                    }
                }
                let bottom = from.iter().filter_map(|at| before.get(*at)).map(|cell| cell.row).max();
                lowest = lowest.max(bottom).max(Some(cells[at].row));
            }
        }
        if columns.iter().flatten().any(|cell| cell.row >= MOST_ROWS) {
            return None;
        }
        if !moved {
            return Some(());
        }
    }
    None
}

fn push(cells: &mut [Cell], row: usize, by: usize) {
    for cell in cells.iter_mut().filter(|cell| cell.row >= row) {
        cell.row += by;
    }
}

/// The vertical lines before each column but the first; none where they would cross or say too much.
fn buses(columns: &[Vec<Cell>]) -> Option<Vec<Vec<Bus>>> {
    let pairs = columns.iter().zip(columns.iter().skip(1));
    pairs.map(|(before, cells)| between(before, cells)).collect()
}

fn between(before: &[Cell], cells: &[Cell]) -> Option<Vec<Bus>> {
    let mut buses: Vec<Bus> = Vec::new();
    for cell in cells {
        let left: BTreeSet<usize> =
            cell.from.iter().filter_map(|at| before.get(*at)).map(|cell| cell.row).collect();
        if left.is_empty() {
            continue;
        }
        match buses.iter_mut().find(|bus| bus.left == left) {
            Some(bus) => _ = bus.right.insert(cell.row),
            None => buses.push(Bus { left, right: BTreeSet::from([cell.row]) }),
        }
    }
    // All stand in one column, so none may reach into another's rows.
    let mut spans: Vec<(usize, usize)> = buses.iter().filter_map(Bus::span).collect();
    spans.sort_unstable();
    spans.iter().zip(spans.iter().skip(1)).all(|(one, next)| one.1 < next.0).then_some(buses)
}

impl Bus {
    fn span(&self) -> Option<(usize, usize)> {
        let rows = || self.left.iter().chain(&self.right);
        Some((*rows().min()?, *rows().max()?))
    }

    fn sign(&self, row: usize) -> char {
        let (first, last) = self.span().unwrap_or((row, row));
        match (self.left.contains(&row), self.right.contains(&row), row > first, row < last) {
            (true, true, true, true) => '┼',
            (true, true, true, false) => '┴',
            (true, true, false, true) => '┬',
            (true, true, false, false) => '─',
            (true, false, true, true) => '┤',
            (true, false, true, false) => '┘',
            (true, false, false, _) => '┐',
            (false, true, true, true) => '├',
            (false, true, true, false) => '└',
            (false, true, false, _) => '┌',
            (false, false, _, _) => '│',
        }
    }
}

fn line(
    row: usize,
    columns: &[Vec<Cell>],
    buses: &[Vec<Bus>],
    labels: &[String],
    widths: &[usize],
) -> String {
    let mut line = String::new();
    for (number, (cells, width)) in columns.iter().zip(widths).enumerate() {
        let cell = cells.iter().find(|cell| cell.row == row);
        let gap = buses.get(number);
        let bus = gap.and_then(|buses| {
            buses.iter().find(|bus| bus.span().is_some_and(|(first, last)| (first..=last).contains(&row)))
        });
        // Whether the line goes on to the right of this cell.
        let goes_on = bus.is_some_and(|bus| bus.left.contains(&row));
        match cell.map(|cell| cell.stage) {
            Some(Some(stage)) => {
                let label = &labels[stage];
                line.push_str(label);
                let rest = width.saturating_sub(label.width());
                if goes_on && rest > 0 {
                    line.push(' ');
                    line.push_str(&"─".repeat(rest - 1));
                } else {
                    line.push_str(&" ".repeat(rest));
                }
                line.push(if goes_on && rest > 0 { '─' } else { ' ' });
            }
            Some(None) => line.push_str(&"─".repeat(width + 1)),
            None => line.push_str(&" ".repeat(width + 1)),
        }
        if gap.is_none() {
            continue;
        }
        let comes_in = bus.is_some_and(|bus| bus.right.contains(&row));
        // A stage keeps a blank before its name; a line that passes by does not need one.
        let passes = columns
            .get(number + 1)
            .is_some_and(|next| next.iter().any(|cell| cell.row == row && cell.stage.is_none()));
        line.push(if goes_on { '─' } else { ' ' });
        line.push(bus.map_or(' ', |bus| bus.sign(row)));
        line.push(if comes_in { '─' } else { ' ' });
        line.push(if comes_in && passes { '─' } else { ' ' });
    }
    line.trim_end().to_owned()
}
