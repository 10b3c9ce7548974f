//! An env file that cannot be read must cost nobody else anything.

use serde_json::json;

use crate::support::wait_until;
use crate::support::workspace::Workspace;

/// Who keeps secrets in a pipe writes into it when it suits him, perhaps never.
#[test]
fn an_env_file_that_became_a_pipe_stops_neither_the_supervisor_nor_others() {
    let workspace = Workspace::new(&json!({
        "e": { "command": ["sleep", "1000"], "env_file": "e.env", "autostart": false, "retry_on_crash": false },
        "other": { "command": ["sleep", "1000"] },
        "watched": { "command": ["sleep", "1000"], "env_file": "w.env",
                     "health": { "command": ["true"], "interval_seconds": 0.1, "failures": 1000 } },
    }));
    for name in ["e.env", "w.env"] {
        std::fs::write(workspace.path(name), "A=1\n").unwrap();
    }
    workspace.ok(&["up", "--detach"]);
    wait_until("the others run", || {
        ["other", "watched"].iter().all(|name| workspace.runner(name)["status"] == "running")
    });
    for name in ["w.env", "e.env"] {
        std::fs::remove_file(workspace.path(name)).unwrap();
        nix::unistd::mkfifo(&workspace.path(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let (code, _, told) = workspace.run(&["check"]);
    assert_eq!(code, Some(2), "{told}");
    assert_eq!(told.matches("is a named pipe").count(), 2, "{told}");
    workspace.run(&["start", "e"]);
    wait_until("it has failed", || workspace.runner("e")["status"] == "crashed");
    let why = workspace.ok(&["why", "e"]);
    assert!(why.contains("e.env: it is a named pipe") && why.contains("name a plain file"), "{why}");
    assert!(workspace.ok(&["stop", "other"]).contains("stopped"));
}
