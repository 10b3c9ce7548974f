//! The stages of a flow as a graph: what has to end before what. Knows names and edges, nothing of commands and runs.
//!
//! A stage waits for what it needs, needs optionally and validates, and for the validators of whatever it needs. Two
//! validators of one stage do not wait for each other. Everything here takes time linear in the edges and no recursion,
//! so ten thousand stages in a row, or fifty layers of fifty, cost next to nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;

use super::ids::{NameMap, StageName};
use super::spec::{FlowSpec, StageSpec};

/// What one stage says of others.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    pub name: &'a StageName,
    pub needs: &'a [StageName],
    pub optional_needs: &'a [StageName],
    pub validates: Option<&'a StageName>,
}

impl<'a> From<&'a StageSpec> for Links<'a> {
    fn from(stage: &'a StageSpec) -> Self {
        Self {
            name: &stage.name,
            needs: &stage.needs,
            optional_needs: &stage.optional_needs,
            validates: stage.validates.as_ref(),
        }
    }
}

/// Without cycles. A stage is named by its place in the file.
#[derive(Debug, Clone)]
pub struct Graph {
    names: Vec<StageName>,
    by_name: NameMap<StageName, usize>,
    up: Edges,
    down: Edges,
    validators: Edges,
    targets: Vec<Option<usize>>,
    order: Vec<usize>,
    /// The place of each stage in `order`.
    position: Vec<usize>,
    levels: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("two stages are called {0}")]
    Duplicate(StageName),
    #[error("{stage} needs {other}, which is no stage")]
    Unknown { stage: StageName, other: StageName },
    #[error("{0} needs itself")]
    Itself(StageName),
    #[error("these stages wait for each other in a circle: {0}")]
    Cycle(Cycle),
}

/// Each stage has to end before the next; the last one is the first one again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<StageName>);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let left_out = self.0.len().saturating_sub(SHOWN);
        // What is gained by leaving one out is lost by saying so.
        let cut = if left_out > 1 { SHOWN / 2..SHOWN / 2 + left_out } else { 0..0 };
        for (index, name) in self.0.iter().enumerate() {
            let arrow = if index == 0 { "" } else { " → " };
            if index == cut.start && !cut.is_empty() {
                write!(f, "{arrow}… {left_out} more …")?;
            } else if !cut.contains(&index) {
                write!(f, "{arrow}{name}")?;
            }
        }
        Ok(())
    }
}

/// For each stage a list of others, all in one allocation.
#[derive(Debug, Clone, Default)]
struct Edges {
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Edges {
    fn of(&self, stage: usize) -> &[usize] {
        let start = self.starts.get(stage).copied().unwrap_or(0);
        let end = self.starts.get(stage + 1).copied().unwrap_or(start);
        self.ends.get(start..end).unwrap_or(&[])
    }

    fn push(&mut self, of: impl IntoIterator<Item = usize>) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.ends.extend(of);
        self.starts.push(self.ends.len());
    }

    /// The same edges, seen from the other end.
    fn turned(&self, stages: usize) -> Self {
        let mut starts = vec![0; stages + 1];
        for end in &self.ends {
            starts[end + 1] += 1;
        }
        for stage in 0..stages {
            starts[stage + 1] += starts[stage];
        }
        let mut free = starts.clone();
        let mut ends = vec![0; self.ends.len()];
        for stage in 0..stages {
            for end in self.of(stage) {
                ends[free[*end]] = stage;
                free[*end] += 1;
            }
        }
        Self { starts, ends }
    }
}

impl Graph {
    pub fn of(flow: &FlowSpec) -> Result<Self, GraphError> {
        Self::new(flow.stages.iter().map(Links::from))
    }

    pub fn new<'a>(stages: impl IntoIterator<Item = Links<'a>>) -> Result<Self, GraphError> {
        let stages: Vec<Links<'a>> = stages.into_iter().collect();
        let mut by_name = NameMap::default();
        by_name.reserve(stages.len());
        for (index, stage) in stages.iter().enumerate() {
            if by_name.insert(stage.name.clone(), index).is_some() {
                return Err(GraphError::Duplicate(stage.name.clone()));
            }
        }
        let find = |stage: &Links<'_>, other: &StageName| match by_name.get(other) {
            Some(_) if other == stage.name => Err(GraphError::Itself(stage.name.clone())),
            Some(index) => Ok(*index),
            None => Err(GraphError::Unknown { stage: stage.name.clone(), other: other.clone() }),
        };
        let mut targets = Vec::with_capacity(stages.len());
        let mut validated = Edges::default();
        for stage in &stages {
            let target = stage.validates.map(|other| find(stage, other)).transpose()?;
            validated.push(target);
            targets.push(target);
        }
        let validators = validated.turned(stages.len());

        let mut up = Edges::default();
        // Who has listed a stage last, so that none is listed twice by one.
        let mut listed_by = vec![usize::MAX; stages.len()];
        let mut list = Vec::new();
        for (index, stage) in stages.iter().enumerate() {
            list.clear();
            let target = targets[index];
            let mut add = |other: usize| {
                if std::mem::replace(&mut listed_by[other], index) != index {
                    list.push(other);
                }
            };
            for other in stage.needs.iter().chain(stage.optional_needs) {
                let other = find(stage, other)?;
                add(other);
                if Some(other) != target {
                    validators.of(other).iter().copied().filter(|one| *one != index).for_each(&mut add);
                }
            }
            target.into_iter().for_each(&mut add);
            list.sort_unstable();
            up.push(list.drain(..));
        }
        let names: Vec<StageName> = stages.iter().map(|stage| stage.name.clone()).collect();
        let down = up.turned(names.len());
        let order = order(&up, &down, names.len())
            .map_err(|cycle| GraphError::Cycle(Cycle(cycle.iter().map(|at| names[*at].clone()).collect())))?;
        let mut position = vec![0; names.len()];
        let mut levels = vec![0; names.len()];
        for (at, stage) in order.iter().enumerate() {
            position[*stage] = at;
            levels[*stage] = up.of(*stage).iter().map(|before| levels[*before] + 1).max().unwrap_or(0);
        }
        Ok(Self { names, by_name, up, down, validators, targets, order, position, levels })
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn name(&self, stage: usize) -> &StageName {
        &self.names[stage]
    }

    pub fn index(&self, name: &StageName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Everything that has to end before this stage starts, directly: in the order of the file, none twice.
    pub fn upstream(&self, stage: usize) -> &[usize] {
        self.up.of(stage)
    }

    /// What waits for this stage, directly, in the order of the file.
    pub fn downstream(&self, stage: usize) -> &[usize] {
        self.down.of(stage)
    }

    /// The stages that check this one.
    pub fn validators(&self, stage: usize) -> &[usize] {
        self.validators.of(stage)
    }

    /// The stage that this one checks.
    pub fn target(&self, stage: usize) -> Option<usize> {
        self.targets[stage]
    }

    /// All stages, each behind what it waits for; where that leaves a choice, as in the file.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The place of a stage in [`order`](Self::order).
    pub fn position(&self, stage: usize) -> usize {
        self.position[stage]
    }

    /// How many stages the longest way to this one has: 0 for what waits for nothing.
    pub fn level(&self, stage: usize) -> usize {
        self.levels[stage]
    }

    pub fn edges(&self) -> usize {
        self.up.ends.len()
    }

    /// Everything that has to end before any of these, in topological order. One of these is among it only if another
    /// one waits for it.
    pub fn ancestors(&self, of: &[usize]) -> Vec<usize> {
        self.reach(of, &self.up)
    }

    /// Everything that waits for any of these, however far, in topological order. One of these is among it only if it
    /// waits for another.
    pub fn descendants(&self, of: &[usize]) -> Vec<usize> {
        self.reach(of, &self.down)
    }

    fn reach(&self, of: &[usize], edges: &Edges) -> Vec<usize> {
        let mut seen = vec![false; self.len()];
        let mut open: Vec<usize> = of.to_vec();
        let mut found = Vec::new();
        let mut looked_at = vec![false; self.len()];
        while let Some(stage) = open.pop() {
            if std::mem::replace(&mut looked_at[stage], true) {
                continue;
            }
            for next in edges.of(stage) {
                if !std::mem::replace(&mut seen[*next], true) {
                    found.push(*next);
                    open.push(*next);
                }
            }
        }
        found.sort_unstable_by_key(|stage| self.position[*stage]);
        found
    }

    /// For each stage the marks of all its ancestors together: 64 questions about them answered in one pass.
    pub fn inherited(&self, own: &[u64]) -> Vec<u64> {
        let mut inherited = vec![0; self.len()];
        for stage in &self.order {
            inherited[*stage] =
                self.up.of(*stage).iter().fold(0, |all, before| all | inherited[*before] | own[*before]);
        }
        inherited
    }
}

/// A topological order, or a cycle: each before the next, and the first once more at the end.
fn order(up: &Edges, down: &Edges, stages: usize) -> Result<Vec<usize>, Vec<usize>> {
    let mut waits: Vec<usize> = (0..stages).map(|stage| up.of(stage).len()).collect();
    let mut free: BinaryHeap<Reverse<usize>> =
        (0..stages).filter(|stage| waits[*stage] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(stages);
    while let Some(Reverse(stage)) = free.pop() {
        order.push(stage);
        for next in down.of(stage) {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                free.push(Reverse(*next));
            }
        }
    }
    let Some(stuck) = (0..stages).find(|stage| waits[*stage] > 0) else { return Ok(order) };
    Err(cycle(up, down, &waits, stuck))
}

/// What is stuck waits for something that is stuck, so going backwards ends in a cycle. The shortest one through that
/// stage is what a person wants to see.
fn cycle(up: &Edges, down: &Edges, waits: &[usize], stuck: usize) -> Vec<usize> {
    let mut seen = vec![false; waits.len()];
    let mut at = stuck;
    while !std::mem::replace(&mut seen[at], true) {
        at = up.of(at).iter().copied().find(|before| waits[*before] > 0).unwrap_or(at);
    }
    let mut came_from = vec![None; waits.len()];
    let mut open = VecDeque::from([at]);
    while let Some(stage) = open.pop_front() {
        for next in down.of(stage) {
            if came_from[*next].is_none() {
                came_from[*next] = Some(stage);
                open.push_back(*next);
            }
        }
    }
    let mut path = vec![at];
    let mut before = came_from[at];
    while let Some(stage) = before {
        path.push(stage);
        before = if stage == at { None } else { came_from[stage] };
    }
    // Backwards so far, from `at` to `at`. It begins with whatever stands first in the file.
    path.pop();
    path.reverse();
    let first = (0..path.len()).min_by_key(|at| path[*at]).unwrap_or(0);
    path.rotate_left(first);
    path.push(path[0]);
    path
}

#[cfg(test)]
mod tests;
