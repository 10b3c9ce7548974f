//! Names and numbers of flows that must not be mixed up.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::ids::RunnerName;

/// By names of which there may be ten thousand, looked up once for each edge.
pub type NameMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A name as a person may choose it, by the rules for runners; the error is what is wrong with it.
            pub fn parse(name: &str) -> Result<Self, String> {
                RunnerName::parse(name).map(|name| Self(name.into()))
            }

            /// A name that comes from our own records, or is made by us.
            pub fn trusted(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a flow.
    FlowName
);
name!(
    /// The name of a stage within its flow; safe as a file name.
    StageName
);
name!(
    /// The name of a branch within its lineage.
    BranchName
);
name!(
    /// One execution of a flow: `video-12`.
    RunId
);

impl BranchName {
    pub fn main() -> Self {
        Self::trusted("main")
    }
}

impl RunId {
    pub fn new(flow: &FlowName, number: u64) -> Self {
        Self::trusted(format!("{flow}-{number}"))
    }

    /// The runner that a stage of this run is executed as, or one item of a stage that fans out. No runner of a config
    /// can have a name with a `/`.
    pub fn guest(&self, stage: &StageName, item: Option<u32>) -> RunnerName {
        RunnerName::trusted(match item {
            None => format!("{self}/{stage}"),
            Some(item) => format!("{self}/{stage}/{item}"),
        })
    }
}

/// What a stage, or the command after a run, may be told. Who has not been told a thing must not hear it from a stage that
/// restage itself was started in.
pub const TOLD_TO_GUESTS: [&str; 16] = [
    "RESTAGE_STATE",
    "RESTAGE_INPUTS",
    "RESTAGE_OUTPUT",
    "RESTAGE_ARTIFACTS",
    "RESTAGE_RUN_ID",
    "RESTAGE_STAGE",
    "RESTAGE_PARENT_RUN_ID",
    "RESTAGE_RETRY_FROM",
    "RESTAGE_PREVIOUS",
    "RESTAGE_FEEDBACK",
    "RESTAGE_FEEDBACK_FILE",
    "RESTAGE_IDEMPOTENCY_KEY",
    "RESTAGE_ITEM",
    "RESTAGE_ITEM_INDEX",
    "RESTAGE_RUN_STATUS",
    "RESTAGE_RUN_ERROR",
];

/// What a guest's name says: whose stage it is.
pub fn parse_guest(name: &RunnerName) -> Option<(RunId, StageName, Option<u32>)> {
    let mut parts = name.as_str().split('/');
    let run = RunId::trusted(parts.next()?);
    let stage = StageName::trusted(parts.next()?);
    let item = match parts.next() {
        None => None,
        Some(item) => Some(item.parse().ok()?),
    };
    parts.next().is_none().then_some((run, stage, item))
}

/// `storyboard@2`: what the second version of a stage left behind, counted over the lineage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId {
    pub stage: StageName,
    pub version: u32,
}

impl CheckpointId {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no checkpoint; one is named STAGE@VERSION, as in storyboard@2");
        let (stage, version) = text.rsplit_once('@').ok_or_else(wrong)?;
        let version = version.parse().ok().filter(|version| *version > 0).ok_or_else(wrong)?;
        Ok(Self { stage: StageName::parse(stage).map_err(|_| wrong())?, version })
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.stage, self.version)
    }
}

impl Serialize for CheckpointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckpointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// blake3, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(Arc<str>);

impl Hash {
    /// Of several parts, none of which can be mistaken for another.
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            let part = part.as_ref();
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self::from(hasher.finalize())
    }

    pub fn trusted(hex: impl Into<Arc<str>>) -> Self {
        Self(hex.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of these bytes in a store of objects; they lie in it under their hash.
    pub fn folder_in(&self, root: &Path) -> PathBuf {
        root.join(self.0.get(..2).unwrap_or("00"))
    }

    pub fn path_in(&self, root: &Path) -> PathBuf {
        self.folder_in(root).join(&*self.0)
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.to_hex().as_str().into())
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_tells_whose_it_is() {
        let run = RunId::new(&FlowName::trusted("video"), 12);
        let stage = StageName::trusted("render");
        for item in [None, Some(3)] {
            let name = run.guest(&stage, item);
            assert_eq!(parse_guest(&name), Some((run.clone(), stage.clone(), item)));
        }
        assert_eq!(parse_guest(&RunnerName::trusted("agent")), None);
        assert_eq!(parse_guest(&RunnerName::trusted("a/b/c/d")), None);
    }

    #[test]
    fn a_checkpoint_is_named_by_stage_and_version() {
        let id = CheckpointId::parse("storyboard@2").unwrap();
        assert_eq!((id.stage.as_str(), id.version), ("storyboard", 2));
        assert_eq!(id.to_string(), "storyboard@2");
        for wrong in ["storyboard", "@2", "a@0", "a@x", "a b@1"] {
            assert!(CheckpointId::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_of_a_hash_are_not_mixed_up() {
        assert_ne!(Hash::of(["ab", "c"]), Hash::of(["a", "bc"]));
        assert_eq!(Hash::of(["a"]).as_str().len(), 64);
    }
}
