//! Who a process is and whether it lives, from `/proc`.

use std::fs;

use crate::domain::ids::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Lives,
    /// It lives and does nothing: SIGSTOP, a debugger.
    Stopped,
    /// It is gone, or its number belongs to somebody else by now.
    Gone,
}

/// This process.
pub fn me() -> Process {
    let pid = std::process::id().cast_signed();
    // Without /proc nothing could be told apart; the start time 0 is then everybody's.
    Process { pid, start: stat(pid).map_or(0, |stat| stat.start) }
}

pub fn look(process: &Process) -> Life {
    match stat(process.pid) {
        Some(stat) if stat.start == process.start => match stat.state {
            'T' | 't' => Life::Stopped,
            'Z' | 'X' => Life::Gone,
            _ => Life::Lives,
        },
        Some(_) | None => Life::Gone,
    }
}

pub fn lives(process: &Process) -> bool {
    look(process) != Life::Gone
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of the command, in parentheses, may hold anything; nothing after it does.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 3 is the state, field 22 the start time.
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_obstacle() {
        let text = "42 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 999 20 21";
        assert_eq!(parse(text), Some(Stat { state: 'S', start: 999 }));
        assert_eq!(parse("42 (a) S 1 2"), None);
    }

    #[test]
    fn tells_the_living_from_others() {
        let me = me();
        assert_eq!(look(&me), Life::Lives);
        assert_eq!(look(&Process { start: me.start + 1, ..me }), Life::Gone);
        assert_eq!(look(&Process { pid: i32::MAX, start: 0 }), Life::Gone);
    }
}
