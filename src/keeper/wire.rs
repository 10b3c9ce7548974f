//! What supervisor and keeper say to one another: one JSON object a line, over a Unix stream socket.
//!
//! An attempt is named by an opaque key (`agent#3`); its runner by the part before the last `#`. The keeper knows
//! nothing of configs, retries or verdicts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Both sides must speak the same; a supervisor of another version is refused with a sentence that says so.
pub const VERSION: u32 = 1;

/// A line longer than this is not ours.
pub const MAX_LINE: usize = 16 << 20;

/// From the supervisor to the keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Order {
    /// The first line. An epoch that is not above the current one is refused, so an old supervisor that wakes up can
    /// no longer act.
    Hello {
        version: u32,
        epoch: u64,
        policy: Policy,
        /// How to start a successor: arguments for our own executable.
        successor: Vec<String>,
    },
    Spawn {
        key: String,
        spec: Box<SpawnSpec>,
    },
    /// End the whole tree: signal, grace, then sweep until it is empty. `signal: None` leaves the first part to
    /// somebody else (a stop command); a grace of 0 kills at once. A second stop can only shorten the first.
    Stop {
        key: String,
        signal: Option<i32>,
        grace_ms: u64,
    },
    /// What a person typed, for the terminal of an attempt.
    Input {
        key: String,
        text: String,
    },
    /// That terminal has another size now.
    Resize {
        key: String,
        rows: u16,
        cols: u16,
    },
    /// This exit and all before it were taken into the supervisor's own records; the keeper may forget them.
    Ack {
        seq: u64,
    },
    /// What to do when the supervisor dies without a goodbye.
    Policy {
        policy: Policy,
    },
    /// Goodbye: the keeper ends once nothing lives. With something alive it stays and follows its policy `keep`,
    /// without starting a successor.
    Goodbye,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Children go on, and the keeper starts a successor.
    Keep,
    /// Every tree is stopped, nothing is spawned any more, and the keeper ends.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpawnSpec {
    pub argv: Vec<String>,
    pub cwd: PathBuf,
    /// On top of the keeper's own environment, which is the one that restage was started with. `None` unsets.
    pub env: BTreeMap<String, Option<String>>,
    /// `None`: /dev/null.
    pub stdin: Option<PathBuf>,
    pub stdio: StdioKind,
    pub log: PathBuf,
    pub log_max_bytes: Option<u64>,
    pub umask: Option<u32>,
    /// (resource, soft, hard) with the kernel's numbers; `u64::MAX` is unlimited.
    pub limits: Vec<(u32, u64, u64)>,
    /// How the keeper ends the tree when nobody is there to say so.
    pub stop_signal: i32,
    pub grace_ms: u64,
    /// What the main process leaves behind lives on.
    pub keep_leftovers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdioKind {
    File,
    Pipe,
    Tty,
}

/// From the keeper to the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Report {
    /// The answer to a hello that was accepted: everything that lives, and every exit that was not acknowledged.
    Welcome {
        version: u32,
        keeper_pid: i32,
        /// False once the guard has become the keeper, or is gone.
        guarded: bool,
        cgroups: bool,
        live: Vec<LiveAttempt>,
        exits: Vec<Exit>,
    },
    Refused {
        why: String,
        /// Where the epoch is the reason: the one that counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
    },
    Spawned {
        key: String,
        pid: i32,
        start: u64,
    },
    SpawnFailed {
        key: String,
        step: SpawnStep,
        errno: i32,
        /// What the step was about: the path, the limit.
        subject: String,
    },
    /// Another attempt of this runner, or what it left behind, still lives.
    Busy {
        key: String,
    },
    /// The main process ended.
    Exit(Exit),
    /// Nothing of the attempt lives any more and its log is complete.
    Gone {
        key: String,
    },
    /// These will not die; the keeper goes on trying.
    Stuck {
        key: String,
        pids: Vec<i32>,
    },
    Warning {
        key: Option<String>,
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveAttempt {
    pub key: String,
    pub pid: i32,
    pub start: u64,
    /// The main process has ended (its exit is among the exits, or was acknowledged); something of its tree lives.
    pub main_ended: bool,
    pub stuck: Vec<i32>,
    pub log: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub seq: u64,
    pub key: String,
    pub pid: i32,
    pub status: ExitKind,
    /// When it was seen, nanoseconds on the monotonic clock.
    pub at_mono: u64,
    /// Of the main process and the children that it waited for.
    pub cpu_ms: u64,
    /// 0: not known, since it is no more than what the keeper had when it started it.
    pub max_rss_kb: u64,
    /// The keeper itself ended it, because its supervisor had died and the policy was to stop everything: it says
    /// nothing about the command.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitKind {
    Code(i32),
    Signal(i32),
    Unknown,
}

/// Where a spawn went wrong; each step is tried by itself, so that the message can name the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnStep {
    /// Recording that it will be started.
    Journal,
    Cwd,
    Stdin,
    Log,
    Pty,
    Relay,
    Cgroup,
    Executable,
    /// The `#!` line names something that is not there.
    Interpreter,
    Limit,
    Fork,
    Exec,
}
