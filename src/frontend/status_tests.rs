//! The table at several widths, and the exact shape of a JSON row.

use std::sync::Arc;

use super::*;
use crate::domain::ids::Attempt;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{BudgetView, Figures, FleetView};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn runner(name: &str, status: RunnerStatus) -> RunnerView {
    RunnerView { attempt: Attempt::new(2), started_at: Some(at(276)), ..RunnerView::plain(name, status) }
}

fn snapshot() -> Snapshot {
    let figures = Figures { cpu_percent: 13.6, rss_bytes: 412 << 20, last_output_at: Some(at(992)) };
    let agents = Some("agents".to_owned());
    let exit = Outcome { verdict: Verdict::Exit, exit_code: Some(137), signal: None, detail: None };
    let runners = vec![
        RunnerView {
            group: agents.clone(),
            pid: Some(48_211),
            retry_count: 2,
            figures: Some(figures),
            ..runner("agent-api", RunnerStatus::Running)
        },
        RunnerView {
            group: agents.clone(),
            retry_count: 1,
            next_retry_at: Some(at(1007)),
            waiting: Some("the retry budget is spent\x1b[2J".into()),
            ..runner("agent-docs", RunnerStatus::Backoff)
        },
        RunnerView {
            group: agents.clone(),
            pid: Some(9),
            activity_timeout_seconds: Some(300.0),
            figures: Some(Figures { last_output_at: Some(at(760)), ..figures }),
            ..runner("agent-web", RunnerStatus::Running)
        },
        RunnerView {
            group: agents,
            exhausted: true,
            retry_count: 3,
            outcome: Some(exit),
            figures: Some(Figures { cpu_percent: 0.0, rss_bytes: 0, last_output_at: None }),
            ..runner("agent-db", RunnerStatus::Crashed)
        },
        RunnerView {
            group: Some("services".into()),
            ready: Some(true),
            pid: Some(7),
            ..runner("postgres", RunnerStatus::Running)
        },
        RunnerView { ended_at: Some(at(290)), ..runner("migrate", RunnerStatus::Completed) },
    ];
    Snapshot {
        workspace: "/home/me/film".into(),
        at: at(1000),
        fleet: FleetView {
            supervisor_pid: 4242,
            started_at: at(1),
            headless: false,
            budget: Some(BudgetView { used: 4, max: 20, per_seconds: 600 }),
            config_error: Some("config.json:3:1: expected a comma".into()),
            keeper_trouble: None,
        },
        runners: runners.into_iter().map(Arc::new).collect(),
    }
}

const PLAIN: Look = Look { width: 120, colour: false, ascii: false };

#[test]
fn wide() {
    insta::assert_snapshot!(table(&snapshot(), &PLAIN), @r"
    /home/me/film   ● 2 running  ↻ 1 backoff  ✖ 1 exhausted  ● 1 ready  ✔ 1 completed   retries 4/20 in 600s
                                          retry     up/in  cpu   mem    pid
      ✔ migrate     completed               0/3       14s
      agents
      ● agent-api   running                 2/3    12m04s  14%  412M  48211
      ↻ agent-docs  backoff                 1/3     in 7s                    the retry budget is spent [2J
      ● agent-web   running  quiet 4m00s    0/3    12m04s  14%  412M      9
      ✖ agent-db    exhausted               3/3  exit 137
      services
      ● postgres    ready                   0/3    12m04s                 7
    ! config.json:3:1: expected a comma
    ");
}

#[test]
fn narrow_ascii() {
    insta::assert_snapshot!(table(&snapshot(), &Look { width: 50, ascii: true, ..PLAIN }), @r"
    /home/me/film   * 2 running  ~ 1 backoff  x 1 exhausted  * 1 ready  + 1 completed
                                          retry
      + migrate     completed               0/3
      agents
      * agent-api   running                 2/3
      ~ agent-docs  backoff                 1/3
      * agent-web   running  quiet 4m00s    0/3
      x agent-db    exhausted               3/3
      services
      * postgres    ready                   0/3
    ! config.json:3:1: expected a comma
    ");
}

#[test]
fn lines_of_runners_keep_to_the_width() {
    for width in 44..140 {
        let text = table(&snapshot(), &Look { width, ..PLAIN });
        for line in text.lines().skip(1).filter(|line| !line.starts_with('!')) {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
        }
    }
}

#[test]
fn colours_change_no_column() {
    let coloured = table(&snapshot(), &Look { colour: true, ..PLAIN });
    assert!(coloured.contains("\x1b[31m"));
    let codes = regex::Regex::new("\x1b\\[[0-9]*m").unwrap();
    let bare: Vec<_> =
        codes.replace_all(&coloured, "").lines().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(bare, table(&snapshot(), &PLAIN).lines().map(str::trim_end).collect::<Vec<_>>());
}

#[test]
fn an_empty_workspace_says_what_to_do() {
    let empty = Snapshot { runners: vec![], ..snapshot() };
    assert!(table(&empty, &PLAIN).contains("no runners; add one"));
}

#[test]
fn a_record_is_marked_as_one() {
    let snapshot = snapshot();
    let text = recorded_table(&snapshot.workspace, &snapshot.runners, at(1000), &PLAIN);
    assert!(text.lines().next().unwrap().ends_with("no supervisor runs; as recorded"), "{text}");
    assert_eq!(text.lines().skip(1).count(), table(&snapshot, &PLAIN).lines().skip(1).count() - 1);
    let row = serde_json::to_value(&rows(&snapshot.runners, Source::Record)[0]).unwrap();
    assert_eq!(row["supervised"], false);
}

#[test]
fn a_json_row_has_every_key_in_order() {
    let snapshot = snapshot();
    let row = serde_json::to_string(&rows(&snapshot.runners, Source::Supervisor)[0]).unwrap();
    assert_eq!(
        row,
        "{\"name\":\"agent-api\",\"group\":\"agents\",\"status\":\"running\",\"exhausted\":false,\"ready\":null,\
         \"pid\":48211,\"attempt\":2,\"retry_count\":2,\"max_retries\":3,\"next_retry_at\":null,\"verdict\":null,\
         \"exit_code\":null,\"signal\":null,\"started_at\":\"1970-01-01T00:04:36Z\",\"ended_at\":null,\
         \"last_output_at\":\"1970-01-01T00:16:32Z\",\"cpu_percent\":13.6,\"rss_bytes\":432013312,\"log\":null,\
         \"supervised\":true}"
    );
    let crashed = serde_json::to_value(&rows(&snapshot.runners, Source::Supervisor)[3]).unwrap();
    assert_eq!(crashed["status"], "crashed");
    assert_eq!(crashed["exhausted"], true);
    assert_eq!(crashed["verdict"], "exit");
    assert_eq!(crashed["exit_code"], 137);
    assert_eq!(crashed["rss_bytes"], serde_json::Value::Null);
}
