//! All timers of the actor in one ordered map: the next one is what the actor sleeps for. A timer is known by its
//! place in the map, so that one which is no longer wanted is taken out and nothing piles up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::time::Mono;

/// Takes a timer out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(Mono, u64);

#[derive(Debug)]
pub(crate) struct Timers<K> {
    armed: BTreeMap<Ticket, Armed<K>>,
    count: u64,
}

#[derive(Debug)]
struct Armed<K> {
    key: K,
    since: Mono,
}

/// A timer that went off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fired<K> {
    pub(crate) key: K,
    /// It went off much later than it was to: we, or the whole machine, stood still in between.
    pub(crate) late: bool,
}

impl<K> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self { armed: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn arm(&mut self, now: Mono, at: Mono, key: K) -> Ticket {
        self.count += 1;
        let ticket = Ticket(at, self.count);
        self.armed.insert(ticket, Armed { key, since: now });
        ticket
    }

    /// A ticket whose timer has gone off is no longer there, which is fine.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.armed.remove(&ticket);
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.armed.first_key_value().map(|(ticket, _)| ticket.0)
    }

    pub(crate) fn pop(&mut self, now: Mono) -> Option<Fired<K>> {
        let entry = self.armed.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (ticket, armed) = entry.remove_entry();
        let asked = ticket.0.since(armed.since);
        let slack = (asked / 10).max(Duration::from_secs(1));
        Some(Fired { key: armed.key, late: now.since(ticket.0) > slack })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn they_go_off_in_order_and_not_before_their_time() {
        let mut timers = Timers::new();
        timers.arm(at(0), at(5), 'b');
        timers.arm(at(0), at(3), 'a');
        let gone = timers.arm(at(0), at(4), 'x');
        timers.cancel(gone);
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.pop(at(2)), None);
        let order: Vec<char> = std::iter::from_fn(|| timers.pop(at(5))).map(|fired| fired.key).collect();
        assert_eq!(order, ['a', 'b']);
        timers.cancel(gone);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn one_that_goes_off_much_too_late_says_so() {
        let mut timers = Timers::new();
        let mut late_by = |asked, lag| {
            timers.arm(at(0), at(asked), ());
            timers.pop(at(asked + lag)).unwrap().late
        };
        assert!(!late_by(5, 1));
        assert!(late_by(5, 2));
        assert!(!late_by(300, 30), "a tenth of a long wait is no stand-still");
        assert!(late_by(300, 31));
    }
}
