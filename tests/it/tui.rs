//! Journeys in a real terminal: the built program, a supervisor, and keys.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::terminal::Terminal;
use crate::support::{RESTAGE, is_alive, kill_9, wait_for, wait_until};

const USUAL: (u16, u16) = (120, 36);

struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    fn new(runners: &Value) -> Self {
        Self::with(&json!({ "stop_grace_seconds": 1, "retry_backoff_seconds": 60, "runners": runners }))
    }

    fn with(config: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(RESTAGE);
        command
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    fn open(&self) -> Terminal {
        self.open_sized(USUAL)
    }

    fn open_sized(&self, size: (u16, u16)) -> Terminal {
        let terminal = Terminal::start(self.command(), size);
        terminal.expect("quit");
        terminal
    }

    fn verb(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command().args(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn runner(&self, name: &str) -> Value {
        let (_, text) = self.verb(&["status", "--json"]);
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        rows.into_iter().find(|row| row["name"] == name).unwrap_or_default()
    }

    fn is_over(&self) -> bool {
        let (code, text) = self.verb(&["status", "--json"]);
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        code == Some(3) || (code == Some(0) && rows.iter().all(|row| row["supervised"] == false))
    }

    fn supervisor(&self) -> i32 {
        wait_for("a supervisor", || {
            let text = std::fs::read(self.path(".restage/supervisor.lock")).ok()?;
            let holder: Value = serde_json::from_slice(&text).ok()?;
            holder["pid"].as_i64()?.try_into().ok()
        })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.verb(&["down", "--kill"]).0 != Some(3) {
            wait_until("the supervisor has ended", || self.is_over());
        }
    }
}

fn sleeper() -> Value {
    json!({ "command": ["sleep", "infinity"] })
}

#[test]
fn start_crash_countdown_cancel_retry() {
    let workspace =
        Workspace::new(&json!({ "job": { "command": "echo tried; exit 3", "autostart": false } }));
    let mut terminal = workspace.open();
    terminal.expect("idle");
    terminal.press("s");
    terminal.expect("backoff");
    // It counts down.
    terminal.expect("in 59s");
    terminal.expect("in 58s");
    terminal.expect("Retry: 1/3");
    terminal.expect("tried");
    terminal.press("x");
    terminal.expect("■ stopped");
    assert_eq!(workspace.runner("job")["attempt"], 1);
    terminal.press("s");
    wait_until("a second attempt", || workspace.runner("job")["attempt"] == 2);
    terminal.expect("attempt 2");
}

#[test]
fn filter_then_act_on_what_is_highlighted() {
    let workspace = Workspace::new(&json!({ "alpha": sleeper(), "beta": sleeper(), "gamma": sleeper() }));
    let mut terminal = workspace.open();
    terminal.expect("3 running");
    terminal.press("/gam\r");
    terminal.expect("1 of 3");
    terminal.press("x");
    terminal.expect("Stop gamma?");
    terminal.press("\r");
    terminal.expect("1 stopped");
    terminal.press("\x1b");
    terminal.expect_gone("1 of 3");
    assert_eq!(workspace.runner("gamma")["status"], "stopped");
    assert_eq!(workspace.runner("alpha")["status"], "running");
    assert_eq!(workspace.runner("beta")["status"], "running");
}

#[test]
fn search_in_a_log() {
    let command = "for i in $(seq 1 5000); do echo line $i of many; done; exec sleep infinity";
    let workspace = Workspace::new(&json!({ "talker": { "command": command } }));
    let mut terminal = workspace.open();
    terminal.expect("line 5000 of many");
    terminal.press("l");
    terminal.expect_gone("Retry:");
    terminal.press("/line 17 of\r");
    terminal.expect("line 18 of many");
    terminal.press("G");
    terminal.expect("line 5000 of many");
}

#[test]
fn quit_by_detaching_leaves_the_runners() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut terminal = workspace.open();
    terminal.expect("1 running");
    let pid = workspace.runner("a")["pid"].clone();
    // Ctrl-C is a key like another: it asks.
    terminal.press("\x03");
    terminal.expect("One runner is live");
    terminal.press("\x1b");
    terminal.expect_gone("One runner is live");
    terminal.press("q");
    terminal.expect("One runner is live");
    terminal.press("d");
    assert_eq!(terminal.ended().code(), Some(0));
    assert!(terminal.is_cooked());
    assert!(terminal.screen().contains("goes on"), "{}", terminal.screen());
    assert_eq!(workspace.runner("a")["pid"], pid);
    // The next one shows the same.
    let again = workspace.open();
    again.expect(&format!("pid {pid}"));
}

#[test]
fn quit_by_stopping_leaves_nothing() {
    let workspace = Workspace::new(&json!({ "a": sleeper(), "b": sleeper() }));
    let mut terminal = workspace.open();
    terminal.expect("2 running");
    let pid = i32::try_from(workspace.runner("a")["pid"].as_i64().unwrap()).unwrap();
    terminal.press("q");
    terminal.expect("2 runners are live");
    terminal.press("s");
    assert_eq!(terminal.ended().code(), Some(0));
    assert!(!is_alive(pid));
    wait_until("no supervisor", || workspace.is_over());
}

#[test]
fn a_signal_gives_the_terminal_back_and_leaves_the_runners() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let mut terminal = workspace.open();
        terminal.expect("1 running");
        assert!(terminal.is_alternate() && !terminal.is_cooked());
        unsafe { libc::kill(i32::try_from(terminal.child.id()).unwrap(), signal) };
        assert_eq!(terminal.ended().code(), Some(128 + signal));
        assert!(terminal.is_cooked());
        assert_eq!(workspace.runner("a")["status"], "running");
    }
}

/// One whose window is frozen, or whose network is gone: a write to it does not come back.
#[test]
fn a_terminal_that_takes_nothing_keeps_nobody_from_leaving() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    for (signal, keys) in [(Some(libc::SIGTERM), ""), (None, "qd")] {
        let mut terminal = workspace.open_sized((200, 60));
        terminal.expect("1 running");
        let pid = i32::try_from(terminal.child.id()).unwrap();
        let frozen = terminal.frozen();
        wait_until("a write that does not come back", || {
            terminal.press("\x0c");
            is_in_write(pid, "restage-screen")
        });
        match signal {
            Some(signal) => assert_eq!(unsafe { libc::kill(pid, signal) }, 0),
            None => terminal.press(keys),
        }
        let status = wait_for("the end of the program", || terminal.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(signal.map_or(0, |signal| 128 + signal)));
        assert!(terminal.is_cooked());
        drop(frozen);
        wait_until("the way out of the alternate screen", || !terminal.is_alternate());
        assert_eq!(workspace.runner("a")["status"], "running");
    }
}

/// A thread of this name waits for a write to end.
fn is_in_write(pid: i32, thread: &str) -> bool {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().map(|task| task.path()).any(|task| {
        let number = libc::SYS_write.to_string();
        read(task.join("comm")).trim() == thread
            && read(task.join("syscall")).split_whitespace().next() == Some(&number)
    })
}

#[test]
fn a_supervisor_that_is_killed_is_seen_and_its_successor_found() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut terminal = workspace.open();
    terminal.expect("1 running");
    let (first, pid) = (workspace.supervisor(), workspace.runner("a")["pid"].clone());
    kill_9(first);
    terminal.expect("Connected again");
    assert_ne!(workspace.supervisor(), first);
    terminal.expect(&format!("pid {pid}"));
    // And it works: the runner is still the highlighted one.
    terminal.press("x");
    terminal.expect("Stop a?");
    terminal.press("y");
    terminal.expect("1 stopped");
}

#[test]
fn resize_storms_end_in_a_whole_screen() {
    let workspace = Workspace::new(&json!({ "a": sleeper(), "b": sleeper() }));
    let mut terminal = workspace.open();
    terminal.expect("2 running");
    for step in 0..60_u16 {
        terminal.resize(20 + step * 3, 4 + step % 50);
        if step % 7 == 0 {
            terminal.press("j");
        }
    }
    terminal.resize(30, 8);
    terminal.expect("40x10");
    terminal.resize(120, 36);
    terminal.expect("2 running");
    terminal.expect("? help");
    terminal.press("g");
    terminal.expect_that("the first one selected", |screen| {
        screen.lines().any(|line| line.starts_with('▌') && line.contains(" a "))
    });
}

#[test]
fn nothing_of_a_child_escapes_its_pane() {
    let hostile = concat!(
        r"printf '\033]52;c;aGVsbG8=\007'; printf '\033[?1049h\033[2J\033[10;10Hmoved'; printf '\033]0;title\007';",
        r"printf '\302\2332J\302\235title\302\234'; printf '\377\376broken'; printf 'wide \346\227\245\346\234\254 e\314\201\n';",
        r"head -c 1000000 /dev/zero | tr '\0' x; printf '\nthe end of it\n'; exec sleep infinity",
    );
    let workspace = Workspace::new(&json!({ "evil": { "command": hostile } }));
    let mut terminal = workspace.open();
    terminal.expect("the end of it");
    terminal.press("lgwwG\x1b");
    terminal.expect("Retry:");
    terminal.press("e");
    terminal.expect("Esc close");
    terminal.press("\x1b");
    terminal.expect_gone("Esc close");
    terminal.press("?");
    terminal.expect("Everywhere");
    let bytes = terminal.bytes();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!holds(b"]52;"), "a clipboard sequence came through");
    assert!(!holds(b"]0;title"), "a title came through");
    // The dashboard clears by cells and by its own first clear, and enters the alternate screen once.
    assert_eq!(bytes.windows(8).filter(|window| *window == b"\x1b[?1049h").count(), 1);
    let text = String::from_utf8(bytes.clone()).expect("all that restage writes is UTF-8");
    assert!(!text.contains(['\u{9b}', '\u{9d}', '\u{9c}']), "a C1 control came through");
}

#[test]
fn copying_goes_through_the_terminal_unless_the_config_says_no() {
    let runners = json!({ "talker": { "command": "echo hello; exec sleep infinity" } });
    for (clipboard, copies) in [("osc52", true), ("off", false)] {
        let workspace = Workspace::with(&json!({ "clipboard": clipboard, "runners": runners }));
        let mut terminal = workspace.open();
        terminal.expect("hello");
        terminal.press("l");
        terminal.expect("& lines");
        assert_eq!(terminal.screen().contains("y copy"), copies, "{}", terminal.screen());
        terminal.press("y");
        // base64 of "hello\n"
        let sequence = b"\x1b]52;c;aGVsbG8K\x07";
        let told = if copies { "Copied 1 line" } else { "the config says" };
        terminal.expect(told);
        let bytes = terminal.bytes();
        assert_eq!(bytes.windows(sequence.len()).any(|window| window == sequence), copies);
    }
}

#[test]
fn a_broken_config_is_told_before_the_terminal_is_taken() {
    let workspace = Workspace::with(&json!({ "runners": { "a": { "comand": "true" } } }));
    let mut terminal = Terminal::start(workspace.command(), USUAL);
    let status = wait_for("the end", || terminal.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(2));
    terminal.expect("did you mean \"command\"");
}

#[test]
fn keys_answer_fast_while_much_is_going_on() {
    let chatty = "while :; do echo chatter; sleep 0.01; done";
    let mut runners = serde_json::Map::new();
    for number in 0..60 {
        let command = if number < 5 { chatty } else { "exec sleep infinity" };
        runners.insert(format!("r{number:02}"), json!({ "command": command }));
    }
    let workspace = Workspace::new(&Value::Object(runners));
    let mut terminal = workspace.open();
    terminal.expect("60 running");
    let mut slowest = Duration::ZERO;
    for (key, name) in [("G", "r59"), ("g", "r00"), ("G", "r59"), ("g", "r00"), ("j", "r01")] {
        let pressed = Instant::now();
        terminal.press(key);
        terminal.expect_that(name, |screen| {
            screen.lines().any(|line| line.starts_with('▌') && line.contains(name))
        });
        slowest = slowest.max(pressed.elapsed());
    }
    // Generous, for other tests run at the same time; a wait for anything would be longer.
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}

const FILM: &str = "printf '{\"text\":\"one\"}' > \"$RESTAGE_OUTPUT\"; echo x >> script.ran";

/// A flow that waits for a person and whose second stage fails while there is no `light`.
fn film() -> Workspace {
    Workspace::with(&json!({ "flows": { "film": { "stages": [
        { "name": "script", "command": FILM, "outputs": ["text"], "approve": "manual" },
        { "name": "render", "needs": ["script"],
          "command": "grep -o '\"text\":\"[a-z]*\"' \"$RESTAGE_STATE\"; test -e light || { echo no light >&2; exit 1; }" }
    ] } } }))
}

#[test]
fn a_run_waits_goes_on_fails_and_is_retried() {
    let workspace = film();
    let mut terminal = workspace.open();
    terminal.expect("No runs yet");
    terminal.press(":run film\r");
    terminal.expect("film-1");
    terminal.expect("waits for you: script@1");
    terminal.expect("1 waits for you");
    terminal.press("a");
    terminal.expect("Approve script@1?");
    terminal.expect("text = \"one\"");
    terminal.press("\r");
    terminal.expect("✖ failed");
    terminal.expect("no light");
    std::fs::write(workspace.path("light"), "").unwrap();
    terminal.press("r");
    terminal.expect("Retry film-1 from render?");
    terminal.expect("reuse     script@1");
    // A second Enter is for nobody: one new run.
    terminal.press("\r\r");
    terminal.expect("film-2");
    terminal.expect("✔ succeeded");
    terminal.expect("reused from film-1");
    terminal.expect("film-1 ─► film-2 (retry #1 from render)");
    assert_eq!(std::fs::read_to_string(workspace.path("script.ran")).unwrap(), "x\n");
    // The chain is walked, and the run leads back to the list.
    terminal.press("[");
    terminal.expect("✖ failed");
    terminal.press("l");
    terminal.expect("\"text\":\"one\"");
    terminal.press("\x1b");
    terminal.expect("run after");
    terminal.press("\x1b");
    terminal.expect("failed at render");
    terminal.expect("1/2");
    terminal.press("H/succ");
    terminal.press("eeded\r");
    terminal.expect("1 run");
    terminal.expect("retry #1 of film-1 from render");
}

#[test]
fn a_run_is_drawn_as_it_was_when_it_began() {
    let workspace = film();
    assert_eq!(workspace.verb(&["run", "film", "--detach"]).0, Some(0));
    // Today's flow of that name has nothing in common with it.
    let other = json!({ "flows": { "film": { "stages": [{ "name": "other", "command": "true" }] } } });
    std::fs::write(workspace.path("config.json"), other.to_string()).unwrap();
    let mut terminal = workspace.open();
    terminal.expect("waits: script@1");
    terminal.press(":show film-1\r");
    terminal.expect("waits for you: script@1");
    terminal.expect("needs script");
    terminal.press("c");
    terminal.expect("Flow film");
    terminal.expect("Stage other");
}

#[test]
fn an_edit_makes_a_version_that_waits_and_the_terminal_comes_back() {
    let workspace = film();
    std::fs::write(workspace.path("light"), "").unwrap();
    let editor = workspace.path("editor.sh");
    // It has the terminal: what it prints is seen, and it reads what is typed. What an earlier one printed stays there.
    let script = "#!/bin/sh\necho x >> edits; echo EDITING $(wc -l < edits); read line; \
                  sed -i \"s/one\\\\|two/$line/\" \"$1\"\n";
    std::fs::write(&editor, script).unwrap();
    let mut command = workspace.command();
    command.env("EDITOR", format!("sh {}", editor.display())).env_remove("VISUAL");
    let mut terminal = Terminal::start(command, USUAL);
    terminal.expect("No runs yet");
    terminal.press(":run film\r");
    terminal.expect("waits for you: script@1");
    terminal.press("e");
    terminal.expect("EDITING 1");
    assert!(terminal.is_cooked() && !terminal.is_alternate());
    terminal.press("one\r");
    terminal.expect("Nothing was changed, so there is no new version");
    assert!(!terminal.is_cooked() && terminal.is_alternate());
    terminal.press("e");
    terminal.expect("EDITING 2");
    terminal.press("two\r");
    terminal.expect("script@2 is new");
    terminal.press("t");
    terminal.expect("edited by");
    terminal.expect("▌ script@2");
    terminal.press("a");
    terminal.expect("Approve script@2?");
    terminal.expect("text = \"two\"");
    terminal.press("\r");
    terminal.expect("✔ succeeded");
    // What the stages left is looked up once more.
    terminal.expect("▌ └─ script@2");
    terminal.press("b");
    terminal.expect("A branch from script@2: its name?");
    terminal.press("warmer\r");
    terminal.expect("Branch warmer begins at script@2");
    terminal.expect("◄ warmer");
    // What the new branch stands on is edited there, and not where it was made.
    terminal.press("e");
    terminal.expect("EDITING 3");
    terminal.press("three\r");
    terminal.expect("script@3 is new");
    let told = workspace.verb(&["checkpoints", "film-1", "--json"]).1;
    let told: Value = serde_json::from_str(&told).unwrap();
    let made = told["checkpoints"].as_array().unwrap().iter().find(|one| one["id"] == "script@3").unwrap();
    assert_eq!((&made["branch"], &made["edited_from"]), (&json!("warmer"), &json!("script@2")), "{made}");
}

#[test]
fn an_edit_of_what_has_changed_since_is_kept() {
    let workspace = film();
    let editor = workspace.path("editor.sh");
    std::fs::write(&editor, "#!/bin/sh\necho EDITING; read line; sed -i \"s/one/$line/\" \"$1\"\n").unwrap();
    let mut command = workspace.command();
    command.env("EDITOR", format!("sh {}", editor.display())).env_remove("VISUAL");
    let mut terminal = Terminal::start(command, USUAL);
    terminal.expect("No runs yet");
    terminal.press(":run film\r");
    terminal.expect("waits for you: script@1");
    terminal.press("e");
    terminal.expect("EDITING");
    assert_eq!(workspace.verb(&["edit", "film-1", "script", "--set", "text=other"]).0, Some(0));
    terminal.press("mine\r");
    terminal.expect("is not what was looked at");
    terminal.expect("What you wrote is kept in");
    terminal.press("\x1b");
    terminal.expect_gone("is not what was looked at");
    terminal.press("q");
    assert_eq!(terminal.ended().code(), Some(0));
    let mut edits = std::fs::read_dir(workspace.path(".restage/edits")).unwrap();
    let text = std::fs::read_to_string(edits.next().unwrap().unwrap().path().join("script.json")).unwrap();
    assert!(text.contains("mine"), "{text}");
}

#[test]
fn only_what_is_on_the_screen_is_judged_and_only_once() {
    let workspace = film();
    std::fs::write(workspace.path("light"), "").unwrap();
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(workspace.path("config.json")).unwrap()).unwrap();
    config["notifications"] = json!("both");
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    let mut terminal = workspace.open();
    terminal.expect("No runs yet");
    terminal.press(":run film\r");
    terminal.expect("waits for you: script@1");
    terminal.expect("1 waits for you");
    // Whoever looks elsewhere is told, too.
    let rung = b"\x1b]9;restage: film-1 waits for you: script@1";
    wait_until("it rings", || terminal.bytes().windows(rung.len()).any(|window| window == rung));
    let edit = |text: &str| {
        assert_eq!(
            workspace.verb(&["edit", "film-1", "script", "--set", &format!("text={text}")]).0,
            Some(0)
        );
    };
    terminal.press("a");
    terminal.expect("text = \"one\"");
    edit("two");
    terminal.expect("script@2 has come in its place");
    // A second Enter is none for what the first one has brought.
    terminal.press("\r\r");
    terminal.expect("Approve script@2?");
    terminal.expect("text = \"two\"");
    terminal.press("\x1b");
    terminal.expect_gone("Approve script@2?");
    // On its own line, not only as news.
    terminal.expect("script@2 pending");
    terminal.press("R");
    terminal.expect("Reject script@2: what should be better?");
    edit("three");
    terminal.press("darker\r");
    terminal.expect("script@3 (pending) stands in the place of script@2");
    terminal.press("\x1b");
    terminal.expect_gone("stands in the place of");
    terminal.expect("script@3 pending");
    assert_eq!(std::fs::read_to_string(workspace.path("script.ran")).unwrap(), "x\n");
    terminal.press("R");
    terminal.expect("Reject script@3: what should be better?");
    // Nobody types it twice.
    terminal.expect("> darker");
    terminal.press("\r");
    terminal.expect("script@4 pending");
    terminal.press("a");
    terminal.expect("Approve script@4?");
    // The second one finds nobody who asks.
    terminal.press("\r\r");
    terminal.expect("✔ succeeded");
    terminal.expect_gone("1 waits for you");
    assert_eq!(std::fs::read_to_string(workspace.path("script.ran")).unwrap(), "x\nx\n");
    let (_, listed) = workspace.verb(&["runs", "--json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&listed).unwrap().len(), 1);
}

#[test]
fn a_retry_does_what_was_shown() {
    let workspace = film();
    let mut terminal = workspace.open();
    terminal.expect("No runs yet");
    terminal.press(":run film\r");
    terminal.expect("waits for you: script@1");
    terminal.press("a");
    terminal.expect("text = \"one\"");
    terminal.press("\r");
    terminal.expect("✖ failed");
    // From what succeeded, too: the plan says so.
    terminal.press("gr");
    terminal.expect("script succeeded, and is executed once more");
    terminal.press("\x1bGr");
    terminal.expect("reuse     script@1");
    assert_eq!(workspace.verb(&["edit", "film-1", "script", "--set", "text=unseen"]).0, Some(0));
    terminal.press("\r");
    terminal.expect("Nothing has begun");
    terminal.expect("script@2");
    let (_, listed) = workspace.verb(&["runs", "--json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&listed).unwrap().len(), 1);
    terminal.press("j\r");
    terminal.expect("film-1 ─► film-2");
}

#[test]
fn a_branch_goes_on_beside_the_run_that_it_left() {
    let workspace = film();
    let mut terminal = workspace.open();
    terminal.expect("No runs yet");
    terminal.press(":run film\r");
    terminal.expect("waits for you: script@1");
    terminal.press("b");
    terminal.expect("A branch from script@1: its name?");
    terminal.press("main\r");
    terminal.expect("has a branch main already");
    terminal.press("\x1b");
    terminal.expect_gone("has a branch main already");
    terminal.press("b");
    terminal.expect("A branch from script@1: its name?");
    terminal.press("warmer\r");
    terminal.expect("Branch warmer begins at script@1");
    terminal.press("a");
    terminal.expect("Approve script@1?");
    terminal.press("\r");
    terminal.expect("✖ failed");
    std::fs::write(workspace.path("light"), "").unwrap();
    terminal.press("t");
    terminal.expect_that("what is known of the tree", |screen| {
        screen.contains("▌ script@1  ✔ approved") && screen.contains("◄ warmer")
    });
    terminal.press("C");
    terminal.expect("Continue film-1 on which branch?");
    terminal.expect("starts a new run on branch warmer behind script");
    terminal.press("\r\r");
    terminal.expect("film-2 goes on");
    terminal.expect("✔ succeeded");
    terminal.expect("warmer");
    let (_, shown) = workspace.verb(&["show", "film-2", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["branch"], "warmer");
    let (_, listed) = workspace.verb(&["runs", "--json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&listed).unwrap().len(), 2);
    assert_eq!(std::fs::read_to_string(workspace.path("script.ran")).unwrap(), "x\n");
}
