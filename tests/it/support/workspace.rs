//! A folder with a config, and the built program in it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::{RESTAGE, wait_for, wait_until};

/// A workspace with folders of its own for state and sockets. What runs in it ends with it.
pub(crate) struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    pub(crate) fn new(runners: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = Self { dir };
        std::fs::create_dir(this.path("run")).unwrap();
        let config = json!({ "retry_backoff_seconds": 0.05, "stop_grace_seconds": 1, "runners": runners });
        std::fs::write(this.path("config.json"), config.to_string()).unwrap();
        this
    }

    /// The same folder once more, as `cp -a` makes it.
    pub(crate) fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-a").arg(self.path(".")).arg(dir.path()).status().unwrap();
        assert!(copied.success());
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RESTAGE);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code(), text(stdout), text(stderr))
    }

    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        stdout
    }

    pub(crate) fn status(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    pub(crate) fn runner(&self, name: &str) -> Value {
        self.status().into_iter().find(|row| row["name"] == name).unwrap()
    }

    pub(crate) fn holder(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.path(".restage/supervisor.lock")).ok()?).ok()
    }

    pub(crate) fn supervisor(&self) -> i32 {
        wait_for("a supervisor", || self.holder()?["pid"].as_i64()?.try_into().ok())
    }

    pub(crate) fn foreground(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.run(&["down", "--kill"]).0 == Some(3) {
            return;
        }
        let gone = || self.run(&["down", "--kill"]).0 == Some(3);
        wait_until("the supervisor has ended", gone);
    }
}
