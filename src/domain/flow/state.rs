//! What each stage of a run may see: the inputs, and over them the outputs of its ancestors in topological order. A
//! top-level key is replaced whole; nobody looks into a value.
//!
//! Nothing is merged before somebody asks. Who wrote a key is kept in topological order, and who is an ancestor of whom in
//! one bit each, so a question costs no walk through the graph: ten thousand stages in a row cost 6 MB and a few
//! milliseconds once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::graph::Graph;
use super::ids::StageName;
use crate::domain::json::{Json, JsonMap};

/// What the state that one stage sees may have, as JSON. Larger things are artifacts.
pub const MAX_STATE_BYTES: usize = 64 << 20;

/// Who is an ancestor of whom. Stages are named by their place in the file, as in [`Graph`].
#[derive(Debug, Clone)]
pub struct Ancestors {
    /// A row for each stage, in topological order; the bits of those that come before it.
    bits: Vec<u64>,
    starts: Vec<usize>,
    position: Vec<usize>,
}

impl Ancestors {
    pub fn of(graph: &Graph) -> Self {
        let mut starts = Vec::with_capacity(graph.len());
        let mut size = 0;
        for position in 0..graph.len() {
            starts.push(size);
            size += position.div_ceil(64);
        }
        let mut bits = vec![0_u64; size];
        for (position, stage) in graph.order().iter().enumerate() {
            let (before, own) = bits.split_at_mut(starts[position]);
            for above in graph.upstream(*stage) {
                let above = graph.position(*above);
                let inherited = &before[starts[above]..starts[above] + above.div_ceil(64)];
                for (word, more) in own.iter_mut().zip(inherited) {
                    *word |= more;
                }
                own[above / 64] |= 1 << (above % 64);
            }
        }
        Self { bits, starts, position: (0..graph.len()).map(|stage| graph.position(stage)).collect() }
    }

    /// Whether `ancestor` has to end before `stage`, directly or not.
    pub fn has(&self, stage: usize, ancestor: usize) -> bool {
        self.has_position(self.position[stage], self.position[ancestor])
    }

    fn has_position(&self, position: usize, ancestor: usize) -> bool {
        ancestor < position && self.bits[self.starts[position] + ancestor / 64] >> (ancestor % 64) & 1 == 1
    }
}

/// The state of one run, as far as it has come.
#[derive(Debug, Clone)]
pub struct State {
    inputs: JsonMap,
    ancestors: Ancestors,
    /// By position in topological order.
    outputs: Vec<Option<Arc<JsonMap>>>,
    /// The positions of those that wrote a key, in order.
    writers: HashMap<String, Vec<usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the state for {stage} has {bytes} bytes, and {MAX_STATE_BYTES} (64 MiB) is the limit; write large things as artifacts: {}",
    largest.iter().map(|(key, bytes)| format!("{key} has {bytes} bytes")).collect::<Vec<_>>().join(", ")
)]
pub struct StateTooLarge {
    pub stage: StageName,
    pub bytes: usize,
    /// The keys that have most of it.
    pub largest: Vec<(String, usize)>,
}

impl State {
    pub fn new(graph: &Graph, inputs: JsonMap) -> Self {
        Self {
            inputs,
            ancestors: Ancestors::of(graph),
            outputs: vec![None; graph.len()],
            writers: HashMap::new(),
        }
    }

    pub fn inputs(&self) -> &JsonMap {
        &self.inputs
    }

    pub fn ancestors(&self) -> &Ancestors {
        &self.ancestors
    }

    /// The stage has left this behind; what it left before is forgotten.
    pub fn put(&mut self, stage: usize, outputs: Arc<JsonMap>) {
        self.forget(stage);
        let position = self.ancestors.position[stage];
        for key in outputs.keys() {
            if let Some(writers) = self.writers.get_mut(key) {
                let at = writers.partition_point(|writer| *writer < position);
                writers.insert(at, position);
            } else {
                self.writers.insert(key.clone(), vec![position]);
            }
        }
        self.outputs[position] = Some(outputs);
    }

    /// The stage is to be executed again.
    pub fn forget(&mut self, stage: usize) {
        let position = self.ancestors.position[stage];
        let Some(outputs) = self.outputs[position].take() else { return };
        for key in outputs.keys() {
            if let Some(writers) = self.writers.get_mut(key) {
                writers.retain(|writer| *writer != position);
                if writers.is_empty() {
                    self.writers.remove(key);
                }
            }
        }
    }

    /// What the stage sees under a key.
    pub fn get(&self, stage: usize, key: &str) -> Option<&Json> {
        self.written(self.ancestors.position[stage], key).or_else(|| self.inputs.get(key))
    }

    fn written(&self, position: usize, key: &str) -> Option<&Json> {
        self.latest(position, key, self.writers.get(key)?)
    }

    /// Of those writers that come before `position` and are its ancestors, what the last one wrote.
    fn latest(&self, position: usize, key: &str, writers: &[usize]) -> Option<&Json> {
        let before = &writers[..writers.partition_point(|writer| *writer < position)];
        let writer = before.iter().rev().find(|writer| self.ancestors.has_position(position, **writer))?;
        self.outputs[*writer].as_ref()?.get(key)
    }

    /// Everything that the stage sees.
    pub fn visible(&self, stage: usize) -> JsonMap {
        let position = self.ancestors.position[stage];
        let mut visible = self.inputs.clone();
        for (key, writers) in &self.writers {
            if let Some(value) = self.latest(position, key, writers) {
                visible.insert(key.clone(), value.clone());
            }
        }
        visible
    }

    /// Of what the stage sees, these keys, as far as they are there.
    pub fn some<'a>(&self, stage: usize, keys: impl IntoIterator<Item = &'a str>) -> JsonMap {
        keys.into_iter().filter_map(|key| Some((key.to_owned(), self.get(stage, key)?.clone()))).collect()
    }

    /// The state behind the stage: what it sees, and what it wrote.
    pub fn after(&self, stage: usize) -> JsonMap {
        let mut state = self.visible(stage);
        if let Some(own) = &self.outputs[self.ancestors.position[stage]] {
            state.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        state
    }

    /// The state of the run as a whole: everything that any stage wrote.
    pub fn whole(&self) -> JsonMap {
        let mut state = self.inputs.clone();
        for (key, writers) in &self.writers {
            let last = writers.last().and_then(|writer| self.outputs[*writer].as_ref()?.get(key));
            state.extend(last.map(|value| (key.clone(), value.clone())));
        }
        state
    }

    /// The bytes of the file that `RESTAGE_STATE` names.
    pub fn file(&self, stage: usize, name: &StageName) -> Result<Vec<u8>, StateTooLarge> {
        let state = self.visible(stage);
        // Quotes, colon and comma of each entry; keys are not measured as escaped, which makes no difference here.
        let sizes = || state.iter().map(|(key, value)| (key, key.len() + value.text().len() + 4));
        let bytes = sizes().map(|(_, size)| size).sum();
        if bytes > MAX_STATE_BYTES {
            let mut largest: Vec<(String, usize)> = sizes().map(|(key, size)| (key.clone(), size)).collect();
            largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            largest.truncate(3);
            return Err(StateTooLarge { stage: name.clone(), bytes, largest });
        }
        let mut file = Json::of(&state).text().to_owned().into_bytes();
        file.push(b'\n');
        Ok(file)
    }
}

/// The items that a stage fans out over; the error says why there are none to be had.
pub fn items(key: &str, value: Option<&Json>) -> Result<Vec<Json>, String> {
    let Some(value) = value else {
        return Err(format!("foreach: the state has no {key}; an array is needed"));
    };
    if !value.text().starts_with('[') {
        let hint = if value.text().starts_with("\"[") {
            ", but a text that looks like one; declare the input with \"type\": \"array\", or write JSON into RESTAGE_OUTPUT"
        } else {
            ""
        };
        return Err(format!("foreach: {key} in the state is no array{hint}"));
    }
    value.read().map_err(|error| format!("foreach: {key} in the state cannot be read: {error}"))
}

/// What a stage that fanned out has written as a whole: each declared key is an array, in the order of the items.
pub fn gather(declared: &[String], items: &[JsonMap]) -> JsonMap {
    let column = |key: &String| {
        let values: Vec<Option<&Json>> = items.iter().map(|item| item.get(key)).collect();
        (key.clone(), Json::of(&values))
    };
    declared.iter().map(column).collect()
}

/// What every stage of a run would see, told by the outputs that are there: for a run that is only looked at.
pub fn of_run<'a>(
    graph: &Graph,
    inputs: JsonMap,
    outputs: impl IntoIterator<Item = (&'a StageName, &'a JsonMap)>,
) -> State {
    let by_stage: BTreeMap<usize, &JsonMap> =
        outputs.into_iter().filter_map(|(name, outputs)| Some((graph.index(name)?, outputs))).collect();
    let mut state = State::new(graph, inputs);
    for (stage, outputs) in by_stage {
        state.put(stage, Arc::new(outputs.clone()));
    }
    state
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::testing::{flow, graph, name};
    use super::*;

    fn map(text: &str) -> JsonMap {
        serde_json::from_str(text).unwrap()
    }

    fn text(map: &JsonMap) -> String {
        serde_json::to_string(map).unwrap()
    }

    #[test]
    fn a_stage_sees_its_ancestors_and_nobody_else() {
        let graph = graph(&flow("a:\n b: a\n c: a\n d: b\n e: d ?c\n v: !b"));
        let mut state = State::new(&graph, map(r#"{"q": 1, "x": {"from": "input"}}"#));
        for (stage, outputs) in [
            // The order in which they end makes no difference.
            (2, r#"{"only_c": [ 1,2 ]}"#),
            (0, r#"{"x": {"from": "a", "deep": {"z": 1, "a": 2}}, "y": 1}"#),
            (3, r#"{"x": {"from": "d"}}"#),
            (1, r#"{"x": {"from": "b"}}"#),
            (5, r#"{"ok": true}"#),
        ] {
            state.put(stage, Arc::new(map(outputs)));
        }
        assert_eq!(text(&state.visible(0)), r#"{"q":1,"x":{"from":"input"}}"#);
        assert_eq!(text(&state.visible(2)), r#"{"q":1,"x":{"from":"a","deep":{"z":1,"a":2}},"y":1}"#);
        assert_eq!(text(&state.visible(3)), r#"{"ok":true,"q":1,"x":{"from":"b"},"y":1}"#);
        assert_eq!(text(&state.after(1)), r#"{"q":1,"x":{"from":"b"},"y":1}"#);
        let all = r#"{"ok":true,"only_c":[1,2],"q":1,"x":{"from":"d"},"y":1}"#;
        assert_eq!(text(&state.visible(4)), all);
        assert_eq!(text(&state.whole()), all);
        assert_eq!(state.file(4, &name("e")).unwrap(), format!("{all}\n").into_bytes());
        assert_eq!(text(&state.some(4, ["y", "nothing", "q"])), r#"{"q":1,"y":1}"#);
        state.forget(3);
        assert_eq!(text(&state.visible(4)), all.replace(r#""d""#, r#""b""#));
        assert_eq!(state.get(4, "x").unwrap().text(), r#"{"from":"b"}"#);
        assert!(state.ancestors().has(4, 0) && !state.ancestors().has(3, 2) && !state.ancestors().has(0, 0));
    }

    #[test]
    fn a_state_over_the_limit_names_what_is_large() {
        let graph = graph(&flow("a:\n b: a"));
        let mut state = State::new(&graph, map(r#"{"small": 1}"#));
        let large = Json::string(&"x".repeat(MAX_STATE_BYTES));
        state.put(0, Arc::new(JsonMap::from([("film".into(), large)])));
        let told = state.file(1, &name("b")).unwrap_err().to_string();
        assert_eq!(
            told,
            "the state for b has 67108884 bytes, and 67108864 (64 MiB) is the limit; write large things as artifacts: \
             film has 67108874 bytes, small has 10 bytes"
        );
        assert!(state.file(0, &name("a")).is_ok());
    }

    #[test]
    fn results_of_items_are_gathered_in_order() {
        let declared = ["url".to_owned(), "size".to_owned()];
        let items_done = [map(r#"{"url": "u0", "size": 1e400}"#), map(r#"{"size": {"w":1}, "url": "u1"}"#)];
        assert_eq!(text(&gather(&declared, &items_done)), r#"{"size":[1e400,{"w":1}],"url":["u0","u1"]}"#);
        assert_eq!(text(&gather(&declared, &[])), r#"{"size":[],"url":[]}"#);

        let list = Json::parse("[1, {\"a\": [2]}, \"x\"]").unwrap();
        let items_given = items("scenes", Some(&list)).unwrap();
        assert_eq!(items_given.iter().map(Json::text).collect::<Vec<_>>(), ["1", "{\"a\":[2]}", "\"x\""]);
        assert_eq!(items("s", None).unwrap_err(), "foreach: the state has no s; an array is needed");
        assert_eq!(items("s", Some(&Json::of(&1))).unwrap_err(), "foreach: s in the state is no array");
        let text = items("s", Some(&Json::string("[1]"))).unwrap_err();
        assert!(
            text.starts_with("foreach: s in the state is no array, but a text that looks like one; "),
            "{text}"
        );
    }

    /// Generous: it is to tell a run that is quadratic in practice from one that is not, in a debug build.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test of speed reads the clock")]
    fn ten_thousand_stages_in_a_row_are_no_burden() {
        const STAGES: usize = 10_000;
        let lines: Vec<String> =
            (0..STAGES).map(|n| if n == 0 { "s0:".into() } else { format!("s{n}: s{}", n - 1) }).collect();
        let graph = graph(&flow(&lines.join("\n")));
        let start = Instant::now();
        let mut state = State::new(&graph, map(r#"{"q": 1}"#));
        for stage in 0..STAGES {
            let seen = state.visible(stage);
            let before = (stage > 0).then(|| (stage - 1).to_string());
            assert_eq!(seen.get("last").map(|value| value.text().to_owned()), before);
            state.put(stage, Arc::new(map(&format!(r#"{{"last": {stage}}}"#))));
        }
        println!("a chain of {STAGES}: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        /// The definition, word by word: ancestors in topological order, one over the other.
        #[test]
        fn it_is_what_merging_gives(
            edges in prop::collection::vec((0..90_usize, 0..90_usize), 0..150),
            writes in prop::collection::vec((0..90_usize, 0..6_u8), 0..120),
        ) {
            // Backwards in the file, so that place and position differ.
            let line = |n: usize| {
                let needs: Vec<String> =
                    edges.iter().filter(|(from, to)| *from == n && to > from).map(|(_, to)| format!("s{to}")).collect();
                format!("s{n}: {}", needs.join(" "))
            };
            let graph = graph(&flow(&(0..90).map(line).collect::<Vec<_>>().join("\n")));
            let mut state = State::new(&graph, map(r#"{"k0": "input", "k9": 9}"#));
            let mut outputs = vec![JsonMap::new(); 90];
            for (stage, key) in writes {
                outputs[stage].insert(format!("k{key}"), Json::of(&stage));
                state.put(stage, Arc::new(outputs[stage].clone()));
            }
            for stage in 0..90 {
                let mut merged = state.inputs().clone();
                let ancestors = graph.ancestors(&[stage]);
                for ancestor in &ancestors {
                    prop_assert!(state.ancestors().has(stage, *ancestor));
                    merged.extend(outputs[*ancestor].clone());
                }
                prop_assert_eq!(state.visible(stage), merged);
            }
        }
    }
}
