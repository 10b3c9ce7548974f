//! The dashboard's figures, in a real terminal: how soon a key is answered while much is going on, what watching costs,
//! how soon a huge log is open.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{Outcome, Workspace, cpu_ns, ensure, figures, fixture, quantile, runners, wait};
use crate::terminal::Terminal;

const SIZE: (u16, u16) = (200, 60);
const LOUD: usize = 20;
const ALL: usize = 1000;
const PRESSES: usize = 500;

const MIB: u64 = 1 << 20;

/// A thousand runners, of which twenty print a thousand lines a second each: a key is on the screen in no time.
pub(crate) fn keys(slack: f64) -> Outcome {
    let specs: Vec<(String, Value)> = (0..ALL)
        .map(|number| {
            let command = if number < LOUD {
                json!([fixture(), "lines", "0", "1000"])
            } else {
                json!(["sleep", "infinity"])
            };
            (format!("r{number:04}"), json!({ "command": command }))
        })
        .collect();
    let workspace = workspace(&specs);
    let _headless = workspace.headless();
    wait("all run", || {
        let rows = workspace.status().ok()?;
        (rows.iter().filter(|row| row["status"] == "running").count() == ALL).then_some(())
    })?;
    let mut terminal = Terminal::start(workspace.command(&[]), SIZE);
    terminal.until("all of them", |screen| screen.contains("1000 running") && screen.contains("0000000"))?;
    terminal.watch(Duration::from_secs(3));

    // Among the loud ones, so that each step opens a log that grows while it is read; then from one end of the list to
    // the other. The pauses fit no rhythm of the dashboard's own.
    let mut at = 0;
    let mut times = Vec::with_capacity(PRESSES);
    for press in 0..PRESSES {
        let (key, to) = match press % 25 {
            0 => ("G", ALL - 1),
            1 => ("g", 0),
            step if step < 14 => ("j", at + 1),
            _ => ("k", at - 1),
        };
        at = to;
        let name = format!(" r{to:04} ");
        let took = terminal.press(key, &name, |screen| {
            screen.lines().any(|line| line.starts_with('▌') && line.contains(&name))
        })?;
        times.push(took.as_secs_f64() * 1e3);
        terminal.watch(Duration::from_millis(20 + (press as u64 * 37) % 60));
    }
    terminal.press("g", "the first", |screen| {
        screen.lines().any(|line| line.starts_with('▌') && line.contains(" r0000 "))
    })?;
    let (cpu, drawn) = watched(&mut terminal, Duration::from_secs(10));
    let (median, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let line = figures(
        "1,000 runners, 20 of them at 1,000 lines/s; key to frame, ms:",
        &[("median", median), ("p99", p99), ("worst", quantile(&mut times, 1.0)), ("wanted", 30.0)],
    );
    ensure(p99 < 30.0 * slack, || format!("30 ms wanted: {line}"))?;
    let seen = figures("watching one of them:", &[("% of a core", cpu), ("KiB/s drawn", drawn)]);
    Ok(vec![line, seen, figures("memory:", &[("RSS MiB", rss(terminal.pid()))])])
}

/// Three hundred idle runners, and the end of a log of 300 MB on the screen.
pub(crate) fn idle(slack: f64) -> Outcome {
    let mut specs: Vec<(String, Value)> = (0..300)
        .map(|number| (format!("r{number:03}"), json!({ "command": ["sleep", "infinity"] })))
        .collect();
    let fixture = fixture();
    let printing = format!("'{fixture}' bulk 3000000; exec sleep infinity");
    specs.insert(0, ("big".to_owned(), json!({ "command": printing })));
    let workspace = workspace(&specs);
    let _headless = workspace.headless();
    let log = workspace.path(".restage/logs/big_1.log");
    wait("300 MB of log", || (std::fs::metadata(&log).ok()?.len() >= 300_000_000).then_some(()))?;
    let mut terminal = Terminal::start(workspace.command(&[]), SIZE);
    terminal.until("the end of the log", |screen| {
        screen.contains("301 running") && screen.contains("00003000000 ")
    })?;
    terminal.press("\r", "the log has the keys", |screen| screen.contains("follow"))?;
    terminal.watch(Duration::from_secs(5));
    let (cpu, drawn) = watched(&mut terminal, Duration::from_secs(20));
    let memory = rss(terminal.pid());
    let line = figures(
        "300 idle runners, a log of 300 MB:",
        &[("% of a core", cpu), ("RSS MiB", memory), ("KiB/s drawn", drawn)],
    );
    ensure(cpu < slack && memory < 30.0, || format!("1 % and 30 MiB wanted: {line}"))?;
    // Through all of it, from the top to the end: what was seen is not kept.
    terminal.press("g", "the top", |screen| screen.contains("00000000001 "))?;
    for _ in 0..200 {
        terminal.press("\x06", "a page", |_| true)?;
        terminal.watch(Duration::from_millis(2));
    }
    terminal.press("G", "the end", |screen| screen.contains("00003000000 "))?;
    let memory = rss(terminal.pid());
    ensure(memory < 30.0, || format!("30 MiB wanted after scrolling, {memory:.1} used"))?;
    Ok(vec![line, figures("after 200 pages:", &[("RSS MiB", memory)])])
}

/// A log of 1 GB, most of it a hole, so that the proof fits on a small disk: what is read at the ends is text.
#[expect(clippy::cast_precision_loss, reason = "figures")]
pub(crate) fn open(slack: f64) -> Outcome {
    let sleeping = json!({ "command": ["sleep", "infinity"] });
    let specs = [("a-small".to_owned(), sleeping.clone()), ("big".to_owned(), sleeping)];
    let workspace = workspace(&specs);
    let _headless = workspace.headless();
    workspace.wait_runner("big", "runs", |row| row["status"] == "running")?;
    let log = workspace.path(".restage/logs/big_1.log");
    let failed = |error: std::io::Error| format!("fill {}: {error}", log.display());
    let mut file = OpenOptions::new().append(true).open(&log).map_err(failed)?;
    let text = |word: &str| format!("{word} {:.<94}\n", "").repeat(16 * 10_486);
    file.write_all(text("head").as_bytes()).map_err(failed)?;
    file.set_len(1024 * MIB - 17 * MIB).map_err(failed)?;
    file.write_all(text("tail").as_bytes()).map_err(failed)?;
    file.write_all(b"the very end\n").map_err(failed)?;
    let len = std::fs::metadata(&log).map_err(failed)?.len();
    ensure(len > 1_000_000_000, || format!("a log of {len} bytes is not large"))?;
    let mut terminal = Terminal::start(workspace.command(&[]), SIZE);
    terminal
        .until("both", |screen| screen.contains("2 running") && screen.contains("Nothing was printed"))?;
    let mut times = Vec::new();
    for _ in 0..40 {
        let took = terminal.press("j", "the end of the log", |screen| screen.contains("the very end"))?;
        times.push(took.as_secs_f64() * 1e3);
        terminal.press("k", "the other log", |screen| screen.contains("Nothing was printed"))?;
        terminal.watch(Duration::from_millis(30));
    }
    let worst = quantile(&mut times, 1.0);
    let line = figures(
        &format!("a log of {:.2} GB, key to its end on the screen, ms:", len as f64 / 1e9),
        &[("median", quantile(&mut times, 0.5)), ("worst", worst), ("wanted", 50.0)],
    );
    ensure(worst < 50.0 * slack, || format!("50 ms wanted: {line}"))?;
    Ok(vec![line])
}

fn workspace(specs: &[(String, Value)]) -> Workspace {
    let workspace = Workspace::new(&json!({}));
    let specs: Vec<_> = specs.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    workspace.configure(&runners(&specs));
    workspace
}

/// Percent of a core and KiB/s while nobody touches it.
#[expect(clippy::cast_precision_loss, reason = "figures")]
fn watched(terminal: &mut Terminal, time: Duration) -> (f64, f64) {
    let before = cpu_ns(terminal.pid());
    let bytes = terminal.watch(time);
    let used = cpu_ns(terminal.pid()).saturating_sub(before);
    let seconds = time.as_secs_f64();
    (used as f64 / 1e9 / seconds * 100.0, bytes as f64 / 1024.0 / seconds)
}

/// Resident memory, MiB.
#[expect(clippy::cast_precision_loss, reason = "figures")]
fn rss(pid: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib as f64 / 1024.0
}
