//! When something is to be asked for anew: after it changed, one question at a time, and the less often the longer the
//! answer takes. Pure.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::frontend::text::between;

/// At most a few times a second.
const PAUSE: Duration = Duration::from_millis(300);
/// Asking takes at most one part of so many of the time.
const SHARE: u32 = 10;
const MOST_PATIENT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Fresh {
    stale: bool,
    /// Since when an answer is awaited.
    asked: Option<Timestamp>,
    not_before: Timestamp,
}

impl Fresh {
    /// Nothing is known.
    pub const fn new(now: Timestamp) -> Self {
        Self { stale: true, asked: None, not_before: now }
    }

    pub const fn touch(&mut self) {
        self.stale = true;
    }

    /// Somebody is looking at something else now, and waits for that.
    pub const fn hurry(&mut self, now: Timestamp) {
        (self.stale, self.not_before) = (true, now);
    }

    /// An answer that is awaited will not come.
    pub const fn reset(&mut self, now: Timestamp) {
        (self.stale, self.asked, self.not_before) = (true, None, now);
    }

    /// What is known is how things are, as far as anybody has told.
    pub const fn is_settled(&self) -> bool {
        !self.stale && self.asked.is_none()
    }

    /// Whether it is to be asked for now; then it counts as asked.
    pub fn ask(&mut self, now: Timestamp) -> bool {
        let due = self.stale && self.asked.is_none() && self.not_before <= now;
        if due {
            (self.stale, self.asked) = (false, Some(now));
        }
        due
    }

    pub fn answered(&mut self, now: Timestamp) {
        let took = self.asked.take().map(|asked| between(asked, now)).unwrap_or_default();
        let pause = (took * SHARE).clamp(PAUSE, MOST_PATIENT);
        self.not_before = now.checked_add(pause).unwrap_or(now);
    }

    /// The moment at which it is to be asked for.
    pub fn wake(&self) -> Option<Timestamp> {
        (self.stale && self.asked.is_none()).then_some(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{ago, now};
    use super::*;

    #[test]
    fn one_question_at_a_time_and_a_pause_after_the_answer() {
        let mut fresh = Fresh::new(ago(10));
        assert!(fresh.ask(ago(10)));
        fresh.touch();
        assert!(!fresh.ask(ago(10)), "an answer is awaited");
        assert_eq!(fresh.wake(), None);
        // It took two seconds, so that the next one comes after the most patient pause.
        fresh.answered(ago(8));
        assert!(!fresh.ask(ago(8)));
        assert_eq!(fresh.wake(), Some(ago(-2)));
        assert!(!fresh.ask(now()));
        assert!(fresh.ask(ago(-2)));
        fresh.answered(ago(-2));
        assert_eq!(fresh.wake(), None, "nothing has changed");
    }
}
