//! A flow and its stages, key by key, as text. What of a stage's retries counts stands under the long names of its flow.

use std::collections::BTreeMap;

use super::{command, files, limits, names, none, off, path, seconds, stdio};
use crate::domain::flow::ids::StageName;
use crate::domain::flow::spec::{Approve, Concurrency, FlowSpec, InputKind, InputSpec, StageSpec};
use crate::domain::verdict::signal_name;

/// In the order of the key table.
pub fn of_flow(flow: &FlowSpec) -> Vec<(&'static str, String)> {
    let s = if flow.stages.len() == 1 { "" } else { "s" };
    let concurrency = match flow.concurrency {
        Concurrency::Allow => "allow",
        Concurrency::Queue => "queue",
        Concurrency::Refuse => "refuse",
    };
    vec![
        ("stages", format!("{} stage{s}", flow.stages.len())),
        ("inputs", inputs(&flow.inputs)),
        ("timeout_seconds", flow.timeout.map_or_else(off, seconds)),
        ("max_parallel", flow.max_parallel.map_or_else(|| "no limit".into(), |most| most.to_string())),
        ("concurrency", concurrency.into()),
        ("max_retry_depth", flow.max_retry_depth.to_string()),
        ("max_retries_per_checkpoint", flow.max_retries_per_checkpoint.to_string()),
        ("keep_failed_days", (flow.keep_failed.as_secs_f64() / 86_400.0).to_string()),
        ("on_success", flow.on_success.as_ref().map_or_else(off, command)),
        ("on_failure", flow.on_failure.as_ref().map_or_else(off, command)),
        ("hook_timeout_seconds", flow.hook_timeout.map_or_else(off, seconds)),
        ("env", names(&flow.env)),
    ]
}

/// In the order of the key table.
pub fn of_stage(stage: &StageSpec) -> Vec<(&'static str, String)> {
    let foreach = stage.foreach.as_ref().map_or_else(off, |foreach| match foreach.max_parallel {
        Some(most) => format!("{}, {most} at once", foreach.key),
        None => foreach.key.clone(),
    });
    let umask = stage.umask.map_or_else(|| "inherited".into(), |mask| format!("{mask:03o}"));
    let approve = if stage.approve == Approve::Manual { "manual" } else { "auto" };
    let retry = &stage.retry;
    vec![
        ("command", command(&stage.command)),
        ("cwd", path(&stage.cwd)),
        ("needs", stages(&stage.needs)),
        ("optional_needs", stages(&stage.optional_needs)),
        ("validates", stage.validates.as_ref().map_or_else(none, ToString::to_string)),
        (
            "requires",
            list(&stage.requires, if stage.reads_nothing { "nothing" } else { "whatever is there" }),
        ),
        ("outputs", list(&stage.outputs, "none")),
        ("artifacts", list(&stage.artifacts, "none")),
        ("when", stage.when.as_ref().map_or_else(|| "always".into(), ToString::to_string)),
        ("foreach", foreach),
        ("approve", approve.into()),
        ("retry_count", retry.count.to_string()),
        ("retry_backoff_seconds", seconds(retry.backoff.base)),
        ("retry_backoff_multiplier", retry.backoff.multiplier.to_string()),
        ("retry_max_backoff_seconds", seconds(retry.backoff.cap)),
        ("retry_jitter", super::jitter(retry.backoff.jitter).into()),
        ("timeout_seconds", stage.timeout.map_or_else(off, seconds)),
        ("activity_timeout_seconds", stage.activity_timeout.map_or_else(off, seconds)),
        ("degraded_exit_codes", super::codes(&stage.degraded_exit_codes)),
        ("allow_degraded", stage.allow_degraded.to_string()),
        ("stop_signal", signal_name(stage.stop.signal)),
        ("stop_grace_seconds", seconds(stage.stop.grace)),
        ("stop_command", stage.stop.command.as_ref().map_or_else(off, command)),
        ("log_max_bytes", stage.log_max_bytes.map_or_else(off, |bytes| bytes.to_string())),
        ("stdio", stdio(stage.stdio).into()),
        ("env", names(&stage.env)),
        ("env_file", files(&stage.env_files)),
        ("umask", umask),
        ("limits", limits(&stage.limits)),
    ]
}

fn stages(names: &[StageName]) -> String {
    if names.is_empty() {
        return none();
    }
    names.iter().map(StageName::as_str).collect::<Vec<_>>().join(", ")
}

fn list(texts: &[String], nothing: &str) -> String {
    if texts.is_empty() { nothing.to_owned() } else { texts.join(", ") }
}

/// `question (string, required), fps (number, 24)`
fn inputs(inputs: &BTreeMap<String, InputSpec>) -> String {
    let one = |(name, input): (&String, &InputSpec)| {
        let kind = match input.kind {
            InputKind::Any => None,
            InputKind::String => Some("string"),
            InputKind::Number => Some("number"),
            InputKind::Integer => Some("integer"),
            InputKind::Boolean => Some("boolean"),
            InputKind::Object => Some("object"),
            InputKind::Array => Some("array"),
        };
        let required = input.required.then(|| "required".to_owned());
        let default = input.default.as_ref().map(|value| format!("else {value}"));
        let facts: Vec<String> = kind.map(str::to_owned).into_iter().chain(required).chain(default).collect();
        if facts.is_empty() { name.clone() } else { format!("{name} ({})", facts.join(", ")) }
    };
    if inputs.is_empty() { none() } else { inputs.iter().map(one).collect::<Vec<_>>().join(", ") }
}
