//! Points in time. The domain never reads a clock: every event comes with the [`Now`] at which it was seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use jiff::Timestamp;

/// A point on the kernel's monotonic clock (`CLOCK_MONOTONIC`): it stands still during suspend, never jumps, and is
/// the same for every process of one boot, so a deadline written by one supervisor means the same to its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(u64);

impl Mono {
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks: the monotonic one decides, the wall clock is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Timestamp,
}

impl Now {
    /// The wall-clock time at which the monotonic clock will show (or showed) `at`.
    pub fn wall_at(&self, at: Mono) -> Timestamp {
        let ahead = jiff::SignedDuration::from_nanos(
            i64::try_from(i128::from(at.0) - i128::from(self.mono.0)).unwrap_or(i64::MAX),
        );
        self.wall.checked_add(ahead).unwrap_or(self.wall)
    }
}
