//! Why an attempt ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a main process ended, as the kernel told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// It is gone and nobody can tell how.
    Unknown,
}

/// Why an attempt ended. It is fixed at the moment when restage decides to end an attempt; otherwise by its exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Completed,
    Exit,
    Signal,
    Inactive,
    TimedOut,
    Unhealthy,
    Stopped,
    SpawnFailed,
    Lost,
}

impl Verdict {
    /// The bare word that machines read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Inactive => "inactive",
            Self::TimedOut => "timed_out",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::SpawnFailed => "spawn_failed",
            Self::Lost => "lost",
        }
    }
}

/// A verdict with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What a person should know beyond the verdict: why a spawn failed, what to try against silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `exit 1`, `signal 9 (SIGKILL)`, `inactive`, `timed out`, …: the short form for a line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verdict, self.exit_code, self.signal) {
            (Verdict::Exit, Some(code), _) => write!(f, "exit {code}"),
            (Verdict::Signal, _, Some(signal)) => write!(f, "signal {}", signal_name(signal)),
            (Verdict::TimedOut, ..) => f.write_str("timed out"),
            (Verdict::SpawnFailed, ..) => f.write_str("spawn failed"),
            (
                Verdict::Completed
                | Verdict::Exit
                | Verdict::Signal
                | Verdict::Inactive
                | Verdict::Unhealthy
                | Verdict::Stopped
                | Verdict::Lost,
                ..,
            ) => f.write_str(self.verdict.word()),
        }
    }
}

/// `9 (SIGKILL)`; a bare number for signals without a name.
pub fn signal_name(signal: i32) -> String {
    SIGNALS
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or_else(|| signal.to_string(), |(number, name)| format!("{number} (SIG{name})"))
}

/// The number of a signal from `TERM`, `SIGTERM` or `15`.
pub fn parse_signal(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    match bare.parse::<i32>() {
        Ok(number) => (1..=64).contains(&number).then_some(number),
        Err(_) => SIGNALS.iter().find(|(_, name)| *name == bare).map(|(number, _)| *number),
    }
}

/// Linux numbers, the same on every architecture that restage supports.
const SIGNALS: [(i32, &str); 31] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];
