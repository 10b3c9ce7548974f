//! What the last supervisor of a workspace has recorded, for verbs that only want to know, while nobody supervises.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings;
use super::workspace::Workspace;
use crate::config::Missing;
use crate::domain::ids::RunnerName;
use crate::domain::runner::state::RunnerState;
use crate::domain::view::RunnerView;
use crate::frontend::recorded::view;
use crate::supervisor::journal::{Identity, peek};

/// In the order of the config, as far as that can be read; `None` where nothing was ever recorded.
pub fn read(workspace: &Workspace) -> Option<Vec<Arc<RunnerView>>> {
    let config = settings::read(workspace, Missing::Warning).ok().map(|loaded| loaded.spec);
    let state_dir = config.as_ref().and_then(|spec| spec.cache_dir.as_deref());
    let state_dir = workspace.places(state_dir).state_dir;
    let peeked = peek(&state_dir, &workspace.root, &Identity::current().ok()?).ok()?;
    if !peeked.found {
        return None;
    }
    // What is known of stages stands in the history of runs.
    let runners = peeked.states.into_iter().filter(|state| !state.runner_id.is_guest());
    let mut states: BTreeMap<RunnerName, RunnerState> =
        runners.map(|state| (state.runner_id.clone(), state)).collect();
    let mut views = Vec::with_capacity(states.len());
    for spec in config.iter().flat_map(|spec| &spec.runners) {
        // What was added to the config since then has no record, and is shown as what it is: never started.
        let state = states.remove(&spec.name).unwrap_or_else(|| RunnerState {
            max_retries: spec.retry.max_retries,
            ..RunnerState::new(spec.name.clone())
        });
        views.push(view(&state, spec.group.clone()));
    }
    views.extend(states.values().map(|state| view(state, None)));
    Some(views.into_iter().map(Arc::new).collect())
}
