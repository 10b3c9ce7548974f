//! What a process and its descendants use, from `/proc`. It reads many small files, so it never runs on the actor's
//! thread.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::domain::ids::Process;

/// A tree with more processes than this is looked at in part.
const MOST_PROCESSES: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeUse {
    /// Of everything that lives, and of all children that it has waited for.
    pub cpu: Duration,
    pub rss_bytes: u64,
}

/// `None` where the process is gone, or its pid belongs to somebody else by now.
pub fn tree_use(main: Process) -> Option<TreeUse> {
    let first = Stat::read(main.pid).filter(|stat| stat.start == main.start)?;
    let (mut ticks, mut pages) = (first.ticks, first.rss_pages);
    let mut seen = vec![main.pid];
    let mut next = 0;
    while let Some(&pid) = seen.get(next) {
        next += 1;
        for child in children(pid) {
            // Its stat is read after the parent's, so a pid that was reused in between is rare and harmless: these
            // are figures, nothing is signalled.
            if seen.len() < MOST_PROCESSES
                && !seen.contains(&child)
                && let Some(stat) = Stat::read(child)
            {
                seen.push(child);
                ticks += stat.ticks;
                pages += stat.rss_pages;
            }
        }
    }
    Some(TreeUse { cpu: from_ticks(ticks), rss_bytes: pages * page_size() })
}

struct Stat {
    start: u64,
    /// utime + stime + cutime + cstime.
    ticks: u64,
    rss_pages: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name stands in parentheses and may hold anything, further parentheses included.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbers as in proc(5), where the state, the first one here, is field 3.
        let field = |number: usize| -> Option<u64> {
            Some(u64::try_from(fields.get(number - 3)?.parse::<i64>().ok()?).unwrap_or(0))
        };
        Some(Self {
            ticks: field(14)? + field(15)? + field(16)? + field(17)?,
            start: field(22)?,
            rss_pages: field(24)?,
        })
    }
}

/// Every thread has children of its own.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| {
        let path: PathBuf = thread.path().join("children");
        fs::read_to_string(path).unwrap_or_default()
    });
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn from_ticks(ticks: u64) -> Duration {
    let per_second = system_value(SysconfVar::CLK_TCK, 100);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

fn page_size() -> u64 {
    system_value(SysconfVar::PAGE_SIZE, 4096)
}

fn system_value(variable: SysconfVar, usual: u64) -> u64 {
    let value = sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok());
    value.filter(|value| *value > 0).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_and_spaces_do_not_confuse_it() {
        let line = b"42 (a) S (b) R 1 42 42 0 -1 0 0 0 0 0 11 22 33 44 20 0 1 0 777 1000 55 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.ticks, stat.start, stat.rss_pages), (110, 777, 55));
        assert!(Stat::parse(b"garbage").is_none());
    }

    #[test]
    fn we_use_memory_and_somebody_else_at_our_pid_is_not_counted() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = Stat::read(pid).unwrap().start;
        assert!(tree_use(Process { pid, start }).unwrap().rss_bytes > 100_000);
        assert_eq!(tree_use(Process { pid, start: start + 1 }), None);
    }

    #[test]
    fn a_child_counts() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = children(pid).contains(&i32::try_from(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
