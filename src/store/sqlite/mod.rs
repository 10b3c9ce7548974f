//! History in one SQLite file. One writer at a time; readers beside it see what was committed when they began to read.
//!
//! A commit is one `fsync` of the write-ahead log. What the log holds goes over into the file in quiet moments
//! ([`Store::maintain`]), so that a stage's end does not wait for it.

mod begin;
mod checkpoints;
mod columns;
mod commit;
mod delete;
mod fail;
mod hooks;
mod migrate;
mod open;
mod pack;
#[cfg(test)]
mod probe_tests;
mod runs;
mod search;
mod stages;
mod stats;
mod values;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::domain::flow::change::{Change, ItemRecord, Judgement, NewCheckpoint, NewRun, RecipeRecord, What};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Branch, Checkpoint, HookRecord, RunFilter, RunRecord};
use crate::domain::flow::status::StageStatus;
use crate::ports::store::{Adopter, Begun, Held, Stats, Store, StoreError, StoredRun};
use crate::store::adoptions;
use fail::Fail;
#[cfg(test)]
pub(in crate::store) use migrate::{KNOWN, first_version};

/// In bytes: a log that takes about a millisecond to be read.
const LONG_LOG: u64 = 1 << 20;

#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    /// Device and inode of the file that is written to.
    file: Option<(u64, u64)>,
}

impl SqliteStore {
    /// To read and write; it is made where it is missing, and brought up to date where it is old.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: open::to_write(path)?, file: file_at(path) })
    }

    /// To read, beside whoever writes. `None`: there is no history yet.
    pub fn open_read(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(open::to_read(path)?.map(|connection| Self { connection, file: None }))
    }

    /// Runs with what happened to them, in one transaction: a history from elsewhere, or one to measure with.
    pub fn import(&mut self, runs: &[(NewRun, Vec<What>)]) -> Result<Vec<RunId>, StoreError> {
        self.write("import runs", |connection| {
            let mut names = Vec::with_capacity(runs.len());
            for (new, happened) in runs {
                match begin::begin(connection, new)? {
                    Begun::New { run, epoch, .. } => {
                        let change = |what: &What| Change { run: run.clone(), epoch, what: what.clone() };
                        commit::commit(connection, &happened.iter().map(change).collect::<Vec<_>>())?;
                        names.push(run);
                    }
                    Begun::Existing(run) => names.push(run),
                    Begun::Held(by) => return Err(StoreError::Held { run: by.run.clone(), by }.into()),
                }
            }
            Ok(names)
        })
    }

    /// Where somebody has deleted the file, what is written to it is gone with this process: nothing more is begun.
    fn must_be_there(&self, act: &str) -> Result<(), StoreError> {
        let path = self.connection.path().map(Path::new);
        if self.file.is_none() || path.and_then(file_at) == self.file {
            return Ok(());
        }
        let cause = format!(
            "{} was deleted or replaced while it was in use; end its supervisor and begin again: restage down",
            path.unwrap_or(Path::new("the history")).display()
        );
        Err(StoreError::Broken { act: act.to_owned(), cause })
    }

    fn write<T>(
        &self,
        act: &str,
        body: impl FnOnce(&Connection) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        transaction(&self.connection, act, body)
    }

    /// Everything that is read in here is of one moment.
    fn read<T>(&self, act: &str, body: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, StoreError> {
        within(&self.connection, "BEGIN", act, body)
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// All of it or nothing. It takes its turn as a writer at once: one that began as a reader could not wait for it.
fn transaction<T>(
    connection: &Connection,
    act: &str,
    body: impl FnOnce(&Connection) -> Result<T, Fail>,
) -> Result<T, StoreError> {
    within(connection, "BEGIN IMMEDIATE", act, body)
}

fn within<T>(
    connection: &Connection,
    begin: &str,
    act: &str,
    body: impl FnOnce(&Connection) -> Result<T, Fail>,
) -> Result<T, StoreError> {
    let run = |sql: &str| -> Result<(), Fail> {
        connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    let done = run(begin).and_then(|()| body(connection)).and_then(|value| run("COMMIT").map(|()| value));
    done.map_err(|fail| {
        let said = fail.said(act, connection);
        if !connection.is_autocommit() {
            // It is open because something failed, which is what is told; one that cannot be rolled back is so at the end
            // of the connection.
            connection.execute_batch("ROLLBACK").ok();
        }
        said
    })
}

impl Store for SqliteStore {
    fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError> {
        let act = format!("begin a run of {}", new.flow);
        self.must_be_there(&act)?;
        self.write(&act, |connection| begin::begin(connection, new))
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.write("write to the history", |connection| commit::commit(connection, changes))
    }

    fn add_checkpoint(
        &mut self,
        root: &RunId,
        run: &RunId,
        new: &NewCheckpoint,
        adopters: &[Adopter],
    ) -> Result<CheckpointId, StoreError> {
        self.write(&format!("store a version of {}", new.stage), |connection| {
            let owner = runs::id(connection, run)?;
            let (_, id) = checkpoints::add(connection, root, owner, new)?;
            commit::commit(connection, &adoptions(adopters, &id))?;
            Ok(id)
        })
    }

    fn judge(&mut self, root: &RunId, judgement: &Judgement) -> Result<bool, StoreError> {
        self.write(&format!("judge {}", judgement.checkpoint), |connection| {
            checkpoints::judge(connection, root, judgement)
        })
    }

    fn add_branch(&mut self, root: &RunId, branch: &Branch) -> Result<bool, StoreError> {
        self.write(&format!("add the branch {}", branch.branch_name), |connection| {
            begin::add_branch(connection, root, branch)
        })
    }

    fn take_over(&mut self, run: &RunId, holder: &str) -> Result<u64, StoreError> {
        self.write(&format!("take over {run}"), |connection| begin::take_over(connection, run, holder))
    }

    fn run(&mut self, run: &RunId) -> Result<Option<StoredRun>, StoreError> {
        self.read(&format!("read {run}"), |connection| runs::run(connection, run))
    }

    fn run_of_key(&mut self, flow: &FlowName, key: &str) -> Result<Option<RunId>, StoreError> {
        self.read("look for a run by its key", |connection| runs::of_key(connection, flow, key))
    }

    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        self.read("list runs", |connection| runs::list(connection, filter))
    }

    fn unfinished(&mut self) -> Result<Vec<RunId>, StoreError> {
        self.read("look for unfinished runs", runs::unfinished)
    }

    fn open_hooks(&mut self) -> Result<Vec<RunId>, StoreError> {
        self.read("look for commands after runs", hooks::open)
    }

    fn set_hook(&mut self, run: &RunId, hook: &HookRecord) -> Result<(), StoreError> {
        self.write(&format!("write down the {} of {run}", hook.name), |connection| {
            hooks::set_of(connection, run, hook)
        })
    }

    fn definition(&mut self, hash: &Hash) -> Result<Option<String>, StoreError> {
        self.read("read the definition of a flow", |connection| runs::definition(connection, hash))
    }

    fn checkpoint(&mut self, root: &RunId, id: &CheckpointId) -> Result<Option<Checkpoint>, StoreError> {
        self.read(&format!("read {id} of {root}"), |connection| checkpoints::one(connection, root, id))
    }

    fn checkpoints(&mut self, root: &RunId) -> Result<(Vec<Checkpoint>, Vec<String>), StoreError> {
        self.read(&format!("read the checkpoints of {root}"), |connection| checkpoints::all(connection, root))
    }

    fn branches(&mut self, root: &RunId) -> Result<Vec<Branch>, StoreError> {
        self.read(&format!("read the branches of {root}"), |connection| runs::branches(connection, root))
    }

    fn items(&mut self, run: &RunId, stage: &StageName) -> Result<Vec<ItemRecord>, StoreError> {
        self.read(&format!("read the items of {run}/{stage}"), |connection| {
            stages::items(connection, run, stage)
        })
    }

    fn lock(&mut self, root: &RunId, branch: &BranchName) -> Result<Option<Held>, StoreError> {
        self.read(&format!("read the lock of {root}"), |connection| begin::held(connection, root, branch))
    }

    fn retries_of(
        &mut self,
        root: &RunId,
        branch: &BranchName,
        checkpoint: &CheckpointId,
    ) -> Result<Vec<RunId>, StoreError> {
        self.read(&format!("count the retries of {checkpoint}"), |connection| {
            stages::retries_of(connection, root, branch, checkpoint)
        })
    }

    fn recipe_of(&mut self, run: &RunId, stage: &StageName) -> Result<Option<RecipeRecord>, StoreError> {
        self.read(&format!("read the recipe of {run}/{stage}"), |connection| {
            stages::recipe(connection, run, stage)
        })
    }

    fn stage_status(&mut self, run: &RunId, stage: &StageName) -> Result<Option<StageStatus>, StoreError> {
        self.read(&format!("look at {run}/{stage}"), |connection| stages::status(connection, run, stage))
    }

    fn objects(&mut self) -> Result<Vec<Hash>, StoreError> {
        self.read("list all artifacts", checkpoints::objects)
    }

    fn stats(&mut self, flow: Option<&FlowName>) -> Result<Stats, StoreError> {
        self.read("count runs", |connection| stats::stats(connection, flow))
    }

    fn delete(&mut self, runs: &[RunId], cascade: bool) -> Result<Vec<RunId>, StoreError> {
        self.write("delete runs", |connection| delete::delete(connection, runs, cascade))
    }

    fn maintain(&mut self) {
        // It takes what it can without making anybody wait; the rest goes with a later one.
        let _: Option<i64> = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0))
            .optional()
            .unwrap_or_default();
    }

    fn close(&mut self) {
        // Whoever opens it first reads all of the log. The file's own connections would see to that when the last of them
        // closes; a reader's, which often is the last one, cannot.
        let log = self.connection.path().map(|path| format!("{path}-wal"));
        let length = log.and_then(|log| std::fs::metadata(log).ok()).map_or(0, |log| log.len());
        if length > LONG_LOG {
            self.connection.busy_timeout(Duration::ZERO).ok();
            let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            // A reader may be in the way; the log is whole.
            emptied.ok();
        }
    }
}
