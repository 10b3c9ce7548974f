//! What is compared, and never looked at: hashes of what a stage left behind, of what it was made from, and of a flow's
//! definition.
//!
//! The input of a stage is a Merkle chain: each stage hashes its own outputs with the hashes of what comes directly before
//! it, once for data and once for artifacts. So all of them together cost as much as there are edges, and still a change
//! anywhere above is seen everywhere below.

use std::collections::BTreeMap;

use super::graph::Graph;
use super::ids::{Hash, StageName};
use super::record::Artifact;
use super::spec::{EnvValue, FlowSpec};
use crate::domain::json::{Json, JsonMap};

/// Of a canonical map: keys in order, values without white space.
pub fn outputs(outputs: &JsonMap) -> Hash {
    let entries = outputs.iter().flat_map(|(key, value)| [key.as_bytes(), value.text().as_bytes()]);
    Hash::of(["outputs".as_bytes()].into_iter().chain(entries))
}

/// Of names, contents and whether they can be executed, in whatever order they are listed.
pub fn manifest(artifacts: &[Artifact]) -> Hash {
    let mut sorted: Vec<&Artifact> = artifacts.iter().collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let entries = sorted.into_iter().flat_map(|artifact| {
        let executable: &[u8] = if artifact.executable { b"x" } else { b"-" };
        [artifact.name.as_bytes(), artifact.hash.as_ref(), executable]
    });
    Hash::of(["manifest".as_bytes()].into_iter().chain(entries))
}

/// What is approved: these outputs and these artifacts.
pub fn checkpoint(map: &JsonMap, artifacts: &[Artifact]) -> Hash {
    Hash::of(["checkpoint".as_bytes(), outputs(map).as_ref(), manifest(artifacts).as_ref()])
}

pub fn value(value: &Json) -> Hash {
    Hash::of([value.text()])
}

/// Of what an attempt is at, whichever attempt it is: what it is made from, the item, and what a person said of the last
/// result. Not of how it is made: who mends a script goes on with the same work.
pub fn work(input: Option<&Hash>, item: Option<&Json>, feedback: Option<&str>) -> Hash {
    let item = item.map_or("", Json::text);
    Hash::of(["work", input.map_or("", Hash::as_str), item, feedback.unwrap_or_default()])
}

/// The flow as a run keeps it, and its hash; of secrets, what [`recorded`] leaves. The error: a path is no text.
pub fn definition(flow: &FlowSpec) -> Result<(String, Hash), serde_json::Error> {
    let mut flow = flow.clone();
    let stages = flow.stages.iter_mut().map(|stage| &mut stage.env);
    for value in stages.chain([&mut flow.env]).flat_map(BTreeMap::values_mut) {
        *value = recorded(value);
    }
    let text = serde_json::to_string(&flow)?;
    let hash = Hash::of([&text]);
    Ok((text, hash))
}

/// A value of the environment as records have it.
pub fn recorded(value: &EnvValue) -> EnvValue {
    match value {
        EnvValue::Secret(secret) => EnvValue::Hashed(Hash::of(["secret", secret])),
        EnvValue::Plain(_) | EnvValue::Hashed(_) => value.clone(),
    }
}

/// How a stage ended, as far as those after it are concerned.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    Good { outputs: &'a Hash, manifest: &'a Hash },
    Skipped,
}

/// A key of the state, and the hash of what is there.
pub type Required<'a> = (&'a str, Option<Hash>);

/// The hashes of one run, filled in topological order.
#[derive(Debug, Clone)]
pub struct Chain {
    inputs: Digest,
    data: Vec<Option<Digest>>,
    artifacts: Vec<Option<Digest>>,
    /// What comes directly before each stage, by name: the order in which needs are written down must not matter.
    upstream: Vec<usize>,
    /// Where the list of each stage begins, and at last the end.
    starts: Vec<usize>,
}

type Digest = [u8; 32];

impl Chain {
    pub fn new(graph: &Graph, given: &JsonMap) -> Self {
        let mut starts = vec![0];
        for stage in 0..graph.len() {
            starts.push(starts[stage] + graph.upstream(stage).len());
        }
        let mut names: Vec<usize> = (0..graph.len()).collect();
        names.sort_unstable_by(|a, b| StageName::cmp(graph.name(*a), graph.name(*b)));
        let mut free = starts.clone();
        let mut upstream = vec![0; graph.edges()];
        for stage in names {
            for after in graph.downstream(stage) {
                upstream[free[*after]] = stage;
                free[*after] += 1;
            }
        }
        Self {
            inputs: digest([outputs(given)]),
            data: vec![None; graph.len()],
            artifacts: vec![None; graph.len()],
            upstream,
            starts,
        }
    }

    fn upstream(&self, stage: usize) -> &[usize] {
        &self.upstream[self.starts[stage]..self.starts[stage + 1]]
    }

    /// False: something before it has not ended, so nothing can be said.
    pub fn fill(&mut self, graph: &Graph, stage: usize, ended: Ended<'_>) -> bool {
        let (outputs, manifest) = match ended {
            Ended::Good { outputs, manifest } => (outputs.as_ref(), manifest.as_ref()),
            Ended::Skipped => (b"skipped".as_slice(), b"skipped".as_slice()),
        };
        let link = |chain: &[Option<Digest>], own: &[u8]| {
            let mut parts: Vec<&[u8]> = vec![graph.name(stage).as_str().as_bytes(), own];
            for before in self.upstream(stage) {
                parts.push(chain[*before].as_ref()?);
            }
            Some(digest(parts))
        };
        let (data, artifacts) = (link(&self.data, outputs), link(&self.artifacts, manifest));
        let filled = data.is_some() && artifacts.is_some();
        self.data[stage] = data;
        self.artifacts[stage] = artifacts;
        filled
    }

    /// The stage is executed again, or was never filled.
    pub fn forget(&mut self, stage: usize) {
        self.data[stage] = None;
        self.artifacts[stage] = None;
    }

    /// What the stage is made from. One that does not say what it requires may read any of the state, so all of it
    /// counts; otherwise the values in `required` do, and the artifacts of its ancestors in any case.
    /// `None`: something before it has not ended.
    pub fn input(&self, graph: &Graph, stage: usize, required: Option<&[Required<'_>]>) -> Option<Hash> {
        let upstream = self.upstream(stage);
        let keys = required.map_or(0, <[_]>::len);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 + 3 * upstream.len() + 2 * keys);
        if let Some(required) = required {
            parts.push(b"required");
            for (key, value) in required {
                parts.extend([key.as_bytes(), value.as_ref().map_or(b"absent".as_slice(), AsRef::as_ref)]);
            }
        } else {
            parts.extend([b"any".as_slice(), &self.inputs]);
            for before in upstream {
                parts.push(self.data[*before].as_ref()?);
            }
        }
        for before in upstream {
            parts.extend([graph.name(*before).as_str().as_bytes(), self.artifacts[*before].as_ref()?]);
        }
        Some(Hash::of(parts))
    }

    /// The same by the keys of the state that are read, `None` where it may be any, and the hash of what is there.
    pub fn made_from<'k>(
        &self,
        graph: &Graph,
        stage: usize,
        keys: Option<Vec<&'k str>>,
        mut hash: impl FnMut(&str) -> Option<Hash>,
    ) -> Option<Hash> {
        let required: Option<Vec<Required<'k>>> =
            keys.map(|keys| keys.into_iter().map(|key| (key, hash(key))).collect());
        self.input(graph, stage, required.as_deref())
    }
}

/// [`Hash::of`], for what is only passed on.
fn digest<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        let part = part.as_ref();
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{flow, graph};
    use super::*;

    fn map(text: &str) -> JsonMap {
        serde_json::from_str(text).unwrap()
    }

    fn artifact(name: &str, bytes: &str, executable: bool) -> Artifact {
        Artifact { name: name.into(), hash: Hash::of([bytes]), size: bytes.len() as u64, executable }
    }

    #[test]
    fn a_checkpoint_is_its_outputs_and_its_files() {
        let base = checkpoint(
            &map(r#"{"a": 1, "b": [1, 2]}"#),
            &[artifact("x", "1", false), artifact("y", "2", false)],
        );
        let same =
            checkpoint(&map(r#"{"b":[1,2],"a":1}"#), &[artifact("y", "2", false), artifact("x", "1", false)]);
        assert_eq!(base, same);
        for (outputs, artifacts) in [
            (r#"{"a": 1, "b": [2, 1]}"#, vec![artifact("x", "1", false), artifact("y", "2", false)]),
            (r#"{"a": 1}"#, vec![artifact("x", "1", false), artifact("y", "2", false)]),
            (r#"{"a": 1, "b": [1, 2]}"#, vec![artifact("x", "2", false), artifact("y", "1", false)]),
            (r#"{"a": 1, "b": [1, 2]}"#, vec![artifact("x", "1", true), artifact("y", "2", false)]),
            (r#"{"a": 1, "b": [1, 2]}"#, vec![artifact("x", "1", false)]),
        ] {
            assert_ne!(base, checkpoint(&map(outputs), &artifacts), "{outputs} {artifacts:?}");
        }
        assert_ne!(outputs(&map(r#"{"a": "b"}"#)), outputs(&map(r#"{"b": "a"}"#)));
    }

    /// What each stage left behind, by place in the file; `None` was skipped.
    fn chain(graph: &Graph, inputs: &str, left: &[Option<(&str, &str)>]) -> Chain {
        let mut chain = Chain::new(graph, &map(inputs));
        for stage in graph.order() {
            let filled = match left[*stage] {
                Some((outputs_of, file)) => {
                    let (outputs, manifest) =
                        (outputs(&map(outputs_of)), manifest(&[artifact("f", file, false)]));
                    chain.fill(graph, *stage, Ended::Good { outputs: &outputs, manifest: &manifest })
                }
                None => chain.fill(graph, *stage, Ended::Skipped),
            };
            assert!(filled);
        }
        chain
    }

    #[test]
    fn a_change_anywhere_above_is_seen_and_one_beside_is_not() {
        let graph = graph(&flow("a:\n b: a\n c: b\n d: a"));
        let left = [Some((r#"{"x": 1}"#, "f")), Some(("{}", "f")), Some(("{}", "f")), Some(("{}", "f"))];
        let base = chain(&graph, r#"{"q": 1}"#, &left);
        let changed = |at: usize, to| {
            let mut left = left;
            left[at] = to;
            let other = chain(&graph, r#"{"q": 1}"#, &left);
            let input = |chain: &Chain, stage| chain.input(&graph, stage, None).unwrap();
            (0..4).filter(|stage| input(&base, *stage) != input(&other, *stage)).collect::<Vec<_>>()
        };
        assert_eq!(changed(0, Some((r#"{"x": 2}"#, "f"))), [1, 2, 3]);
        assert_eq!(changed(0, Some((r#"{"x": 1}"#, "g"))), [1, 2, 3]);
        assert_eq!(changed(1, Some((r#"{"y": 1}"#, "f"))), [2]);
        assert_eq!(changed(1, None), [2]);
        assert_eq!(changed(2, Some(("{}", "g"))), [] as [usize; 0]);
        let other = chain(&graph, r#"{"q": 2}"#, &left);
        assert!((0..4).all(|stage| base.input(&graph, stage, None) != other.input(&graph, stage, None)));
    }

    #[test]
    fn one_that_says_what_it_requires_is_concerned_by_that_and_by_artifacts() {
        let graph = graph(&flow("a:\n b: a"));
        let base = chain(&graph, r#"{"q": 1}"#, &[Some((r#"{"x": 1}"#, "f")), Some(("{}", "f"))]);
        let other = chain(&graph, r#"{"q": 2}"#, &[Some((r#"{"x": 2}"#, "f")), Some(("{}", "f"))]);
        let file = chain(&graph, r#"{"q": 1}"#, &[Some((r#"{"x": 1}"#, "g")), Some(("{}", "f"))]);
        let one = Some(value(&Json::of(&1)));
        let required = [("x", one.clone())];
        assert_eq!(base.input(&graph, 1, Some(&required)), other.input(&graph, 1, Some(&required)));
        assert_ne!(base.input(&graph, 1, Some(&required)), file.input(&graph, 1, Some(&required)));
        // One that reads nothing is concerned by artifacts only.
        assert_eq!(base.input(&graph, 1, Some(&[])), other.input(&graph, 1, Some(&[])));
        assert_ne!(base.input(&graph, 1, Some(&[])), file.input(&graph, 1, Some(&[])));
        assert_ne!(base.input(&graph, 1, Some(&[])), base.input(&graph, 1, None));
        for other in [("x", None), ("y", one), ("x", Some(value(&Json::of(&2))))] {
            assert_ne!(base.input(&graph, 1, Some(&required)), base.input(&graph, 1, Some(&[other])));
        }
    }

    #[test]
    fn neither_the_order_of_needs_nor_that_of_the_file_matters() {
        let left = Some(("{}", "f"));
        let input = |text: &str| {
            let graph = graph(&flow(text));
            let stage = graph.index(&StageName::trusted("c")).unwrap();
            chain(&graph, "{}", &[left; 3]).input(&graph, stage, None)
        };
        assert_eq!(input("a:\n b:\n c: a b"), input("c: b a\n b:\n a:"));
    }

    #[test]
    fn nothing_is_said_of_what_has_not_ended() {
        let graph = graph(&flow("a:\n b: a\n c: b"));
        let hash = Hash::of(["x"]);
        let mut chain = Chain::new(&graph, &JsonMap::new());
        assert!(!chain.fill(&graph, 1, Ended::Good { outputs: &hash, manifest: &hash }));
        assert_eq!((chain.input(&graph, 1, None), chain.input(&graph, 2, None)), (None, None));
        assert_eq!(chain.input(&graph, 1, Some(&[("x", None)])), None);
        assert!(chain.fill(&graph, 0, Ended::Skipped) && chain.input(&graph, 1, None).is_some());
        chain.forget(0);
        assert_eq!(chain.input(&graph, 1, None), None);
    }

    #[test]
    fn a_definition_can_be_read_again() {
        let mut flow = flow("a: >x @*.png\n b: a <x when:x manual\n v: !b ?a");
        let (text, hash) = definition(&flow).unwrap();
        assert_eq!(serde_json::from_str::<FlowSpec>(&text).unwrap(), flow);

        flow.stages[0].env.insert("TOKEN".into(), EnvValue::Secret("hush".into()));
        flow.env.insert("API_KEY".into(), EnvValue::Secret("hush, too".into()));
        let (text, with_secret) = definition(&flow).unwrap();
        assert!(!text.contains("hush") && with_secret != hash, "{text}");
        let read: FlowSpec = serde_json::from_str(&text).unwrap();
        assert_eq!(definition(&read).unwrap(), (text, with_secret.clone()));
        flow.stages[0].env.insert("TOKEN".into(), EnvValue::Secret("hush!".into()));
        assert_ne!(definition(&flow).unwrap().1, with_secret);
    }
}
