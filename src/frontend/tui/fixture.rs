//! Runners for tests of the dashboard: small ones to change, and a workspace in which much is going on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::event::{Cmd, ConfigNews, ConfigOf, ConfigRow, ConfigSection, Event, LinkNews, RunnerFacts};
use super::log;
use super::model::{Model, Setup};
use super::update::update;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::spec::LogSpec;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{AttemptView, BudgetView, Figures, FleetView, RunnerStatus, RunnerView, Snapshot};

/// The moment of every picture.
pub(super) fn now() -> Timestamp {
    "2026-11-20T12:41:07Z".parse().unwrap()
}

pub(super) fn ago(seconds: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

pub(super) fn name(name: &str) -> RunnerName {
    RunnerName::trusted(name)
}

pub(super) fn runner(name: &str, status: RunnerStatus) -> RunnerView {
    RunnerView::plain(name, status)
}

pub(super) fn snapshot(runners: Vec<RunnerView>) -> Snapshot {
    Snapshot {
        workspace: "/home/ada/film".into(),
        at: now(),
        fleet: FleetView {
            supervisor_pid: 4242,
            started_at: ago(11_530),
            headless: false,
            budget: None,
            config_error: None,
            keeper_trouble: None,
        },
        runners: runners.into_iter().map(Arc::new).collect(),
    }
}

pub(super) fn outcome(verdict: Verdict, exit_code: Option<i32>) -> Outcome {
    Outcome { verdict, exit_code, signal: None, detail: None }
}

/// Attempts one behind the other, each with its length and the pause after it, up to `until` seconds ago.
fn attempts(until: i64, of: &[(i64, i64, Option<Outcome>)]) -> Vec<AttemptView> {
    let mut at = until + of.iter().map(|(length, pause, _)| length + pause).sum::<i64>();
    let mut made = Vec::new();
    for (index, (length, pause, outcome)) in of.iter().enumerate() {
        made.push(AttemptView {
            attempt: Attempt::new(u32::try_from(index).unwrap() + 1).unwrap(),
            started_at: Some(ago(at)),
            ended_at: outcome.as_ref().map(|_| ago(at - length)),
            outcome: outcome.clone(),
        });
        at -= length + pause;
    }
    made
}

/// The last attempt told also where views tell it.
fn with_attempts(mut view: RunnerView, attempts: Vec<AttemptView>) -> RunnerView {
    if let Some(last) = attempts.last() {
        view.attempt = Some(last.attempt);
        view.started_at = last.started_at;
        view.ended_at = last.ended_at;
        view.outcome.clone_from(&last.outcome);
        view.log = Some(format!("/home/ada/film/.restage/logs/{}_{}.log", view.name, last.attempt).into());
    }
    view.attempts = attempts;
    view
}

/// The workspace of the sketches.
pub(super) fn busy() -> Snapshot {
    let exit = |code| Some(outcome(Verdict::Exit, Some(code)));
    let inactive = || Some(outcome(Verdict::Inactive, None));
    let figures = |cpu_percent, mib: u64, quiet| {
        Some(Figures { cpu_percent, rss_bytes: mib << 20, last_output_at: Some(ago(quiet)) })
    };
    let in_group = |group: &str, view: RunnerView| RunnerView { group: Some(group.into()), ..view };
    let api = with_attempts(
        RunnerView {
            pid: Some(48_211),
            retry_count: 2,
            activity_timeout_seconds: Some(300.0),
            timeout_seconds: Some(3600.0),
            figures: figures(14.2, 412, 8),
            ..runner("agent-api", RunnerStatus::Running)
        },
        attempts(0, &[(192, 5, exit(1)), (41, 10, exit(1)), (308, 20, inactive()), (724, 0, None)]),
    );
    let docs = with_attempts(
        RunnerView {
            retry_count: 1,
            next_retry_at: Some(ago(-7)),
            ..runner("agent-docs", RunnerStatus::Backoff)
        },
        attempts(3, &[(95, 0, exit(1))]),
    );
    let web = with_attempts(
        RunnerView {
            pid: Some(48_377),
            activity_timeout_seconds: Some(300.0),
            figures: figures(0.2, 388, 252),
            ..runner("agent-web", RunnerStatus::Running)
        },
        attempts(0, &[(2511, 0, None)]),
    );
    let db = with_attempts(
        RunnerView { retry_count: 3, exhausted: true, ..runner("agent-db", RunnerStatus::Crashed) },
        attempts(600, &[(30, 5, exit(137)), (31, 10, exit(137)), (29, 20, exit(137)), (33, 0, exit(137))]),
    );
    let postgres = with_attempts(
        RunnerView {
            pid: Some(40_114),
            ready: Some(true),
            figures: figures(1.0, 64, 3),
            ..runner("postgres", RunnerStatus::Running)
        },
        attempts(0, &[(11_530, 0, None)]),
    );
    let migrate = with_attempts(
        runner("migrate", RunnerStatus::Completed),
        attempts(11_000, &[(14, 0, Some(outcome(Verdict::Completed, Some(0))))]),
    );
    let render = RunnerView {
        waiting: Some("the disk is full: /home has 12 MB left; it goes on when there is room".into()),
        ..runner("render", RunnerStatus::Idle)
    };
    let mut all = snapshot(vec![
        in_group("agents", api),
        in_group("agents", docs),
        in_group("agents", web),
        in_group("agents", db),
        in_group("services", postgres),
        in_group("services", migrate),
        in_group("jobs", render),
    ]);
    all.fleet.budget = Some(BudgetView { used: 4, max: 20, per_seconds: 600 });
    all
}

/// So many, of all kinds, some with names that are too long.
pub(super) fn many(count: usize) -> Snapshot {
    const STATUSES: [RunnerStatus; 9] = [
        RunnerStatus::Running,
        RunnerStatus::Backoff,
        RunnerStatus::Crashed,
        RunnerStatus::Completed,
        RunnerStatus::Idle,
        RunnerStatus::Starting,
        RunnerStatus::Stopping,
        RunnerStatus::Stopped,
        RunnerStatus::Stuck,
    ];
    let one = |at: usize| {
        let status = STATUSES[at % STATUSES.len()];
        let long = "-with-a-name-that-nobody-would-choose-but-a-generator-does";
        let name = format!("job-{at:04}{}", if at.is_multiple_of(7) { long } else { "" });
        RunnerView {
            group: Some(format!("group-{}", at / 100)),
            next_retry_at: (status == RunnerStatus::Backoff).then(|| ago(-30)),
            started_at: Some(ago(i64::try_from(at).unwrap() * 60)),
            outcome: (status == RunnerStatus::Crashed).then(|| outcome(Verdict::Exit, Some(1))),
            ..runner(&name, status)
        }
    };
    snapshot((0..count).map(one).collect())
}

pub(super) fn config() -> ConfigNews {
    let row = |key, value: &str, origin: &str| ConfigRow {
        key,
        value: value.into(),
        origin: origin.into(),
        set: origin != "default",
    };
    let facts = |runner: &str, tty| RunnerFacts {
        name: name(runner),
        log: LogSpec {
            dir: PathBuf::from("/home/ada/film/.restage/logs"),
            template: "{name}_{index}.log".into(),
            max_bytes: None,
            keep_attempts: 100,
        },
        tty,
        reset_after_seconds: Some(600.0),
        grace_seconds: 10.0,
    };
    ConfigNews {
        path: "~/film/config.json".into(),
        sections: Some(vec![
            ConfigSection {
                of: ConfigOf::Workspace,
                rows: vec![
                    row("retry_budget", "20 in 600 seconds", "file, line 5"),
                    row("tui_refresh_seconds", "1", "default"),
                ],
            },
            ConfigSection {
                of: ConfigOf::Runner(name("agent-api")),
                rows: vec![
                    row(
                        "command",
                        r#"["claude", "-p", "go on with the specification in docs/plan.md"]"#,
                        "runner, line 12",
                    ),
                    row("retry_max_retries", "3", "file, line 4"),
                    row("stop_signal", "15 (SIGTERM)", "default"),
                ],
            },
            ConfigSection {
                of: ConfigOf::Runner(name("agent-docs")),
                rows: vec![row("command", "make docs", "runner, line 20")],
            },
        ]),
        problems: Vec::new(),
        manners: None,
        flows: Vec::new(),
        runners: vec![facts("agent-api", true), facts("agent-docs", false)],
    }
}

pub(super) fn setup() -> Setup {
    Setup { size: (120, 36), now: now(), ..Setup::default() }
}

/// The dashboard as it is a moment after it was opened.
pub(super) fn opened(snapshot: Snapshot, size: (u16, u16)) -> Model {
    let mut model = Model::new(Setup { size, ..setup() });
    feed(&mut model, Event::Link(LinkNews::Connected { supervisor_pid: 4242 }));
    feed(&mut model, Event::Link(LinkNews::Snapshot(Box::new(snapshot))));
    feed(&mut model, Event::Config(Box::new(config())));
    model
}

/// What every log of the pictures holds: plain lines, colours, a line that is too long, wide characters.
fn printed() -> Vec<u8> {
    let mut lines = Vec::new();
    for minute in 0..40 {
        lines.push(format!("12:{minute:02}:01  reading src/routes/retry.rs"));
        lines
            .push(format!("12:{minute:02}:14  \x1b[32mok\x1b[0m  41 of 88 tests, \u{65e5}\u{672c} e\u{301}"));
    }
    lines.push(format!("12:40:51  the plan: {}", "read, change, test, commit, and ".repeat(6) + "again"));
    lines.push("12:40:58  running tests: 41 of 88".into());
    lines.push("12:41:02  test retry::from_first_stage \x1b[2m...\x1b[0m ok".into());
    lines.push("12:41:05  test retry::from_validator \x1b[2m...\x1b[0m \x1b[1;31mFAILED\x1b[0m".into());
    (lines.join("\n") + "\n").into_bytes()
}

/// One event at the moment of the pictures. The log is read on the spot; what else there is to be done comes back.
pub(super) fn feed(model: &mut Model, event: Event) -> Vec<Cmd> {
    let at = model.now;
    let mut todo = VecDeque::from(update(model, event, at));
    let mut others = Vec::new();
    while let Some(cmd) = todo.pop_front() {
        let Cmd::Log(cmd) = cmd else {
            others.push(cmd);
            continue;
        };
        for news in log::tests::answered(&cmd, &printed()) {
            todo.extend(update(model, Event::Log(news), at));
        }
    }
    others
}

/// Keys as a config writes them, separated by spaces.
pub(super) fn press(model: &mut Model, keys: &str) -> Vec<Cmd> {
    let press = |key: &str| Event::Key(crate::domain::keys::Key::parse(key).unwrap().into());
    keys.split(' ').flat_map(|key| feed(model, press(key))).collect()
}
