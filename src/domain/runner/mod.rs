//! The runner as a machine: `step(spec, runner, event, context) -> (runner, effects)`.
pub mod state;
