//! What every store has to do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::flow::change::RecipeRecord;
use crate::domain::flow::record::{Branch, CheckpointRef, HookRecord, ItemCount, RunFilter};
use crate::domain::flow::status::Hook;
use crate::ports::store::{Adopter, FailingStage, Held, MAX_STATE_BYTES, StoreError};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;

/// Each for both stores.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            use super::*;
            $(#[test] fn $name() { super::$name(&mut MemoryStore::new()); })+
        }

        mod sqlite {
            use super::*;
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&mut SqliteStore::open(&dir.path().join(".restage/history.db")).unwrap());
            })+
        }
    };
}

mod bases;
mod deletion;
mod lists;
mod people;
mod runs;
mod sizes;
mod stages;
