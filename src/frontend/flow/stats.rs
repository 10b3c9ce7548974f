//! What history says about retries.

use std::fmt::Write;

use super::table::{Cell, Table};
use super::words::length;
use crate::domain::flow::stats::Stats;
use crate::frontend::status::Look;
use crate::frontend::text::Tone;

/// So many stages are named.
const MOST: usize = 20;

pub fn text(stats: &Stats, look: &Look) -> String {
    let mut text = String::new();
    writeln!(text, "runs       {}, {} good, {} failed", stats.runs, stats.succeeded, stats.failed).ok();
    let rate = share(stats.retries_succeeded, stats.retries);
    writeln!(text, "retries    {}, {} good{rate}", stats.retries, stats.retries_succeeded).ok();
    writeln!(text, "time lost  {} in attempts that failed", length(stats.seconds_lost)).ok();
    let nth = |what: &str, counts: &[u64], told: fn(u64, u64) -> String| {
        let some = (1..).zip(counts).filter(|(_, count)| **count > 0);
        let some: Vec<String> = some.map(|(number, count)| told(*count, number)).collect();
        (!some.is_empty()).then(|| format!("{what}: {}", some.join(", ")))
    };
    let stages =
        nth("stages", &stats.recovered_after, |count, number| format!("{count} after {number} failed"));
    let runs = nth("runs", &stats.recovered_at_retry, |count, number| format!("{count} at retry #{number}"));
    let recovered: Vec<String> = stages.into_iter().chain(runs).collect();
    if !recovered.is_empty() {
        writeln!(text, "recovered  {}", recovered.join("; ")).ok();
    }
    let mut table = Table::new(&["failed", "flow", "stage", "last error"]);
    for one in stats.failing.iter().take(MOST) {
        table.row([
            Cell::new(one.failures.to_string(), Tone::Bad),
            one.flow.as_str().into(),
            one.stage.as_str().into(),
            one.last_error.clone().unwrap_or_default().into(),
        ]);
    }
    if !stats.failing.is_empty() {
        text.push('\n');
        text.push_str(&table.draw(look));
    }
    let hidden = stats.failing.len().saturating_sub(MOST);
    if hidden > 0 {
        writeln!(text, "and {hidden} more; --json has them all").ok();
    }
    text
}

fn share(part: u64, whole: u64) -> String {
    // Rounded down: 100% are all of them.
    part.saturating_mul(100).checked_div(whole).map(|percent| format!(" ({percent}%)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ids::{FlowName, StageName};
    use crate::domain::flow::stats::FailingStage;

    #[test]
    fn retries_in_figures() {
        let stats = Stats {
            runs: 9,
            succeeded: 5,
            failed: 4,
            retries: 3,
            retries_succeeded: 2,
            seconds_lost: 3725.0,
            failing: vec![FailingStage {
                flow: FlowName::trusted("video"),
                stage: StageName::trusted("storyboard"),
                failures: 4,
                last_error: Some("exit 1: Connection\nrefused".into()),
            }],
            recovered_after: vec![12, 0, 1],
            recovered_at_retry: vec![0, 2],
        };
        let look = Look { width: 80, colour: false, ascii: false };
        insta::assert_snapshot!(text(&stats, &look), @r"
        runs       9, 5 good, 4 failed
        retries    3, 2 good (66%)
        time lost  1h02m in attempts that failed
        recovered  stages: 12 after 1 failed, 1 after 3 failed; runs: 2 at retry #2

        failed  flow   stage       last error
        4       video  storyboard  exit 1: Connection refused
        ");
    }
}
