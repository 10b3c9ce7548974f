//! The kill loop: finds every process of the trees that have to end, and kills it, until passes in a row find none.
//!
//! A process belongs to an attempt if any key says so: its session, its descent, its cgroup, the resource-limit token,
//! the environment marker, the log as its output. Each key alone can be lost (`env -i`, `setsid`, a double fork, `su`);
//! all of them together hardly.

use std::collections::{HashMap, HashSet};
use std::io;

use super::proc::{self, ProcDir, Stat};
use super::tree::Tree;

/// The environment variable with the path of attempts that a process is inside of: `OUTER/INNER`.
pub(crate) const MARKER: &str = "RESTAGE_TREE";

/// The marker's part for one attempt.
pub(crate) fn marker(token: u64) -> String {
    format!("{token:x}")
}

/// Who lives, by the place of the tree among those that were asked about.
#[derive(Debug, Default)]
pub(crate) struct Census {
    found: HashMap<usize, Vec<Member>>,
    /// There were too few descriptors to look at everybody: who is not here may live all the same.
    pub(crate) blind: bool,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) stat: Stat,
    dir: ProcDir,
}

impl Census {
    pub(crate) fn of(&self, tree: usize) -> impl Iterator<Item = &Member> {
        self.found.get(&tree).into_iter().flatten()
    }

    pub(crate) fn has(&self, tree: usize) -> bool {
        self.found.contains_key(&tree)
    }
}

impl Member {
    /// Kills it, and where `whole_group` its process group with it, which a fork cannot escape.
    pub(crate) fn kill(&self, whole_group: bool) -> io::Result<()> {
        if whole_group {
            // SAFETY: plain numbers. The group has a member that is pinned by `dir` and belongs to the tree.
            unsafe { libc::killpg(self.stat.pgid, libc::SIGKILL) };
        }
        self.dir.signal(libc::SIGKILL)
    }
}

/// Looks for all living processes of the `wanted` among `trees`. `spared` are our own: keeper, guard, relays,
/// supervisor.
///
/// The quick way looks only at what hangs below our own children: enough for trees whose processes all descend from
/// us. The full way looks at every process of the machine.
pub(crate) fn census(trees: &[&Tree], wanted: &dyn Fn(&Tree) -> bool, spared: &[i32], full: bool) -> Census {
    let mut seen = Seen::default();
    let spared: &HashSet<i32> = &spared.iter().copied().collect();
    if full {
        // Each takes a descriptor: should there be too few, these are the ones that have to be found.
        for tree in trees.iter().filter(|tree| tree.main_lives() && wanted(tree)) {
            seen.add(tree.pid, spared);
        }
        for pid in proc::all_pids() {
            seen.add(pid, spared);
        }
    } else {
        // What hangs below a main process that nobody asked about belongs to that one.
        let others: HashSet<i32> =
            trees.iter().filter(|tree| tree.main_lives() && !wanted(tree)).map(|tree| tree.pid).collect();
        let mut open: Vec<i32> =
            proc::own_children().into_iter().filter(|pid| !others.contains(pid)).collect();
        while let Some(pid) = open.pop() {
            if seen.add(pid, spared) {
                open.extend(children_of(pid));
            }
        }
    }
    let mut census = seen.assign(trees);
    census.found.retain(|place, _| trees.get(*place).is_some_and(|tree| wanted(tree)));
    census
}

/// What is left of trees whose main processes have ended, at the price of reading our own list of children: the
/// orphans of a tree become ours.
pub(crate) fn orphans(trees: &[&Tree], spared: &[i32]) -> Census {
    let mains: HashSet<i32> = trees.iter().filter(|tree| tree.main_lives()).map(|tree| tree.pid).collect();
    let mut seen = Seen::default();
    let spared: HashSet<i32> = spared.iter().copied().collect();
    for pid in proc::own_children() {
        if !mains.contains(&pid) {
            seen.add(pid, &spared);
        }
    }
    if seen.all.is_empty() {
        return Census { blind: seen.blind, ..Census::default() };
    }
    seen.assign(trees)
}

fn children_of(pid: i32) -> Vec<i32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
        })
        .collect()
}

#[derive(Debug, Default)]
struct Seen {
    all: Vec<(ProcDir, Stat)>,
    by_pid: HashMap<i32, usize>,
    blind: bool,
}

impl Seen {
    fn add(&mut self, pid: i32, spared: &HashSet<i32>) -> bool {
        if spared.contains(&pid) || self.by_pid.contains_key(&pid) {
            return false;
        }
        let (dir, stat) = match ProcDir::open(pid).and_then(|dir| dir.stat().map(|stat| (dir, stat))) {
            Ok(found) => found,
            Err(error) => {
                self.blind |= matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                return false;
            }
        };
        // Kernel threads belong to nobody, the dead are nobody.
        if stat.is_dead() || stat.ppid == 2 || pid == 2 {
            return false;
        }
        self.by_pid.insert(pid, self.all.len());
        self.all.push((dir, stat));
        true
    }

    fn assign(self, trees: &[&Tree]) -> Census {
        let keys = Keys::of(trees);
        let mut owners: Vec<Option<usize>> =
            self.all.iter().map(|(_, stat)| keys.session(stat, trees).or_else(|| keys.main(stat))).collect();
        for index in 0..self.all.len() {
            if owners.get(index).copied().flatten().is_none() {
                let owner = self.by_descent(index, &owners).or_else(|| {
                    let (dir, _) = self.all.get(index)?;
                    keys.by_marks(dir)
                });
                if let Some(place) = owners.get_mut(index) {
                    *place = owner;
                }
            }
        }
        // A child may have been looked at before its parent was known.
        for index in 0..self.all.len() {
            if owners.get(index).copied().flatten().is_none() {
                let owner = self.by_descent(index, &owners);
                if let Some(place) = owners.get_mut(index) {
                    *place = owner;
                }
            }
        }
        let mut found: HashMap<usize, Vec<Member>> = HashMap::new();
        for ((dir, stat), owner) in self.all.into_iter().zip(owners) {
            if let Some(tree) = owner {
                found.entry(tree).or_default().push(Member { stat, dir });
            }
        }
        Census { found, blind: self.blind }
    }

    fn by_descent(&self, index: usize, owners: &[Option<usize>]) -> Option<usize> {
        let mut at = index;
        // A chain of parents is no longer than the list; pids that were reused meanwhile could close a ring.
        for _ in 0..self.all.len() {
            let parent = self.all.get(at)?.1.ppid;
            at = *self.by_pid.get(&parent)?;
            if let Some(owner) = owners.get(at).copied().flatten() {
                return Some(owner);
            }
        }
        None
    }
}

/// What a process can be told by, for all trees at once.
struct Keys {
    by_session: HashMap<i32, usize>,
    by_token: HashMap<u64, usize>,
    by_marker: HashMap<String, usize>,
    by_log: HashMap<(u64, u64), usize>,
    mains: HashMap<i32, (u64, usize)>,
}

impl Keys {
    fn of(trees: &[&Tree]) -> Self {
        let each = || trees.iter().enumerate();
        Self {
            by_session: each()
                .map(|(index, tree)| (tree.leader().0, index))
                .filter(|(leader, _)| *leader > 0)
                .collect(),
            by_token: each().map(|(index, tree)| (tree.intent.token, index)).collect(),
            by_marker: each().map(|(index, tree)| (marker(tree.intent.token), index)).collect(),
            by_log: each().filter_map(|(index, tree)| Some((tree.log_file?, index))).collect(),
            mains: each().map(|(index, tree)| (tree.pid, (tree.start, index))).collect(),
        }
    }

    /// A session's number is not reused while a process is in it; but once nothing of the tree is left, another process
    /// may get it. So a session counts only if its leader is gone or is our main process.
    fn session(&self, stat: &Stat, trees: &[&Tree]) -> Option<usize> {
        let index = *self.by_session.get(&stat.sid)?;
        let tree = trees.get(index)?;
        let (pid, start) = tree.leader();
        proc::stat(pid).is_none_or(|leader| leader.start == start).then_some(index)
    }

    fn main(&self, stat: &Stat) -> Option<usize> {
        self.mains.get(&stat.pid).filter(|(start, _)| *start == stat.start).map(|(_, index)| *index)
    }

    fn by_marks(&self, dir: &ProcDir) -> Option<usize> {
        if let Some(index) = dir.token().and_then(|token| self.by_token.get(&token)) {
            return Some(*index);
        }
        if let Some(path) = dir.env_value(MARKER)
            && let Some(index) = path.split('/').find_map(|part| self.by_marker.get(part))
        {
            return Some(*index);
        }
        if let Some(index) = [1, 2].into_iter().find_map(|fd| self.by_log.get(&dir.file_of(fd)?)) {
            // Somebody who reads or appends to the log from outside has other descriptors than these two, or a
            // terminal of his own; one whose output is the log is of the attempt.
            return Some(*index);
        }
        // The cgroup of an attempt is called as its marker; one that its processes made lies below.
        dir.cgroup()?.split('/').find_map(|part| self.by_marker.get(part).copied())
    }
}
