//! What the shell is told. The only place that knows numbers.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Everything asked for was done; of runners: all completed, or were stopped on purpose.
    Completed,
    /// Something is exhausted, failed, or could not be done.
    Failed,
    /// The config or the command line is wrong, or the workspace is taken.
    Usage,
    /// Nothing runs here, or nothing has this name.
    Nothing,
    /// `wait` has waited for as long as it was told to.
    WaitTimeout,
    /// Something about runs, each with a number of its own.
    Code(u8),
    /// Ended by a signal, also where everything was stopped gracefully first.
    Signal(i32),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Nothing => 3,
            Self::WaitTimeout => 124,
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        use Exit::{Completed, Failed, Nothing, Signal, Usage, WaitTimeout};
        let codes = [Completed, Failed, Usage, Nothing, WaitTimeout, Signal(2), Signal(15)].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 124, 130, 143]);
    }
}
