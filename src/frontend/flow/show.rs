//! One run, whole: what became of each stage and why, its attempts, what it all took, and where its branches stand.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::runs::cost;
use super::table::{Cell, Table, wrap};
use super::words::{files, length, moment, origin, pairs, run_tone, stage_glyph, stage_tone, took};
use crate::domain::flow::ask::{BranchView, Shown};
use crate::domain::flow::record::{AttemptRecord, RunRecord, StageRecord};
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::time::Timestamp;
use crate::frontend::status::Look;
use crate::frontend::text::{Tone, between, bytes, countdown};

/// Of one stage; the rest is in the JSON.
const MOST_ATTEMPTS: usize = 10;
const MOST_LINES: usize = 8;

/// What was spent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    pub runs: u64,
    pub attempts: u64,
    /// Of all attempts, one after the other.
    pub seconds: f64,
    pub cpu_seconds: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
    pub cost: Option<f64>,
}

impl Totals {
    pub fn of<'a>(runs: impl IntoIterator<Item = &'a RunRecord>) -> Self {
        let mut totals = Self::default();
        for run in runs {
            totals.runs += 1;
            totals.cost = add(totals.cost, run.cost);
            for attempt in run.stages.iter().flatten().flat_map(|stage| &stage.attempts) {
                totals.attempts += 1;
                totals.seconds += seconds(attempt).unwrap_or(0.0);
                totals.cpu_seconds = add(totals.cpu_seconds, attempt.cpu_seconds);
                totals.peak_rss_bytes = totals.peak_rss_bytes.max(attempt.peak_rss_bytes);
            }
        }
        totals
    }
}

fn add(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
    }
}

fn seconds(attempt: &AttemptRecord) -> Option<f64> {
    Some(between(attempt.started_at?, attempt.ended_at?).as_secs_f64())
}

pub fn text(shown: &Shown, supervised: bool, lineage: &Totals, now: Timestamp, look: &Look) -> String {
    let run = &shown.run;
    let mut text = head(run, now, look);
    let stages = run.stages.as_deref().unwrap_or_default();
    let mut table = Table::new(&["", "stage", "status", "decision", "tries", "took", "left"]);
    for stage in stages {
        table.row(row(stage, halt(run), now, look));
    }
    let drawn = table.draw(look);
    let mut lines = drawn.lines();
    // The titles come first; what belongs to a stage stands below its line.
    if let Some(titles) = lines.next() {
        writeln!(text, "\n{titles}").ok();
    }
    for (line, stage) in lines.zip(stages) {
        writeln!(text, "{line}").ok();
        text.push_str(&below(stage, look));
    }
    text.push_str(&after(run, supervised, look));
    text.push_str(&spent(&Totals::of([run]), lineage, look));
    text.push_str(&branches(&shown.branches, look));
    text
}

/// `video-13  failed   Retry #1 of video-12 from storyboard   branch main`
fn head(run: &RunRecord, now: Timestamp, look: &Look) -> String {
    let mut first = vec![run.run_id.to_string()];
    first.push(run_tone(run.status).paint(run.status.word(), look.colour));
    first.extend(origin(run));
    first.push(format!("branch {}", run.branch));
    first.extend(run.caller_run_id.as_ref().map(|caller| format!("started by {caller}")));
    let mut text = first.join("   ") + "\n";
    if run.left {
        let told = format!(
            "Nobody supervises, so nothing of it goes on; `restage continue {}`, or any verb that sets a run going, takes it up again.",
            run.run_id
        );
        text.push_str(&wrap(&told, 2, look, MOST_LINES));
    }
    if let Some(why) = &run.held {
        let held = wrap(&format!("Held: {why}"), 2, look, MOST_LINES);
        text.extend(held.lines().map(|line| Tone::Waiting.paint(line, look.colour) + "\n"));
    }
    let begun = match run.started_at {
        None => format!("made {}", moment(run.created_at)),
        Some(at) if run.left => format!("begun {}", moment(at)),
        Some(at) => format!("begun {}, took {}", moment(at), took(run, now)),
    };
    text.push_str(&wrap(&begun, 2, look, 1));
    if !run.inputs.is_empty() {
        text.push_str(&wrap(&format!("inputs {}", pairs(&run.inputs)), 2, look, 3));
    }
    if let Some(error) = &run.error {
        let error = wrap(error, 2, look, MOST_LINES);
        text.extend(error.lines().map(|line| Tone::Bad.paint(line, look.colour) + "\n"));
    }
    text
}

/// Nothing of a run goes on, though its records say what it was doing.
#[derive(Debug, Clone, Copy)]
struct Halt {
    /// `None`: nobody was there to see it.
    at: Option<Timestamp>,
}

fn halt(run: &RunRecord) -> Option<Halt> {
    if run.status == RunStatus::Interrupted {
        return Some(Halt { at: run.ended_at });
    }
    run.left.then_some(Halt { at: None })
}

fn row(stage: &StageRecord, halt: Option<Halt>, now: Timestamp, look: &Look) -> [Cell; 7] {
    let halt = halt.filter(|_| matches!(stage.status, StageStatus::Running | StageStatus::Backoff));
    let tone = if halt.is_some() { run_tone(RunStatus::Interrupted) } else { stage_tone(stage.status) };
    let word = match (stage.decision, stage.retry_at) {
        _ if halt.is_some() => RunStatus::Interrupted.to_string(),
        (Decision::Execute, Some(at)) => format!("{} {}", stage.status, countdown(now, at)),
        (Decision::Execute, None) | (Decision::Reuse, _) => stage.status.to_string(),
    };
    let mut decision = stage.decision.to_string();
    if let Some(reason) = stage.reason {
        decision = format!("{decision}: {reason}");
    }
    if let Some(source) = &stage.source_run_id {
        decision = format!("{decision}, from {source}");
    }
    let tries = match (stage.items, stage.attempts.len()) {
        (Some(items), _) => format!("{}/{} items", items.done, items.all),
        (None, 0) => String::new(),
        (None, tries) => tries.to_string(),
    };
    let took = match (stage.started_at, stage.ended_at) {
        (Some(from), Some(to)) => length(between(from, to).as_secs_f64()),
        (Some(from), None) if halt.is_some() => {
            let until = halt.and_then(|halt| halt.at);
            until.map(|until| length(between(from, until).as_secs_f64())).unwrap_or_default()
        }
        (Some(from), None) if !stage.status.is_final() => length(between(from, now).as_secs_f64().round()),
        (Some(_) | None, _) => String::new(),
    };
    let left = stage.checkpoint.as_ref().map(|checkpoint| {
        let files =
            if stage.artifacts.is_empty() { String::new() } else { format!(", {}", files(&stage.artifacts)) };
        format!("{} {}{files}", checkpoint.id, checkpoint.approval)
    });
    [
        Cell::new(stage_glyph(stage.status, look.ascii).to_string(), tone),
        stage.name.as_str().into(),
        Cell::new(word, tone),
        decision.into(),
        tries.into(),
        took.into(),
        left.unwrap_or_default().into(),
    ]
}

/// Attempts, where there is more to say of them than that one was made and was good.
fn below(stage: &StageRecord, look: &Look) -> String {
    let mut text = String::new();
    let told: Vec<&AttemptRecord> = stage.attempts.iter().filter(|one| one.error.is_some()).collect();
    let hidden = told.len().saturating_sub(MOST_ATTEMPTS);
    if hidden > 0 {
        writeln!(text, "     {hidden} attempts that failed before are left out here").ok();
    }
    for attempt in told.iter().skip(hidden) {
        let item = attempt.item.map(|item| format!(" of item {item}")).unwrap_or_default();
        let took = seconds(attempt).map(|seconds| format!(" after {}", length(seconds))).unwrap_or_default();
        let error = attempt.error.as_deref().unwrap_or_default();
        text.push_str(&wrap(&format!("#{}{item}{took}: {error}", attempt.number), 5, look, MOST_LINES));
    }
    let last = told.last().and_then(|attempt| attempt.error.as_ref());
    if let Some(error) = stage.error.as_ref().filter(|error| last != Some(*error)) {
        text.push_str(&wrap(error, 5, look, MOST_LINES));
    }
    if let Some(feedback) = &stage.feedback {
        text.push_str(&wrap(&format!("feedback: {feedback}"), 5, look, MOST_LINES));
    }
    text
}

/// The command after the run.
fn after(run: &RunRecord, supervised: bool, look: &Look) -> String {
    let Some(hook) = &run.hook else { return String::new() };
    let took = hook.started_at.zip(hook.ended_at).map(|(from, to)| length(between(from, to).as_secs_f64()));
    let took = took.map(|took| format!(" after {took}")).unwrap_or_default();
    let log = format!("restage logs {}/{}", run.run_id, hook.name);
    let (told, tone) = match (&hook.error, hook.ended_at) {
        (Some(error), _) => (format!("{error}{took}; {log}"), Tone::Bad),
        (None, Some(_)) => (format!("ended well{took}"), Tone::Plain),
        (None, None) if supervised => (format!("has not ended; {log}"), Tone::Waiting),
        (None, None) => ("has not ended; the next supervisor sees to it".to_owned(), Tone::Waiting),
    };
    let lines = wrap(&format!("{}: {told}", hook.name), 2, look, MOST_LINES);
    lines.lines().fold("\n".to_owned(), |text, line| text + &tone.paint(line, look.colour) + "\n")
}

fn spent(run: &Totals, lineage: &Totals, look: &Look) -> String {
    let mut table = Table::new(&["", "runs", "attempts", "time", "cpu", "peak mem", "cost"]);
    let mut row = |name: &str, totals: &Totals| {
        table.row([
            Cell::new(name, Tone::Quiet),
            totals.runs.to_string().into(),
            totals.attempts.to_string().into(),
            length(totals.seconds).into(),
            totals.cpu_seconds.map(length).unwrap_or_default().into(),
            totals.peak_rss_bytes.map(bytes).unwrap_or_default().into(),
            cost(totals.cost).into(),
        ]);
    };
    row("this run", run);
    if lineage.runs > 1 {
        row("lineage", lineage);
    }
    format!("\n{}", table.draw(look))
}

/// Where each branch stands, and below it what continuing there would do, or why it would not.
pub fn branches(branches: &[BranchView], look: &Look) -> String {
    let mut table = Table::new(&["branch", "stands at", "continue"]);
    for branch in branches {
        let (word, tone) = if branch.can_continue { ("yes", Tone::Good) } else { ("no", Tone::Quiet) };
        table.row([
            branch.branch.branch_name.as_str().into(),
            branch.latest_checkpoint_id.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            Cell::new(word, tone),
        ]);
    }
    let drawn = table.draw(look);
    let mut lines = drawn.lines();
    let Some(titles) = lines.next().filter(|_| !branches.is_empty()) else { return String::new() };
    let mut text = format!("\n{titles}\n");
    for (line, branch) in lines.zip(branches) {
        writeln!(text, "{line}").ok();
        text.push_str(&wrap(&branch.reason, 2, look, MOST_LINES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ids::{BranchName, CheckpointId, RunId};
    use crate::domain::flow::record::{Branch, CheckpointRef, HookRecord};
    use crate::domain::flow::status::{Approval, Hook, Reason};
    use crate::frontend::flow::fixture::{at, attempt, run, stage};

    const LOOK: Look = Look { width: 90, colour: false, ascii: false };

    fn shown() -> Shown {
        let checkpoint = CheckpointRef {
            id: CheckpointId::parse("script@1").unwrap(),
            parent: None,
            version: 1,
            branch: BranchName::main(),
            approval: Approval::Approved,
        };
        let script = StageRecord {
            decision: Decision::Reuse,
            reason: Some(Reason::Verified),
            source_run_id: Some(RunId::trusted("video-11")),
            checkpoint: Some(checkpoint.clone()),
            ..stage("script", 0, StageStatus::Succeeded)
        };
        let failed = "all 2 attempts failed: #1 exit 1: Connection refused; #2 exit 1: \x1b[31mred";
        let storyboard = StageRecord {
            attempts: vec![
                attempt(1, Some("exit 1: Connection refused (will retry 1 more time)")),
                attempt(2, Some("exit 1: \x1b[31mred")),
            ],
            error: Some(failed.into()),
            started_at: Some(at(1000)),
            ended_at: Some(at(1024)),
            feedback: Some("brighter".into()),
            ..stage("storyboard", 1, StageStatus::Failed)
        };
        let render =
            StageRecord { reason: Some(Reason::Descendant), ..stage("render", 2, StageStatus::NotRun) };
        let branch = BranchView {
            branch: Branch {
                branch_name: BranchName::main(),
                forked_from: None,
                created_at: at(1000),
                created_by: None,
            },
            latest_checkpoint_id: Some(checkpoint.id),
            stage: None,
            status: None,
            can_continue: false,
            reason: "checkpoint already approved".into(),
        };
        let record = RunRecord {
            stages: Some(vec![script, storyboard, render]),
            cost: Some(1.0),
            ..run(12, RunStatus::Failed)
        };
        Shown { run: record, branches: vec![branch] }
    }

    #[test]
    fn a_run_is_told_whole() {
        let shown = shown();
        let lineage = Totals { runs: 2, attempts: 3, seconds: 30.0, cost: Some(1.5), ..Totals::default() };
        insta::assert_snapshot!(text(&shown, true, &lineage, at(2000), &LOOK), @r#"
        video-12   failed   branch main
          begun 1970-01-01 00:16:40Z, took 12m04s
          inputs question="why"
          storyboard: exit 1: Connection refused

           stage       status     decision                        tries  took  left
        ✔  script      succeeded  reuse: verified, from video-11               script@1 approved
        ✖  storyboard  failed     execute: first run              2      24s
             #1 after 12s: exit 1: Connection refused (will retry 1 more time)
             #2 after 12s: exit 1:  [31mred
             all 2 attempts failed: #1 exit 1: Connection refused; #2 exit 1:  [31mred
             feedback: brighter
        ·  render      not_run    execute: descendant

                  runs  attempts  time  cpu  peak mem  cost
        this run  1     2         24s   3s   64M       1
        lineage   2     3         30s                  1.5

        branch  stands at  continue
        main    script@1   no
          checkpoint already approved
        "#);
    }

    #[test]
    fn the_command_after_a_run_is_told() {
        let open = HookRecord::of(Hook::OnFailure);
        let good = HookRecord { started_at: Some(at(1)), ended_at: Some(at(3)), ..open.clone() };
        let bad = HookRecord { error: Some("exit 3".into()), ..good.clone() };
        let told =
            [(open.clone(), true), (open, false), (good, true), (bad, true)].map(|(hook, supervised)| {
                after(&RunRecord { hook: Some(hook), ..run(12, RunStatus::Failed) }, supervised, &LOOK)
            });
        assert_eq!(
            told.concat(),
            "\n  on_failure: has not ended; restage logs video-12/on_failure\n\
             \n  on_failure: has not ended; the next supervisor sees to it\n\
             \n  on_failure: ended well after 2s\n\
             \n  on_failure: exit 3 after 2s; restage logs video-12/on_failure\n"
        );
    }

    #[test]
    fn what_was_interrupted_stands_still() {
        let under_way = vec![
            StageRecord { started_at: Some(at(1000)), ..stage("a", 0, StageStatus::Running) },
            StageRecord {
                started_at: Some(at(1000)),
                retry_at: Some(at(1100)),
                ..stage("b", 1, StageStatus::Backoff)
            },
        ];
        let rows = |status, left| {
            let (stages, ended_at) = (Some(under_way.clone()), Some(at(1024)));
            let run = RunRecord { ended_at, left, stages, ..run(12, status) };
            let text = text(&Shown { run, branches: Vec::new() }, true, &Totals::default(), at(2000), &LOOK);
            let rows = text.lines().filter(|line| line.contains("execute"));
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            rows.map(words).collect::<Vec<_>>()
        };
        assert_eq!(
            rows(RunStatus::Interrupted, false),
            ["● a interrupted execute: first run 24s", "↻ b interrupted execute: first run 24s"]
        );
        assert_eq!(
            rows(RunStatus::Running, true),
            ["● a interrupted execute: first run", "↻ b interrupted execute: first run"]
        );
        assert_eq!(
            rows(RunStatus::Running, false),
            ["● a running execute: first run 16m40s", "↻ b backoff 0s execute: first run 16m40s"]
        );
    }

    #[test]
    fn what_is_left_without_a_supervisor_says_so() {
        let mut shown = shown();
        shown.run.status = RunStatus::Running;
        shown.run.left = true;
        let text = text(&shown, false, &Totals::default(), at(2000), &LOOK);
        assert!(text.contains("Nobody supervises"), "{text}");
    }

    #[test]
    fn it_fits_any_width_and_lets_no_sequence_through() {
        for width in [20, 40, 72, 200] {
            let look = Look { width, colour: false, ascii: true };
            let text = text(&shown(), true, &Totals::default(), at(2000), &look);
            assert!(!text.contains('\x1b'), "{text}");
        }
    }
}
