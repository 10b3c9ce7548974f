//! Flows on the built program: what is executed and what is reused, what is refused, what bad stages do.

mod adopted;
mod attempts;
mod course;
mod damage;
mod deleted;
mod foreach;
mod given_up;
mod hooks;
mod hosts;
mod items;
mod kept;
mod keys;
mod left;
mod limit;
mod lying;
mod made;
mod output;
mod plans;
mod refusals;
mod retry;
mod told;
mod trust;
mod unread;
mod unread_rows;
mod watch;

use std::path::PathBuf;

use restage::domain::flow::ids::RunId;
use restage::ports::store::Store;
use restage::store::sqlite::SqliteStore;
use serde_json::{Value, json};

use super::support::wait_until;
use super::support::workspace::Workspace;

/// What most stages of these tests begin with: they count themselves, and fail where a file says so.
const COUNTED: &str = "echo $RESTAGE_STAGE >> ran; \
    if [ -e fail.$RESTAGE_STAGE ]; then echo made to fail >&2; exit 1; fi; ";

/// A workspace with flows, with a supervisor in the background unless told otherwise.
struct Flows {
    space: Workspace,
}

impl Flows {
    fn new(flows: &Value) -> Self {
        let this = Self { space: Workspace::new(&json!({})) };
        this.configure(flows);
        this.ok(&["run", "warm", "--detach"]);
        this
    }

    fn configure(&self, flows: &Value) {
        let mut flows = flows.clone();
        flows["warm"] = json!({ "stages": [{ "name": "up", "command": ["true"] }] });
        let config = json!({ "stop_grace_seconds": 1, "flows": flows });
        std::fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.space.path(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (code, stdout, stderr) = self.space.run(arguments);
        (code.unwrap(), stdout, stderr)
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.space.ok(arguments)
    }

    /// Its exit code is `code`; what it told, on stdout and stderr.
    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let (got, stdout, stderr) = self.run(arguments);
        assert_eq!(got, code, "{arguments:?}: {stdout}{stderr}");
        stdout + &stderr
    }

    /// What was executed since the last time, in the order of names.
    fn ran(&self) -> Vec<String> {
        let ran = self.ran_so_far();
        std::fs::remove_file(self.path("ran")).ok();
        ran
    }

    /// The same while something runs, which may write in the same moment.
    fn ran_so_far(&self) -> Vec<String> {
        let mut ran: Vec<String> = self.read("ran").lines().map(str::to_owned).collect();
        ran.sort();
        ran
    }

    /// The record of a run, as `show --json` prints it.
    #[track_caller]
    fn show(&self, run: &str) -> Value {
        let mut store = SqliteStore::open_read(&self.path(".restage/history.db")).unwrap().unwrap();
        let stored = store.run(&RunId::trusted(run)).unwrap().unwrap();
        serde_json::to_value(stored.record).unwrap()
    }

    fn count(&self) -> usize {
        let mut store = SqliteStore::open_read(&self.path(".restage/history.db")).unwrap().unwrap();
        store.runs(&restage::domain::flow::record::RunFilter::default()).unwrap().len()
    }

    #[track_caller]
    fn stage(&self, run: &str, stage: &str) -> Value {
        let record = self.show(run);
        let stages = record["stages"].as_array().unwrap();
        stages.iter().find(|row| row["name"] == stage).unwrap_or_else(|| panic!("{record:#}")).clone()
    }

    #[track_caller]
    fn status(&self, run: &str, stage: &str) -> String {
        self.stage(run, stage)["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn until(&self, run: &str, status: &str) {
        wait_until(&format!("{run} is {status}"), || self.show(run)["status"] == status);
    }

    /// The file of an artifact, where it is kept.
    fn object(&self, hash: &Value) -> PathBuf {
        let hash = hash.as_str().unwrap();
        self.path(".restage/objects").join(&hash[..2]).join(hash)
    }
}

/// A stage that counts itself.
fn stage(name: &str, script: &str, rest: Value) -> Value {
    let mut stage = json!({ "name": name, "command": format!("{COUNTED}{script}") });
    if let (Value::Object(stage), Value::Object(rest)) = (&mut stage, rest) {
        stage.extend(rest);
    }
    stage
}
