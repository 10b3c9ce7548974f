//! A flow as text for programs that draw: Graphviz and Mermaid. Whole, whatever its size.

use std::fmt::Write as _;

use crate::domain::flow::graph::Graph;
use crate::domain::flow::spec::FlowSpec;

/// What a line from one stage to another means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    Needs,
    Optional,
    Validates,
}

/// Every line but those that a validator stands in: what needs a stage waits for its validators, and they for it.
fn ties<'a>(flow: &'a FlowSpec, graph: &'a Graph) -> impl Iterator<Item = (usize, usize, Tie)> + 'a {
    let mut waited_for = vec![usize::MAX; graph.len()];
    graph.order().iter().copied().flat_map(move |stage| {
        let up = graph.upstream(stage);
        for before in up {
            waited_for[*before] = stage;
        }
        let spec = flow.stages.get(stage);
        let lines: Vec<(usize, usize, Tie)> = up
            .iter()
            .copied()
            .filter(|before| !graph.validators(*before).iter().any(|one| waited_for[*one] == stage))
            .map(|before| {
                let optional = spec.is_some_and(|spec| spec.optional_needs.contains(graph.name(before)));
                let tie = match graph.target(stage) {
                    Some(target) if target == before => Tie::Validates,
                    Some(_) | None if optional => Tie::Optional,
                    Some(_) | None => Tie::Needs,
                };
                (before, stage, tie)
            })
            .collect();
        lines
    })
}

pub fn to_dot(flow: &FlowSpec, graph: &Graph) -> String {
    let mut text =
        format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", dot_text(flow.name.as_str()));
    for stage in 0..graph.len() {
        // Writing into a text cannot fail, here and below.
        writeln!(text, "  {};", dot_text(graph.name(stage).as_str())).ok();
    }
    for (before, after, tie) in ties(flow, graph) {
        let style = match tie {
            Tie::Needs => "",
            Tie::Optional => " [style=dotted]",
            Tie::Validates => " [style=dashed, label=\"validates\"]",
        };
        let (before, after) = (dot_text(graph.name(before).as_str()), dot_text(graph.name(after).as_str()));
        writeln!(text, "  {before} -> {after}{style};").ok();
    }
    text.push_str("}\n");
    text
}

fn dot_text(text: &str) -> String {
    let tame: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", tame.replace('\\', "\\\\").replace('"', "\\\""))
}

pub fn to_mermaid(flow: &FlowSpec, graph: &Graph) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for stage in 0..graph.len() {
        writeln!(text, "  s{stage}[\"{}\"]", mermaid_text(graph.name(stage).as_str())).ok();
    }
    for (before, after, tie) in ties(flow, graph) {
        let arrow = match tie {
            Tie::Needs => "-->",
            Tie::Optional => "-.->",
            Tie::Validates => "-.->|validates|",
        };
        writeln!(text, "  s{before} {arrow} s{after}").ok();
    }
    text
}

/// Everything that is no letter, digit or plain sign of a name, by its number.
fn mermaid_text(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '-' | '_' | '.' | ' ' => c.to_string(),
            c if c.is_alphanumeric() => c.to_string(),
            c if c.is_control() => " ".to_owned(),
            c => format!("#{};", u32::from(c)),
        })
        .collect()
}

#[cfg(test)]
mod tests;
