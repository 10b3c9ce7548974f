//! A machine that was suspended, or whose clock was set, on the built program: the clocks that people read jump by
//! hours, the one that stands still during a suspend does not, and nobody is ended, retried or given up for it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::wait_until;
use crate::support::workspace::Workspace;

const HOURS_8: i64 = 8 * 3600;

/// The clocks of everything that is started with it are moved by what the file says.
fn shim(dir: &Path) -> String {
    let (source, library) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock.c"), dir.join("clock.so"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    let built = built.expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library.display().to_string()
}

/// Files are replaced whole: nobody reads half of one.
fn set(workspace: &Workspace, seconds: i64) {
    std::fs::write(workspace.path("clock.new"), seconds.to_string()).unwrap();
    std::fs::rename(workspace.path("clock.new"), workspace.path("clock")).unwrap();
}

fn size(workspace: &Workspace, name: &str) -> u64 {
    std::fs::metadata(workspace.path(name)).map_or(0, |file| file.len())
}

#[test]
fn a_suspend_or_a_clock_that_is_set_ends_nobody() {
    let workspace = Workspace::new(&json!({}));
    let config = json!({
        "runners": {
            "busy": {
                "command": "while :; do echo tick | tee -a ticks; sleep 0.1; done",
                "activity_timeout_seconds": 1.5,
                "timeout_seconds": 3600,
                "retry_reset_after_seconds": 3600,
            },
            "later": { "command": "false", "retry_backoff_seconds": 1800, "retry_max_backoff_seconds": 1800 },
            "probe": { "command": "true", "autostart": false },
        },
        "flows": { "night": { "timeout_seconds": 3600, "stages": [
            { "name": "long", "timeout_seconds": 3600, "activity_timeout_seconds": 1800,
              "command": "until [ -e over ]; do sleep 0.05; done" },
        ] } },
    });
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    let shim = shim(&workspace.path(""));
    set(&workspace, 0);
    let up = workspace
        .command(&["up", "--detach"])
        .env("LD_PRELOAD", shim)
        .env("RESTAGE_TEST_CLOCK", workspace.path("clock"))
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let preloaded = std::fs::read_to_string(format!("/proc/{}/maps", workspace.supervisor())).unwrap();
    assert!(preloaded.contains("clock.so"));
    workspace.ok(&["run", "night", "--detach"]);
    wait_until("it backs off", || workspace.runner("later")["status"] == "backoff");
    let pid = workspace.runner("busy")["pid"].clone();
    let retry =
        || workspace.runner("later")["next_retry_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let before = retry();

    for jump in [HOURS_8, -HOURS_8, 0] {
        set(&workspace, jump);
        workspace.ok(&["start", "probe"]);
        workspace.ok(&["wait", "probe", "--for", "ended"]);
        let started: jiff::Timestamp =
            workspace.runner("probe")["started_at"].as_str().unwrap().parse().unwrap();
        let ahead = started.duration_since(jiff::Timestamp::now()).as_hours();
        assert!((ahead - jump / 3600).abs() <= 1, "the clock is {ahead} h ahead");
        // Long enough for each watch to have looked, by itself and because something happened.
        let seen = size(&workspace, "ticks");
        wait_until("it works on", || size(&workspace, "ticks") > seen + 5 * 25);
        let busy = workspace.runner("busy");
        assert_eq!(
            (&busy["status"], &busy["pid"], &busy["attempt"], &busy["retry_count"]),
            (&json!("running"), &pid, &json!(1), &json!(0)),
            "{jump}: {busy}"
        );
        let later = workspace.runner("later");
        assert_eq!(
            (&later["status"], &later["retry_count"]),
            (&json!("backoff"), &json!(1)),
            "{jump}: {later}"
        );
        let shown: Value = serde_json::from_str(&workspace.ok(&["show", "night-1", "--json"])).unwrap();
        assert_eq!(
            (&shown["status"], &shown["stages"][0]["attempts"].as_array().unwrap().len()),
            (&json!("running"), &1),
            "{jump}: {shown}"
        );
    }
    // The rest of the backoff is what it was.
    assert!(retry().duration_since(before).abs() < jiff::SignedDuration::from_secs(2), "{before}");
    std::fs::write(workspace.path("over"), "").unwrap();
    wait_until("it ends well", || {
        let shown: Value = serde_json::from_str(&workspace.ok(&["show", "night-1", "--json"])).unwrap();
        shown["status"] == "succeeded"
    });
}
