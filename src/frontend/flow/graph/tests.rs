//! What graphs look like, and that none looks like another or grows without bounds.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::domain::flow::graph::Links;
use crate::domain::flow::ids::StageName;

/// `d: a b !x` needs a and b, and validates x.
pub(in crate::frontend::flow) fn graph(text: &str) -> Graph {
    let stages: Vec<(StageName, Vec<StageName>, Option<StageName>)> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, rest)| {
            let needs = rest.split_whitespace().filter(|word| !word.starts_with('!')).map(StageName::trusted);
            let target =
                rest.split_whitespace().find_map(|word| word.strip_prefix('!')).map(StageName::trusted);
            (StageName::trusted(name.trim()), needs.collect(), target)
        })
        .collect();
    Graph::new(stages.iter().map(|(name, needs, validates)| Links {
        name,
        needs,
        optional_needs: &[],
        validates: validates.as_ref(),
    }))
    .unwrap()
}

fn drawn(text: &str, width: usize) -> String {
    let text: Vec<&str> = text.split(';').collect();
    draw_names(&graph(&text.join("\n")), width).join("\n")
}

#[test]
fn pictures() {
    for (text, picture) in [
        (
            "script:; storyboard: script; check: !storyboard; voice: script; render: storyboard voice",
            &["script ─┬─ storyboard ─── check ─┬─ render", "        └─ voice ────────────────┘"][..],
        ),
        ("a:; b: a; c: b", &["a ─── b ─── c"][..]),
        ("a:; b:; c: a b; d: a b; alone:", &["a ─────┬─ c", "b ─────┴─ d", "alone"][..]),
        (
            "a:; b: a; c: a; d: a; e: b; f: b; g: c; h: g d",
            &["a ─┬─ b ─┬─ e", "   │     └─ f", "   ├─ c ─── g ─┬─ h", "   └─ d ───────┘"][..],
        ),
        (
            "fetch:; clean: fetch; train: clean; plot: clean; report: train plot fetch; publish: report",
            &["fetch ─── clean ─┬─ train ─┬─ report ─── publish", "                 └─ plot ──┘"][..],
        ),
    ] {
        assert_eq!(drawn(text, 80), picture.join("\n"), "{text}");
    }
}

#[test]
fn what_would_cross_or_has_no_room_is_a_list() {
    let text = "script:; storyboard: script; voice: script; render: storyboard voice; podcast: voice";
    let list = [
        "script",
        "storyboard  ← script",
        "voice       ← script",
        "render      ← storyboard, voice",
        "podcast     ← voice",
    ];
    assert_eq!(drawn(text, 80), list.join("\n"));
    let text = "script:; storyboard: script; voice: script; render: storyboard voice";
    let list = ["script", "storyboard  ← script", "voice       ← script", "render      ← storyboar…"];
    assert_eq!(drawn(text, 24), list.join("\n"));
}

#[test]
fn labels_may_be_more_than_names() {
    let graph = graph("a:\nb: a\nc: a");
    let lines = draw(&graph, 40, &|stage| format!("✔ {}", graph.name(stage)));
    assert_eq!(lines, ["✔ a ─┬─ ✔ b", "     └─ ✔ c"]);
}

#[test]
fn large_graphs_are_shown_in_part() {
    let row: Vec<String> =
        (0..10_000).map(|n| if n == 0 { "s0:".into() } else { format!("s{n}: s{}", n - 1) }).collect();
    let lines = draw_names(&graph(&row.join("\n")), 60);
    assert_eq!(lines.len(), MOST_LINES);
    assert_eq!(lines[0], "10000 stages on 10000 levels; each waits for some before it");
    assert_eq!((lines[1].as_str(), lines[59].as_str()), ("    1  s0", "10000  s9999"));
    assert_eq!(lines[30], "    …  9942 stages on 9942 levels are left out");
    let layer = |n: usize| (0..50).map(move |at| format!("s{n}-{at}"));
    let dense: Vec<String> = (0..50)
        .flat_map(|n| {
            let before: Vec<String> = if n == 0 { Vec::new() } else { layer(n - 1).collect() };
            layer(n).map(move |name| format!("{name}: {}", before.join(" ")))
        })
        .collect();
    let lines = draw_names(&graph(&dense.join("\n")), 40);
    assert_eq!(lines.len(), 51);
    assert_eq!(lines[50], "50  s49-0, s49-1, s49-2, … and 47 more");
}

/// Reads a picture back: what is to the left of each stage along the lines.
fn read_back(lines: &[String]) -> Vec<(String, String)> {
    let cells: Vec<Vec<char>> = lines.iter().map(|line| line.chars().collect()).collect();
    let at =
        |row: usize, column: usize| cells.get(row).and_then(|row| row.get(column)).copied().unwrap_or(' ');
    let mut found = Vec::new();
    for (row, line) in cells.iter().enumerate() {
        for column in 0..line.len() {
            let starts =
                at(row, column).is_alphanumeric() && (column == 0 || !at(row, column - 1).is_alphanumeric());
            if !starts || column < 2 || at(row, column - 2) != '─' {
                continue;
            }
            let name: String = line[column..].iter().take_while(|c| c.is_alphanumeric()).collect();
            let mut seen = std::collections::BTreeSet::new();
            let mut open = vec![(row, column - 2)];
            while let Some((row, column)) = open.pop() {
                if !seen.insert((row, column)) {
                    continue;
                }
                let here = at(row, column);
                if "─┬┴┼┤┘┐".contains(here) && column > 0 {
                    if at(row, column - 1) == ' ' && column > 1 {
                        let end = column - 2;
                        let start =
                            (0..=end).rev().take_while(|at| line_at(&cells, row, *at)).last().unwrap_or(end);
                        found.push((cells[row][start..=end].iter().collect(), name.clone()));
                    } else {
                        open.push((row, column - 1));
                    }
                }
                if "┼┴┤┘├└│".contains(here) {
                    open.push((row - 1, column));
                }
                if "┼┬┤┐├┌│".contains(here) {
                    open.push((row + 1, column));
                }
            }
        }
    }
    found.sort();
    found
}

fn line_at(cells: &[Vec<char>], row: usize, column: usize) -> bool {
    cells[row].get(column).is_some_and(|c| c.is_alphanumeric())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// A picture says exactly what is so, and everything stays within its bounds.
    #[test]
    fn a_picture_can_be_read_back(
        links in prop::collection::vec((0..9_usize, 0..9_usize), 0..10),
        width in 0..120_usize,
    ) {
        let stages: Vec<String> = (0..9)
            .map(|n| {
                let needs = links.iter().filter(|(to, from)| *to == n && from < to).map(|(_, from)| format!("s{from}"));
                format!("s{n}: {}", needs.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let graph = graph(&stages.join("\n"));
        let lines = draw_names(&graph, width);
        prop_assert!(lines.len() <= MOST_LINES);
        for line in &lines {
            prop_assert!(line.width() <= width, "{:?} {}", line, width);
        }
        let labels: Vec<String> = (0..9).map(|stage| graph.name(stage).to_string()).collect();
        let needed = essential(&graph);
        if let Some(lines) = picture::draw(&graph, &needed, &labels, 1000) {
            let mut expected: Vec<(String, String)> = (0..9)
                .flat_map(|stage| needed[stage].iter().map(move |before| (*before, stage)))
                .map(|(before, stage)| (labels[before].clone(), labels[stage].clone()))
                .collect();
            expected.sort();
            prop_assert_eq!(read_back(&lines), expected, "\n{}", lines.join("\n"));
        }
    }
}
