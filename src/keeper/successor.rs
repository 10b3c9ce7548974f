//! When to start a supervisor anew: at once, then at growing distances while it keeps dying. Times are nanoseconds on
//! the monotonic clock.

const FIRST: u64 = 100_000_000;
const CAP: u64 = 30_000_000_000;
/// One that lived this long after its hello, and longer than the wait before it, was not broken: it was ended from
/// outside, and whoever waits for the next one must not wait for long.
const GOOD: u64 = 1_000_000_000;
/// For a keeper that was started and never greeted.
const LONELY: u64 = 10_000_000_000;

#[derive(Debug)]
pub(crate) struct Successor {
    delay: u64,
    due: Option<u64>,
    arrived_at: Option<u64>,
    /// The one that was started and has not said hello.
    pub(crate) child: Option<i32>,
    lonely: bool,
}

impl Successor {
    /// A fresh keeper waits for whoever started it.
    pub(crate) fn new(now: u64) -> Self {
        Self { delay: FIRST, due: Some(now + LONELY), arrived_at: None, child: None, lonely: false }
    }

    pub(crate) fn due(&self) -> Option<u64> {
        self.due
    }

    pub(crate) fn arrived(&mut self, now: u64) {
        *self = Self { arrived_at: Some(now), due: None, child: None, ..*self };
        self.lonely = false;
    }

    /// The supervisor is dead: the next one, soon, but not in a tight circle.
    pub(crate) fn wanted(&mut self, now: u64) {
        let waited = self.delay / 2;
        if self.arrived_at.take().is_some_and(|at| now.saturating_sub(at) > GOOD.max(waited)) {
            self.delay = FIRST;
        }
        self.due = Some(now + self.delay);
        self.delay = (self.delay * 2).min(CAP);
    }

    /// It has been tried for so long by now that what is not there will not come back in a moment.
    pub(crate) fn was_patient(&self) -> bool {
        self.delay >= CAP
    }

    /// True when it is time to start one.
    pub(crate) fn take_due(&mut self, now: u64) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
        }
        due
    }

    /// Nobody came, and nobody knows whom to start, or nobody needs one.
    pub(crate) fn give_up(&mut self) {
        self.lonely = true;
    }

    pub(crate) fn gave_up(&self) -> bool {
        self.lonely
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_keeps_dying_is_started_at_growing_distances_and_a_good_one_resets_them() {
        let mut successor = Successor::new(0);
        successor.arrived(0);
        let mut delays = Vec::new();
        let mut now = 1_000_000_000;
        for _ in 0..11 {
            successor.wanted(now);
            let due = successor.due().unwrap();
            delays.push((due - now) / 1_000_000);
            now = due;
            assert!(successor.take_due(now));
            assert_eq!(successor.was_patient(), delays.len() > 8, "{delays:?}");
            successor.arrived(now);
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        successor.wanted(now + CAP);
        assert_eq!(successor.due(), Some(now + CAP + FIRST));
    }

    #[test]
    fn one_that_was_killed_at_work_is_followed_at_once_however_often() {
        let mut successor = Successor::new(0);
        let mut now = 0;
        for _ in 0..20 {
            successor.arrived(now);
            now += GOOD + 1;
            successor.wanted(now);
            assert_eq!(successor.due(), Some(now + FIRST));
        }
    }
}
