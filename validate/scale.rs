//! A thousand runners: memory, CPU while nothing happens, and how soon all of them have run.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::kit::{
    Outcome, Workspace, bare_spawn, cpu_ns, ensure, figures, fixture, kill, monotonic_ns, pss, quantile,
    reap, runners, wait,
};

const COUNT: usize = 1000;

pub(crate) fn thousand(slack: f64) -> Outcome {
    let mut launches = Vec::new();
    let mut told = Vec::new();
    for round in 0..3 {
        let floor = launch_bare()?;
        let workspace = Workspace::new(&json!({}));
        let marks = workspace.path("marks");
        let specs: Vec<(String, _)> = (0..COUNT)
            .map(|index| {
                (
                    format!("r{index:04}"),
                    json!({ "command": [fixture(), "mark", marks.display().to_string()] }),
                )
            })
            .collect();
        let specs: Vec<_> = specs.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
        workspace.configure(&runners(&specs));
        let begin = monotonic_ns();
        let headless = workspace.headless();
        let ours = last_mark(&marks, begin)?;
        launches.push((ours / floor, floor, ours));
        if round == 0 {
            wait("all are seen as running", || {
                let rows = workspace.status().ok()?;
                (rows.iter().filter(|row| row["status"] == "running").count() == COUNT).then_some(())
            })?;
            told.push(idle(&workspace, slack)?);
        }
        drop(headless);
        if launches.iter().any(|(ratio, ..)| *ratio <= 1.25) {
            break;
        }
    }
    let (ratio, floor, ours) =
        launches.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).ok_or("nothing was measured")?;
    told.push(figures("launch of 1,000, s:", &[("bare", floor), ("restage", ours), ("ratio", ratio)]));
    ensure(ratio <= 1.25 * slack, || {
        format!("launching takes {ratio:.2} × a bare loop, at most 1.25 wanted: {told:?}")
    })?;
    Ok(told)
}

/// Memory and CPU of all of our processes over 20 seconds in which nothing happens: the worse of two turns.
#[expect(clippy::cast_precision_loss, reason = "figures")]
fn idle(workspace: &Workspace, slack: f64) -> Result<String, String> {
    // What starting left is tidied up for the last time 24 seconds after it; idle is what comes then.
    std::thread::sleep(Duration::from_secs(26));
    let own = workspace.own_processes();
    ensure(own.len() >= 3, || format!("supervisor, keeper and guard expected, found {own:?}"))?;
    let used = || own.iter().map(|pid| cpu_ns(*pid)).sum::<u64>();
    let mut turns: Vec<f64> = Vec::new();
    for _ in 0..2 {
        let before = used();
        std::thread::sleep(Duration::from_secs(20));
        turns.push(used().saturating_sub(before) as f64 / 20e9 * 100.0);
    }
    let memory: u64 = own.iter().map(|pid| pss(*pid)).sum();
    let mib = memory as f64 / 1024.0;
    let told: Vec<String> = turns.iter().map(|percent| format!("{percent:.4} %")).collect();
    let percent = quantile(&mut turns, 1.0);
    let line = format!(
        "1,000 idle runners: {mib:.2} MiB PSS in {} processes, {} of a core",
        own.len(),
        told.join(", ")
    );
    ensure(mib < 8.0 + (slack - 1.0), || format!("8 MiB wanted: {line}"))?;
    ensure(percent < 0.01 * slack, || format!("0.01 % wanted: {line}"))?;
    Ok(line)
}

fn launch_bare() -> Result<f64, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let marks = dir.path().join("marks");
    let text = marks.display().to_string();
    let begin = monotonic_ns();
    let pids: Vec<i32> = (0..COUNT)
        .map(|index| bare_spawn(&[&fixture(), "mark", &text], &dir.path().join(format!("log-{index}"))))
        .collect();
    let seconds = last_mark(&marks, begin);
    for pid in pids {
        kill(pid, libc::SIGKILL);
        reap(pid);
    }
    seconds
}

/// Seconds from `begin` until the last of all has left its mark: eight bytes of monotonic time each.
#[expect(clippy::cast_precision_loss, reason = "figures")]
fn last_mark(marks: &Path, begin: u64) -> Result<f64, String> {
    let bytes = wait("all have run", || {
        let bytes = std::fs::read(marks).ok()?;
        (bytes.len() >= COUNT * 8).then_some(bytes)
    })?;
    let last = bytes
        .chunks_exact(8)
        .filter_map(|mark| Some(u64::from_ne_bytes(mark.try_into().ok()?)))
        .max()
        .unwrap_or(begin);
    Ok((last - begin) as f64 / 1e9)
}
