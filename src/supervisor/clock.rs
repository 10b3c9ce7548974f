//! The one place that reads clocks.

use nix::time::{ClockId, clock_gettime};

use crate::domain::time::{Mono, Now, Timestamp};
use crate::ports::Clock;

/// The kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // The call fails only for a clock that the kernel does not have, and every Linux has this one.
        let mono = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
            seconds * 1_000_000_000 + nanos
        });
        Now { mono: Mono::from_nanos(mono), wall: Timestamp::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_forward_and_agrees_with_the_kernel() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(second.mono >= first.mono);
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "seconds since boot")]
        let mono = second.mono.as_nanos() as f64 / 1e9;
        // The uptime counts suspended time, too, so it is never behind.
        assert!(mono > 0.0 && mono < uptime + 1.0);
    }
}
