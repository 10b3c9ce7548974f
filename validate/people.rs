//! Sixteen people at one workspace, each verb a process of its own: they approve, edit, reject, fork, continue, cancel
//! and retry at random while supervisor and keeper are killed. In the end everything that was answered is there, nothing was
//! approved that nobody saw, and each branch did what was promised of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::{Dice, roles};
use crate::flows::history;
use crate::kit::{Outcome, Workspace, ensure, is_alive, kill, wait};
use crate::survive::{linger, supervisor_pid};

const PEOPLE: usize = 16;
/// One of so many kills is of the keeper.
const KEEPER: u64 = 5;
/// For what runs to come to rest, with sixteen waiting for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// What became of a verb.
enum Said {
    Done(Value),
    /// Why, and the way out.
    Refused(String),
    /// The supervisor, or the verb itself, was killed: whether it was done, nobody knows.
    Lost,
}

/// What was answered, by the word that goes with each act.
#[derive(Default)]
struct Ledger {
    /// The hash that was looked at, and whether it was answered that it is done.
    approved: BTreeMap<String, (String, bool)>,
    rejected: BTreeMap<String, (String, bool)>,
    /// Root, checkpoint, word.
    edited: Vec<(String, String, String)>,
    forked: Vec<(String, String)>,
    /// Root and run.
    begun: Vec<String>,
    refused: BTreeMap<i64, usize>,
    lost: usize,
    compared: BTreeMap<bool, usize>,
    /// What went wrong first.
    wrong: Option<String>,
}

struct Crowd<'a> {
    workspace: &'a Workspace,
    ledger: Mutex<Ledger>,
    /// Whoever compares what is promised with what is done has it for themselves.
    quiet: RwLock<()>,
    over: AtomicBool,
}

pub(crate) fn campaign(wanted: usize) -> Outcome {
    let kills = (wanted / 3).max(3);
    let own = |name: &str| format!("echo {name}=$RESTAGE_RUN_ID-$RESTAGE_ATTEMPT > \"$RESTAGE_OUTPUT\"");
    let flow = json!({ "max_retry_depth": 1000, "max_retries_per_checkpoint": 100, "stages": [
        { "name": "script", "command": own("script"), "outputs": ["script"], "approve": "manual" },
        { "name": "board", "needs": ["script"], "command": own("board"), "outputs": ["board"], "approve": "manual" },
        { "name": "render", "needs": ["board"], "command": "[ $(($(date +%s) % 3)) -gt 0 ]" },
    ] });
    let workspace = Workspace::new(&json!({ "stop_grace_seconds": 1, "flows": { "film": flow } }));
    workspace.ok(&["up", "--detach"])?;
    for _ in 0..3 {
        workspace.ok(&["run", "film", "--detach"])?;
    }
    let (ledger, quiet, over) = (Mutex::default(), RwLock::new(()), AtomicBool::new(false));
    let crowd = Crowd { workspace: &workspace, ledger, quiet, over };
    let seed = crate::kit::monotonic_ns() | 1;
    let told = |error: String| format!("seed {seed}: {error}");
    let killed = thread::scope(|scope| {
        for number in 0..PEOPLE {
            let crowd = &crowd;
            scope.spawn(move || {
                let mut dice = Dice(seed.wrapping_mul(2 * number as u64 + 3) | 1);
                if let Err(error) = crowd.person(number, &mut dice) {
                    crowd.ledger().wrong.get_or_insert(error);
                    crowd.over.store(true, Ordering::Relaxed);
                }
            });
        }
        let killed = crowd.kill(kills, &mut Dice(seed));
        crowd.over.store(true, Ordering::Relaxed);
        killed
    })
    .map_err(told)?;
    if let Some(wrong) = crowd.ledger().wrong.take() {
        return Err(told(wrong));
    }
    crowd.settled().map_err(told)?;
    crowd.check().map_err(told)?;
    let integrity: String = history(&workspace)?
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    ensure(integrity == "ok", || format!("integrity_check: {integrity}"))?;
    let runs = crowd.runs()?.len();
    let ledger = crowd.ledger();
    let done = |acts: &BTreeMap<String, (String, bool)>| acts.values().filter(|(_, done)| *done).count();
    let (approved, rejected) = (done(&ledger.approved), done(&ledger.rejected));
    ensure(approved > 0 && !ledger.edited.is_empty() && !ledger.compared.is_empty(), || {
        "hardly anything happened".into()
    })?;
    Ok(vec![format!(
        "{PEOPLE} people, killed {killed:?}: {approved} approved, {rejected} rejected, {} edited, {} forked, {} runs \
         begun of {runs}, nothing lost; promises kept {:?}; refused by exit code {:?}; {} without an answer; seed {seed}",
        ledger.edited.len(),
        ledger.forked.len(),
        ledger.begun.len(),
        ledger.compared,
        ledger.refused,
        ledger.lost,
    )])
}

impl Crowd<'_> {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A verb in a process of its own. What is refused is refused clearly, with an exit code of the table.
    fn verb(&self, arguments: &[&str]) -> Result<Said, String> {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        let output = self.workspace.run(&all);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = || format!("restage {}: {}: {stderr}", all.join(" "), output.status);
        let Some(code) = output.status.code().map(i64::from) else {
            self.ledger().lost += 1;
            return Ok(Said::Lost);
        };
        if code == 0 {
            // Where something is followed, what was told comes line by line.
            let stdout = String::from_utf8_lossy(&output.stdout);
            let last = stdout.lines().last().unwrap_or_default();
            let value = serde_json::from_str(last).map_err(|error| format!("{}: {error}", told()))?;
            return Ok(Said::Done(value));
        }
        let last: Value = stderr
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| format!("no error object: {}", told()))?;
        let word = |name: &str| last["error"][name].as_str().unwrap_or_default();
        let clear = ["act", "message", "hint"].iter().all(|name| !word(name).is_empty());
        ensure(clear && last["error"]["exit"] == code, || format!("an unclear refusal: {}", told()))?;
        let message = word("message").to_owned();
        let gone = [
            "the connection to the supervisor ended",
            "the supervisor is ending",
            "the supervisor has ended",
        ];
        if code == 1 && gone.iter().any(|gone| message.contains(gone)) {
            self.ledger().lost += 1;
            return Ok(Said::Lost);
        }
        let of_table = matches!(code, 1..=3 | 10..=18) && !message.contains("the store:");
        ensure(of_table, || format!("a refusal that is none: {}", told()))?;
        *self.ledger().refused.entry(code).or_default() += 1;
        Ok(Said::Refused(format!("{message}; {}", word("hint"))))
    }

    /// What is only looked at, and is there whoever dies.
    fn look(&self, arguments: &[&str]) -> Result<Value, String> {
        wait(&arguments.join(" "), || {
            let output = self.workspace.run(arguments);
            output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
        })
    }

    fn runs(&self) -> Result<Vec<Value>, String> {
        list(self.look(&["runs", "--json"])?, "runs")
    }

    fn person(&self, number: usize, dice: &mut Dice) -> Result<(), String> {
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let runs = self.runs()?;
            let Some(run) = pick(&runs, dice) else { continue };
            if dice.roll(16) == 0 {
                self.compare(run, dice)?;
                continue;
            }
            let _together = self.quiet.read().unwrap_or_else(PoisonError::into_inner);
            self.act(run, &format!("p{number}-{turn}"), dice)?;
        }
        Ok(())
    }

    fn act(&self, run: &Value, word: &str, dice: &mut Dice) -> Result<(), String> {
        let (name, root) = (text(run, "run_id"), text(run, "root_run_id").to_owned());
        let listed = self.look(&["checkpoints", name, "--json"])?;
        let checkpoints = list(listed["checkpoints"].clone(), "checkpoints")?;
        let branches = list(listed["branches"].clone(), "branches")?;
        let pending: Vec<Value> =
            checkpoints.iter().filter(|one| one["approval"] == "pending").cloned().collect();
        let stage_of = |one: &Value| text(one, "id").split('@').next().unwrap_or_default().to_owned();
        match dice.roll(22) {
            0..=5 => {
                let Some(seen) = pick(&pending, dice) else { return Ok(()) };
                let (stage, hash) = (stage_of(seen), text(seen, "hash"));
                self.ledger().approved.insert(word.into(), (hash.into(), false));
                let mut verb = vec!["approve", name, &stage, "--hash", hash, "--note", word, "--detach"];
                if dice.roll(8) == 0 {
                    verb.extend(["--approve", "auto"]);
                }
                if let Said::Done(_) = self.verb(&verb)? {
                    self.ledger().approved.insert(word.into(), (hash.into(), true));
                }
            }
            6..=9 => {
                let stage = ["script", "board"][place(dice.roll(2))];
                let set = format!("{stage}={word}");
                if let Said::Done(told) = self.verb(&["edit", name, stage, "--set", &set])? {
                    let made = text(&told, "checkpoint").to_owned();
                    self.ledger().edited.push((root, made, word.into()));
                }
            }
            10..=11 => {
                let Some(seen) = pick(&pending, dice) else { return Ok(()) };
                let (stage, hash) = (stage_of(seen), text(seen, "hash"));
                let to = ["script", "board"][place(dice.roll(2))];
                self.ledger().rejected.insert(word.into(), (hash.into(), false));
                let verb = [
                    "reject",
                    name,
                    &stage,
                    "--rewind-to",
                    to,
                    "--hash",
                    hash,
                    "--feedback",
                    word,
                    "--detach",
                ];
                if let Said::Done(_) = self.verb(&verb)? {
                    self.ledger().rejected.insert(word.into(), (hash.into(), true));
                }
            }
            12 => {
                let Some(seen) = pick(&checkpoints, dice) else { return Ok(()) };
                if let Said::Done(_) =
                    self.verb(&["fork", name, "--at", text(seen, "id"), "--branch", word])?
                {
                    self.ledger().forked.push((root, word.into()));
                }
            }
            13 if self.ledger().begun.len() < 40 => self.began(&["run", "film", "--detach"])?,
            13..=15 => {
                let mut verb = vec!["retry", name, "--detach"];
                if dice.roll(4) == 0 {
                    verb.push("--queue");
                }
                self.began(&verb)?;
            }
            16 => {
                self.verb(&["cancel", name])?;
            }
            _ => {
                let mut verb = vec!["continue", name, "--detach"];
                if let Some(branch) = pick(&branches, dice).filter(|_| dice.roll(2) == 0) {
                    verb.extend(["--branch", text(branch, "branch_name")]);
                }
                if let Some(seen) = pick(&checkpoints, dice).filter(|_| dice.roll(2) == 0) {
                    verb.extend(["--checkpoint", text(seen, "id")]);
                }
                if dice.roll(3) == 0 {
                    verb.push("--force-retry");
                }
                self.began(&verb)?;
            }
        }
        Ok(())
    }

    fn began(&self, verb: &[&str]) -> Result<(), String> {
        if let Said::Done(told) = self.verb(verb)? {
            self.ledger().begun.push(text(&told, "run_id").to_owned());
        }
        Ok(())
    }

    /// What is promised of a branch is what continuing there does.
    fn compare(&self, run: &Value, dice: &mut Dice) -> Result<(), String> {
        let _alone = self.quiet.write().unwrap_or_else(PoisonError::into_inner);
        self.settled()?;
        let name = text(run, "run_id");
        let branches = list(self.look(&["show", name, "--json"])?["branches"].clone(), "branches")?;
        let Some(view) = pick(&branches, dice) else { return Ok(()) };
        let promised = view["can_continue"] == true;
        let mut verb = vec!["continue", name, "--branch", text(view, "branch_name"), "--detach"];
        if let Some(head) = view["latest_checkpoint_id"].as_str().filter(|_| dice.roll(2) == 0) {
            verb.extend(["--checkpoint", head]);
        }
        match self.verb(&verb)? {
            Said::Done(told) => ensure(promised, || format!("{view}, and {verb:?} did it: {told}"))?,
            Said::Refused(why) => {
                // Of a checkpoint that is named more can be said.
                let same = !promised && (verb.len() > 5 || text(view, "reason") == why);
                ensure(same, || format!("{view}, and {verb:?} was refused: {why}"))?;
            }
            Said::Lost => return Ok(()),
        }
        *self.ledger().compared.entry(promised).or_default() += 1;
        Ok(())
    }

    /// Nothing moves by itself any more.
    fn settled(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let runs = self.runs()?;
            let moves = |run: &&Value| text(run, "status") == "running";
            let Some(moving) = runs.iter().find(moves) else { return Ok(()) };
            ensure(Instant::now() < until, || format!("it does not come to rest: {moving}"))?;
            // Where nobody is left, this brings somebody who goes on.
            self.workspace.run(&["up", "--detach"]);
        }
    }

    /// So many kills, each of a supervisor that had come and worked for a while; who was killed how often.
    fn kill(&self, kills: usize, dice: &mut Dice) -> Result<BTreeMap<&'static str, usize>, String> {
        let mut killed = BTreeMap::new();
        let mut before = 0;
        for _ in 0..kills {
            let next = || supervisor_pid(self.workspace).ok().filter(|pid| *pid != before && is_alive(*pid));
            let victim = wait("the next supervisor", || {
                if self.over.load(Ordering::Relaxed) { Some(None) } else { next().map(Some) }
            })?;
            let Some(victim) = victim else { return Ok(killed) };
            linger(Duration::from_millis(300 + dice.roll(1700)));
            let _together = self.quiet.read().unwrap_or_else(PoisonError::into_inner);
            let keeper = roles(self.workspace).into_iter().find(|(role, _)| *role == "keeper");
            if let Some((_, pid)) = keeper.filter(|_| dice.roll(KEEPER) == 0) {
                kill(pid, libc::SIGKILL);
                *killed.entry("keeper").or_default() += 1;
                continue;
            }
            kill(victim, libc::SIGKILL);
            before = victim;
            *killed.entry("supervisor").or_default() += 1;
        }
        Ok(killed)
    }

    fn check(&self) -> Result<(), String> {
        let runs = self.runs()?;
        let mut checkpoints: Vec<(String, Value)> = Vec::new();
        let mut branches: BTreeSet<(String, String)> = BTreeSet::new();
        for root in runs.iter().filter(|run| run["run_id"] == run["root_run_id"]) {
            let name = text(root, "run_id");
            let listed = self.look(&["checkpoints", name, "--json"])?;
            for one in list(listed["branches"].clone(), "branches")? {
                branches.insert((name.into(), text(&one, "branch_name").into()));
            }
            let all = list(listed["checkpoints"].clone(), "checkpoints")?;
            checkpoints.extend(all.into_iter().map(|one| (name.to_owned(), one)));
        }
        let ledger = self.ledger();
        for (acts, approval) in [(&ledger.approved, "approved"), (&ledger.rejected, "rejected")] {
            let judged = |one: &&(String, Value)| one.1["approval"] == approval;
            for (_, one) in checkpoints.iter().filter(judged) {
                let Some((looked, _)) = acts.get(text(one, "note")) else { continue };
                ensure(one["hash"] == **looked, || {
                    format!("{approval}, and nobody had seen these bytes: {one}")
                })?;
            }
            for (word, _) in acts.iter().filter(|(_, (_, done))| *done) {
                let found = checkpoints.iter().filter(judged).any(|(_, one)| text(one, "note") == word);
                ensure(found, || format!("{word} was answered to be {approval}, and is not"))?;
            }
        }
        for (root, id, word) in &ledger.edited {
            let made = checkpoints.iter().find(|(of, one)| of == root && text(one, "id") == id);
            let stage = id.split('@').next().unwrap_or_default();
            let kept = made.is_some_and(|(_, one)| one["outputs"][stage] == **word);
            ensure(kept, || format!("the edit {id} of {root} by {word} is lost: {made:?}"))?;
        }
        let mut edited = BTreeSet::new();
        for (root, one) in &checkpoints {
            if let Some(from) = one["edited_from"].as_str() {
                let new = edited.insert((root, text(one, "branch"), from));
                ensure(new, || {
                    format!("{from} of {root} was edited twice, so that one edit was lost: {one}")
                })?;
            }
        }
        for fork in &ledger.forked {
            ensure(branches.contains(fork), || format!("the branch {fork:?} is lost"))?;
        }
        let names: BTreeSet<&str> = runs.iter().map(|run| text(run, "run_id")).collect();
        for begun in &ledger.begun {
            ensure(names.contains(begun.as_str()), || format!("{begun} is lost"))?;
        }
        let mut held = BTreeSet::new();
        for run in runs.iter().filter(|run| matches!(text(run, "status"), "running" | "waiting")) {
            let new = held.insert((text(run, "root_run_id"), text(run, "branch")));
            ensure(new, || format!("two runs at once on a branch: {run}"))?;
        }
        for run in runs.iter().filter(|run| matches!(text(run, "status"), "queued" | "waiting")) {
            let shown = self.look(&["show", text(run, "run_id"), "--json"])?;
            for stage in list(shown["stages"].clone(), "stages")? {
                let asks = stage["status"] != "waiting" || stage["checkpoint"]["approval"] == "pending";
                ensure(asks, || format!("it waits for what has been judged: {shown}"))?;
            }
        }
        Ok(())
    }
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn list(value: Value, what: &str) -> Result<Vec<Value>, String> {
    let Value::Array(all) = value else { return Err(format!("{what} expected: {value}")) };
    Ok(all)
}

fn place(rolled: u64) -> usize {
    usize::try_from(rolled).unwrap_or(0)
}

fn pick<'a>(from: &'a [Value], dice: &mut Dice) -> Option<&'a Value> {
    (!from.is_empty()).then(|| &from[place(dice.roll(from.len() as u64))])
}
