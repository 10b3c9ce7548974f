//! What the stages of a flow say of one another: whether the names mean something, whether there is an order, and
//! whether every key that is read has been written before. All of it in time linear in the edges, 64 keys at a time.

use std::collections::{BTreeMap, HashSet};

use crate::config::diagnostic::quoted;
use crate::config::keys;
use crate::config::raw::{RawFlow, RawLinks};
use crate::config::read::{At, Reader, Spot};
use crate::domain::flow::graph::{Cycle, Graph, GraphError, Links};
use crate::domain::flow::ids::{NameMap, StageName};
use crate::domain::flow::spec::InputKind;

/// A stage whose names mean something, as far as they do.
struct Linked<'a> {
    raw: &'a RawLinks,
    needs: Vec<StageName>,
    optional_needs: Vec<StageName>,
    validates: Option<StageName>,
    /// It names something that is not there, so what it may read is not known.
    vague: bool,
}

pub(super) fn check(reader: &mut Reader<'_>, flow: &RawFlow<'_>, stages: &[RawLinks]) {
    let mut stages = resolve(reader, stages);
    logs(reader, &stages);
    let Some(graph) = order(reader, &mut stages) else { return };
    let flow = Keys { reader, flow, stages: &stages, graph: &graph };
    flow.check();
}

/// Names looked up; only the first of several stages with one name stays.
fn resolve<'a>(reader: &mut Reader<'_>, all: &'a [RawLinks]) -> Vec<Linked<'a>> {
    let mut known: NameMap<&StageName, &RawLinks> = NameMap::default();
    known.reserve(all.len());
    let mut stages = Vec::with_capacity(all.len());
    for raw in all {
        if let Some(first) = known.get(&raw.name.value) {
            let message = format!(
                "two stages are called {}; the first one is {}",
                quoted(raw.name.value.as_str()),
                place(reader, first)
            );
            reader.error(raw.name.spot, message, Some("give one of them another name".into()));
            continue;
        }
        known.insert(&raw.name.value, raw);
        stages.push(raw);
    }
    stages.into_iter().map(|raw| link(reader, raw, &known)).collect()
}

fn link<'a>(
    reader: &mut Reader<'_>,
    raw: &'a RawLinks,
    known: &NameMap<&StageName, &RawLinks>,
) -> Linked<'a> {
    let mut vague = false;
    let mut find = |at: &At<StageName>, verb: &str| {
        let trouble = if at.value == raw.name.value {
            Some((
                format!("a stage cannot {verb} itself"),
                Some("name another one, or take it away".to_owned()),
            ))
        } else if known.contains_key(&at.value) {
            None
        } else {
            let wrong = at.value.as_str();
            Some((format!("there is no stage {}", quoted(wrong)), Some(likely(wrong, known))))
        };
        let Some((message, hint)) = trouble else { return Some(at.value.clone()) };
        reader.error(at.spot, message, hint);
        vague = true;
        None
    };
    let needs = raw.needs.iter().filter_map(|at| find(at, "need")).collect();
    let optional_needs = raw.optional_needs.iter().filter_map(|at| find(at, "need")).collect();
    let validates = raw.validates.as_ref().and_then(|at| find(at, "validate"));
    if let (Some(at), Some(target)) = (&raw.validates, &validates)
        && let Some(validated) = known.get(target).and_then(|target| target.validates.as_ref())
    {
        let message = format!("{} is a validator, and validators are not validated", quoted(target.as_str()));
        let hint = format!("validate {}, which it validates", quoted(validated.value.as_str()));
        reader.error(at.spot, message, Some(hint));
    }
    Linked { raw, needs, optional_needs, validates, vague }
}

fn likely(wrong: &str, known: &NameMap<&StageName, &RawLinks>) -> String {
    let mut names: Vec<&str> = known.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    match keys::closest(wrong, names.iter().copied()) {
        Some(name) => format!("did you mean {}?", quoted(name)),
        None => format!("there are: {}", list(&names)),
    }
}

/// The first few of a list that may be long.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// `stages[3]`, of the whole path of its name.
fn place(reader: &Reader<'_>, stage: &RawLinks) -> String {
    let path = reader.path(stage.name.spot);
    let path = path.strip_suffix(".name").unwrap_or(&path);
    path.rsplit_once('.').map_or(path, |(_, last)| last).to_owned()
}

/// An item of `a` has the log `a.1_2.log`, which must not be that of a stage `a.1`.
fn logs(reader: &mut Reader<'_>, stages: &[Linked<'_>]) {
    let fanned: HashSet<&str> = stages
        .iter()
        .filter(|one| one.raw.foreach.is_some())
        .map(|one| one.raw.name.value.as_str())
        .collect();
    for stage in stages.iter().filter(|_| !fanned.is_empty()) {
        let name = &stage.raw.name;
        if let Some((base, item)) = name.value.as_str().rsplit_once('.')
            && fanned.contains(base)
            && item.bytes().all(|byte| byte.is_ascii_digit())
        {
            let message = format!("an item of {} would have the same log", quoted(base));
            reader.error(name.spot, message, Some("give it another name".into()));
        }
    }
}

/// The graph, unless stages wait for each other in a circle. Several circles are told at once.
fn order(reader: &mut Reader<'_>, stages: &mut [Linked<'_>]) -> Option<Graph> {
    const MOST: usize = 10;
    let mut round = false;
    for _ in 0..MOST {
        let graph = Graph::new(stages.iter().map(|stage| Links {
            name: &stage.raw.name.value,
            needs: &stage.needs,
            optional_needs: &stage.optional_needs,
            validates: stage.validates.as_ref(),
        }));
        match graph {
            Ok(graph) => return (!round).then_some(graph),
            Err(GraphError::Cycle(cycle)) => {
                tell(reader, stages, &cycle);
                // Without this one the next one is found.
                let inside: HashSet<&StageName> = cycle.0.iter().collect();
                for stage in stages.iter_mut().filter(|stage| inside.contains(&stage.raw.name.value)) {
                    stage.needs.clear();
                    stage.optional_needs.clear();
                    stage.validates = None;
                }
                round = true;
            }
            // Told already, each at its place.
            Err(GraphError::Duplicate(_) | GraphError::Unknown { .. } | GraphError::Itself(_)) => {
                return None;
            }
        }
    }
    None
}

fn tell(reader: &mut Reader<'_>, stages: &[Linked<'_>], cycle: &Cycle) {
    const EXPLAINED: usize = 6;
    let by_name: NameMap<&StageName, &RawLinks> =
        stages.iter().map(|stage| (&stage.raw.name.value, stage.raw)).collect();
    let why = |before: &StageName, after: &StageName| {
        let after = by_name.get(after)?;
        let named = |at: &&At<StageName>| at.value == *before;
        let name = after.name.value.as_str();
        if let Some(at) = after.needs.iter().chain(&after.optional_needs).find(named) {
            return Some((format!("{name} needs {before}"), at.spot));
        }
        if let Some(at) = after.validates.as_ref().filter(named) {
            return Some((format!("{name} validates {before}"), at.spot));
        }
        let target = by_name.get(before)?.validates.as_ref()?;
        let at = after.needs.iter().chain(&after.optional_needs).find(|at| at.value == target.value)?;
        Some((format!("{name} needs {}, which {before} validates", target.value), at.spot))
    };
    let pairs = cycle.0.iter().zip(cycle.0.iter().skip(1));
    let reasons: Vec<(String, Spot)> = pairs.filter_map(|(before, after)| why(before, after)).collect();
    let Some((_, spot)) = reasons.last() else { return };
    let hint = if reasons.len() > EXPLAINED {
        "take one of these needs away".to_owned()
    } else {
        reasons.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>().join("; ")
    };
    reader.error(*spot, format!("stages wait for each other in a circle: {cycle}"), Some(hint));
}

/// Who writes and who reads which key of the state.
struct Keys<'a, 't> {
    reader: &'a mut Reader<'t>,
    flow: &'a RawFlow<'a>,
    stages: &'a [Linked<'a>],
    graph: &'a Graph,
}

/// A key that a stage reads, and where it says so.
struct Read {
    stage: usize,
    spot: Spot,
    /// It has to be a list.
    list: bool,
}

const WORD: usize = u64::BITS as usize;

impl Keys<'_, '_> {
    fn check(mut self) {
        let mut writers: BTreeMap<&str, Vec<(usize, &At<String>)>> = BTreeMap::new();
        for (index, stage) in self.stages.iter().enumerate() {
            for at in &stage.raw.outputs {
                writers.entry(at.value.as_str()).or_default().push((index, at));
                if self.flow.inputs.contains_key(&at.value) {
                    let message =
                        "this takes the place of the input of that name in the stages behind".to_owned();
                    self.reader.warn(at.spot, message, Some("give one of the two another name".into()));
                }
            }
        }
        self.one_at_a_time(&writers);
        self.written_before(&writers);
    }

    /// Of two stages that write one key, one has to come first, or the state would depend on luck.
    fn one_at_a_time(&mut self, writers: &BTreeMap<&str, Vec<(usize, &At<String>)>>) {
        let mut pairs = Vec::new();
        for list in writers.values().filter(|list| list.len() > 1) {
            let mut list = list.clone();
            list.sort_unstable_by_key(|(stage, _)| self.graph.position(*stage));
            // Where each waits for the one before, all are in order.
            pairs.extend(list.iter().copied().zip(list.iter().copied().skip(1)));
        }
        let mut told = HashSet::new();
        for pairs in pairs.chunks(WORD) {
            let mut own = vec![0_u64; self.graph.len()];
            for (bit, ((first, _), _)) in pairs.iter().enumerate() {
                own[*first] |= 1 << bit;
            }
            let inherited = self.graph.inherited(&own);
            for (bit, ((first, _), (second, at))) in pairs.iter().enumerate() {
                if inherited[*second] & (1 << bit) == 0 && told.insert(at.value.as_str()) {
                    let (first, second) = (self.graph.name(*first), self.graph.name(*second));
                    let message = format!(
                        "{first} and {second} both write {}, and neither waits for the other",
                        quoted(&at.value)
                    );
                    let hint =
                        "let one of them need the other, or give one of the keys another name".to_owned();
                    self.reader.error(at.spot, message, Some(hint));
                }
            }
        }
    }

    fn written_before(&mut self, writers: &BTreeMap<&str, Vec<(usize, &At<String>)>>) {
        let reads = reads(self.stages);
        let vague: Vec<u64> = self.stages.iter().map(|stage| u64::from(stage.vague)).collect();
        let inherits_vague = self.graph.inherited(&vague);
        let read: Vec<&str> = reads.keys().copied().collect();
        for some in read.chunks(WORD) {
            let mut own = vec![0_u64; self.graph.len()];
            for (bit, key) in some.iter().enumerate() {
                for (stage, _) in writers.get(key).into_iter().flatten() {
                    own[*stage] |= 1 << bit;
                }
            }
            let inherited = self.graph.inherited(&own);
            for (bit, key) in some.iter().enumerate() {
                for read in reads.get(key).into_iter().flatten() {
                    let found = inherited[read.stage] & (1 << bit) != 0;
                    if found || vague[read.stage] != 0 || inherits_vague[read.stage] != 0 {
                        continue;
                    }
                    self.unwritten(key, read, writers);
                }
            }
        }
    }

    /// No stage before writes it: an input may provide it, or something is wrong.
    fn unwritten(&mut self, key: &str, read: &Read, writers: &BTreeMap<&str, Vec<(usize, &At<String>)>>) {
        if let Some(input) = self.flow.inputs.get(key) {
            if read.list && !matches!(input.kind, InputKind::Any | InputKind::Array) {
                let message =
                    format!("the input {} is no array, so there is nothing to go through", quoted(key));
                let hint = format!("say so at {}: \"type\": \"array\"", self.reader.path(input.spot));
                self.reader.error(read.spot, message, Some(hint));
            }
            return;
        }
        let name = |stage: usize| self.graph.name(stage).as_str();
        let by: Vec<usize> = writers.get(key).into_iter().flatten().map(|(stage, _)| *stage).collect();
        let hint = match by.as_slice() {
            [writer, ..] if *writer == read.stage => {
                format!("{} writes it itself, once it has run", name(*writer))
            }
            [writer, ..] if self.graph.descendants(&[read.stage]).contains(writer) => {
                format!("{} writes it, but waits for {}", name(*writer), name(read.stage))
            }
            [writer, ..] => format!("{} writes it: let {} need that", name(*writer), name(read.stage)),
            [] => {
                let known = writers.keys().copied().chain(self.flow.inputs.keys().map(String::as_str));
                match keys::closest(key, known) {
                    Some(likely) => format!("did you mean {}?", quoted(likely)),
                    None => "add it to the outputs of a stage before, or to the inputs of the flow".into(),
                }
            }
        };
        let message = format!(
            "no stage before {} writes {}, and no input is called that",
            name(read.stage),
            quoted(key)
        );
        self.reader.error(read.spot, message, Some(hint));
    }
}

fn reads<'a>(stages: &'a [Linked<'a>]) -> BTreeMap<&'a str, Vec<Read>> {
    let mut reads: BTreeMap<&str, Vec<Read>> = BTreeMap::new();
    for (stage, linked) in stages.iter().enumerate() {
        let mut add = |key, spot, list| reads.entry(key).or_default().push(Read { stage, spot, list });
        for at in &linked.raw.requires {
            add(at.value.as_str(), at.spot, false);
        }
        if let Some(at) = &linked.raw.foreach {
            add(at.value.key.value.as_str(), at.value.key.spot, true);
        }
        if let Some(at) = &linked.raw.when {
            for key in at.value.keys() {
                add(key, at.spot, false);
            }
        }
    }
    reads
}
