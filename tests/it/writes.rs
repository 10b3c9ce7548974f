//! Supervisor and keeper are killed, and find no room, at their writes one by one, on the built program: each of these
//! runs of a flow ends right, with nothing executed twice and nothing lost, by nothing but the same verb once more.
//!
//! A plain test tries points over the whole life of both; with `RESTAGE_EVERY_WRITE=1` it tries each of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{PATIENCE, is_alive};

/// More than any of these processes does; the last one that is tried is the first that is not reached.
const MOST: usize = 2_000;

/// Most of a trial is waiting: for the disk, a backoff, a successor.
const AT_ONCE: usize = 8;

/// In each of its attempts it says which it is.
const TELLS: &str = "echo $RESTAGE_STAGE,$RESTAGE_ITEM_INDEX,$RESTAGE_ATTEMPT >> ran; ";

#[derive(Debug, Clone, Copy)]
struct Kind {
    role: &'static str,
    fault: &'static str,
}

fn library(dir: &Path) -> PathBuf {
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/writes.c"), dir.join("writes.so"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    let built = built.expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

fn config() -> Value {
    let stage = |name: &str, needs: &[&str], script: &str| json!({ "name": name, "needs": needs, "command": format!("{TELLS}{script}") });
    let mut stages = [
        stage("draft", &[], "echo '{\"list\":[10,20]}' > $RESTAGE_OUTPUT; echo art > $RESTAGE_ARTIFACTS/x"),
        stage(
            "parts",
            &["draft"],
            "echo \"{\\\"part\\\":{\\\"of\\\":[$(cat $RESTAGE_ITEM)]}}\" > $RESTAGE_OUTPUT",
        ),
        stage(
            "flaky",
            &["draft"],
            "[ $RESTAGE_ATTEMPT = 2 ] && cp $RESTAGE_INPUTS/draft/x $RESTAGE_ARTIFACTS/y",
        ),
        stage("join", &["parts", "flaky"], "cat $RESTAGE_STATE $RESTAGE_INPUTS/flaky/y > joined"),
        stage("check", &[], "grep -q part $RESTAGE_STATE"),
    ];
    stages[0]["outputs"] = json!(["list"]);
    stages[0]["artifacts"] = json!(["*"]);
    stages[1]["foreach"] = json!("list");
    stages[1]["outputs"] = json!(["part"]);
    stages[2]["artifacts"] = json!(["*"]);
    stages[2]["retry"] = json!({ "count": 1, "backoff_seconds": 0.02 });
    stages[4]["validates"] = json!("join");
    json!({ "stop_grace_seconds": 1, "flows": { "f": { "stages": stages, "on_success": "echo hook,, >> ran" } } })
}

/// What is executed where nothing goes wrong: stage, item, attempt.
const EXECUTED: [&str; 8] =
    ["check,,1", "draft,,1", "flaky,,1", "flaky,,2", "hook,,", "join,,1", "parts,0,1", "parts,1,1"];

struct Trial {
    workspace: Workspace,
    library: PathBuf,
    kind: Kind,
    at: usize,
    begun: Instant,
}

impl Trial {
    fn new(library: &Path, kind: Kind, at: usize) -> Self {
        let workspace = Workspace::new(&json!({}));
        std::fs::write(workspace.path("config.json"), config().to_string()).unwrap();
        Self { workspace, library: library.to_owned(), kind, at, begun: Instant::now() }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.workspace.path(name)).unwrap_or_default()
    }

    fn is_late(&self) -> bool {
        // Several things are waited for, beside other trials.
        self.begun.elapsed() > PATIENCE * 3
    }

    /// The run as a user asks for it, and asks again where that failed.
    fn ask(&self) -> (Option<i32>, String) {
        let mut command = self.workspace.command(&["run", "f", "--key", "once", "--detach"]);
        let asked = format!(
            "{} {} {} {}",
            self.workspace.path("").canonicalize().unwrap().display(),
            self.kind.role,
            self.kind.fault,
            self.at
        );
        let output =
            command.env("LD_PRELOAD", &self.library).env("RESTAGE_TEST_WRITES", asked).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn history(&self) -> Option<Connection> {
        let path = self.workspace.path(".restage/history.db");
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()
    }

    /// Each run and whether the command after it has ended.
    fn runs(&self) -> Vec<(String, bool)> {
        let ask = |history: Connection| -> rusqlite::Result<Vec<(String, bool)>> {
            let mut ask = history.prepare(
                "SELECT status, (SELECT ended_at FROM hooks WHERE hooks.run = runs.id) IS NOT NULL FROM runs",
            )?;
            ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        self.history().and_then(|history| ask(history).ok()).unwrap_or_default()
    }

    /// Its story, for who reads of a failure.
    fn story(&self, what: &str) -> String {
        let attempts = self.attempts().unwrap_or_else(|error| vec![error.to_string()]);
        let log = self.read(".restage/logs/restage.log");
        let log: Vec<&str> = log.lines().rev().take(12).collect();
        format!(
            "{:?} at {}: {what}\nhit: {}runs: {:?}\nran: {:?}\nattempts: {attempts:#?}\nlog: {log:#?}",
            self.kind,
            self.at,
            self.read("hit"),
            self.runs(),
            self.read("ran"),
        )
    }

    /// `stage,item,attempt verdict` of what was executed or would have been.
    fn attempts(&self) -> rusqlite::Result<Vec<String>> {
        let Some(history) = self.history() else { return Ok(Vec::new()) };
        let mut ask = history.prepare(
            "SELECT stage || ',' || iif(item < 0, '', item) || ',' || number || ' ' || ifnull(verdict, '') || ' ' || blameless \
             FROM attempts ORDER BY 1",
        )?;
        ask.query_map([], |row| row.get(0))?.collect()
    }

    fn make_room(&self) {
        std::fs::write(self.workspace.path("room"), "").unwrap();
    }

    /// Whether the fault came to pass.
    fn play(&self) -> Result<bool, String> {
        let full = self.kind.fault == "full";
        let mut asked = self.ask();
        while asked.0 != Some(0) {
            if self.is_late() {
                return Err(self.story(&format!("the run cannot be had: {asked:?}")));
            }
            if full && !self.workspace.path("room").exists() {
                // Once it is known there is no room, whatever was asked for is refused for that.
                let told =
                    ["the disk is full", "No space left on device"].iter().any(|said| asked.1.contains(said));
                if !told {
                    return Err(self.story(&format!("the refusal: {asked:?}")));
                }
                self.make_room();
            }
            asked = self.ask();
        }
        loop {
            let runs = self.runs();
            if runs.iter().any(|(status, hook)| status == "succeeded" && *hook) {
                break;
            }
            if self.is_late()
                || runs.iter().any(|(status, _)| !["queued", "running", "succeeded"].contains(&&**status))
            {
                return Err(self.story("the run does not end right"));
            }
            // It was refused more than once, so that what waits for room has been waiting.
            if full && self.read("hit").lines().count() >= 3 {
                self.make_room();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let hit = self.workspace.path("hit").exists();
        // The life of the run is over: how both end is not tried here.
        self.make_room();
        File::options().create(true).append(true).open(self.workspace.path("hit")).unwrap();
        self.check()?;
        Ok(hit)
    }

    fn check(&self) -> Result<(), String> {
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(self.story(what)) };
        ensure(self.runs().len() == 1, "one key has made several runs")?;
        let ran = self.read("ran");
        let mut ran: Vec<&str> = ran.lines().collect();
        ran.sort_unstable();
        ensure(ran == EXECUTED, "what was executed")?;
        let joined = self.read("joined");
        let state: &str = joined.trim_end().trim_end_matches("art").trim_end();
        let wanted = json!({ "list": [10, 20], "part": [{ "of": [10] }, { "of": [20] }] });
        ensure(
            serde_json::from_str::<Value>(state).is_ok_and(|state| state == wanted),
            &format!("the state: {joined}"),
        )?;
        let attempts = self.attempts().map_err(|error| self.story(&error.to_string()))?;
        let executed = attempts.iter().filter(|attempt| attempt.ends_with(" 0"));
        let executed: Vec<&str> = executed.filter_map(|attempt| attempt.split(' ').next()).collect();
        let stages: Vec<&str> = ran.iter().copied().filter(|line| !line.starts_with("hook")).collect();
        ensure(executed == stages, "the record of what was executed")?;
        let history = self.history().ok_or_else(|| self.story("there is no history"))?;
        let whole: String =
            history.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap_or_default();
        ensure(whole == "ok", &whole)?;
        drop(history);
        // One that was killed at its last writes has a successor, which may just be starting.
        let gone = || {
            self.workspace.run(&["down"]);
            self.alive().is_empty()
        };
        while !gone() {
            ensure(!self.is_late(), &format!("there lives {:?}", self.alive()))?;
        }
        Ok(())
    }

    /// What was started for this workspace and lives: it all has its folder in its environment.
    fn alive(&self) -> Vec<i32> {
        let folder = self.workspace.path("run").display().to_string();
        let pids = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| is_alive(*pid))
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.windows(folder.len()).any(|part| part == folder.as_bytes())
            })
            .collect()
    }
}

/// Tries every `step`th point, from `first` on, until one is not reached; several at once.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "how many points there are, and the story of each failure"
)]
fn try_all(kind: Kind, first: usize, step: usize) {
    let every = std::env::var_os("RESTAGE_EVERY_WRITE").is_some();
    let (first, step) = if every { (1, 1) } else { (first, step) };
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path());
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (hits, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let at = first + step * next.fetch_add(1, Ordering::Relaxed);
                    assert!(at < MOST, "{kind:?}: the life of a process has no end");
                    let trial = Trial::new(&library, kind, at);
                    match trial.play() {
                        Ok(true) => _ = hits.fetch_add(1, Ordering::Relaxed),
                        Ok(false) => over.store(true, Ordering::Relaxed),
                        Err(story) => {
                            // It is told though what is left of the trial should not end.
                            eprintln!("{story}\n");
                            failed.lock().unwrap().push(at);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let hits = hits.into_inner();
    println!("{kind:?}: {hits} points, failed at {failed:?}");
    assert!(failed.is_empty(), "at {failed:?}, as told above");
    assert!(hits >= 15, "{hits} points were reached");
}

#[test]
fn the_supervisor_is_killed_at_its_writes() {
    try_all(Kind { role: "supervisor", fault: "kill" }, 3, 20);
}

#[test]
fn the_keeper_is_killed_at_its_writes() {
    try_all(Kind { role: "keeper", fault: "kill" }, 1, 3);
}

#[test]
fn supervisor_and_keeper_are_killed_at_the_writes_of_the_supervisor() {
    try_all(Kind { role: "supervisor", fault: "both" }, 13, 20);
}

#[test]
fn one_write_finds_no_room() {
    try_all(Kind { role: "supervisor", fault: "once" }, 14, 16);
}

#[test]
fn no_write_finds_room_for_a_while() {
    try_all(Kind { role: "supervisor", fault: "full" }, 10, 20);
}
