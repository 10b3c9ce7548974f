//! Flows: stages inherit from their flow and from the file, values are filled in and compared. What names of stages and
//! keys mean to one another is looked at in `links`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::World;
use super::{Lowering, Needed, links, pick, value};
use crate::config::expand::Scope;
use crate::config::raw::{self, RawFlow, RawInput, RawStage, RawStageRetry, StageKeys};
use crate::config::read::At;
use crate::domain::flow::ids::StageName;
use crate::domain::flow::spec::{
    Approve, Concurrency, EnvValue, FlowSpec, Foreach, InputSpec, StageRetry, StageSpec, hook_timeout,
    looks_secret,
};
use crate::domain::spec::{Backoff, Jitter, Stdio};

const DAY: f64 = 86_400.0;
const BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_mins(5);

/// What some stage of a flow says of its retries.
#[derive(Default)]
struct Retries {
    unclear: bool,
    counted: bool,
    enabled: bool,
}

impl Retries {
    fn add(&mut self, retry: &RawStageRetry) {
        self.unclear |= retry.unclear;
        self.counted |= retry.count.is_some();
        self.enabled |= retry.enabled.as_ref().is_some_and(|at| at.value);
    }
}

impl Lowering<'_, '_> {
    pub(super) fn flow(
        &mut self,
        raw: &RawFlow<'_>,
        file_env: &BTreeMap<String, String>,
    ) -> Option<FlowSpec> {
        let outer = Scope { env: self.env, own: None };
        let mut env = file_env.clone();
        env.extend(self.env(raw.env.as_ref(), outer));
        let root = self.root;
        let world = World {
            scope: Scope { env: self.env, own: Some(&env) },
            cwd: Some(root),
            vague_path: false,
            made_later: true,
        };
        let mut hook = |at: &Option<At<Option<_>>>| {
            let raw = at.as_ref().and_then(|at| at.value.as_ref());
            raw.and_then(|raw| self.command(raw, &world))
        };
        let (on_success, on_failure) = (hook(&raw.on_success), hook(&raw.on_failure));
        // Every stage is looked at, also behind a bad one.
        let mut stages = Vec::with_capacity(raw.stages.len());
        let mut bad = false;
        let mut links = Vec::with_capacity(raw.stages.len());
        let mut keys = StageKeys::default();
        let mut retries = Retries::default();
        for item in raw.stages {
            let Some(stage) = raw::stage(self.reader, item, &mut keys) else { continue };
            match self.stage(raw, &stage, &env) {
                Some(stage) => stages.push(stage),
                None => bad = true,
            }
            retries.add(&stage.retry);
            links.push(stage.links);
        }
        self.stage_keys.push(keys);
        self.flow_retry(&raw.retry, &retries);
        links::check(self.reader, raw, &links);
        if bad {
            return None;
        }
        let days = value(raw.keep_failed_days.as_ref(), 7.0);
        Some(FlowSpec {
            name: raw.name.clone(),
            stages,
            inputs: raw.inputs.iter().map(|(name, input)| (name.clone(), lower_input(input))).collect(),
            timeout: value(raw.timeout.as_ref(), None),
            max_parallel: raw.max_parallel.as_ref().map(|at| at.value),
            max_retry_depth: value(raw.max_retry_depth.as_ref(), 10),
            max_retries_per_checkpoint: value(raw.max_retries_per_checkpoint.as_ref(), 5),
            keep_failed: Duration::try_from_secs_f64(days * DAY).unwrap_or_default(),
            on_success,
            on_failure,
            hook_timeout: value(raw.hook_timeout.as_ref(), hook_timeout()),
            concurrency: value(raw.concurrency.as_ref(), Concurrency::Allow),
            env: sealed(env),
            root: root.to_owned(),
        })
    }

    fn stage(
        &mut self,
        flow: &RawFlow<'_>,
        raw: &RawStage,
        flow_env: &BTreeMap<String, String>,
    ) -> Option<StageSpec> {
        let (own, file, links) = (&raw.common, &self.file.common, &raw.links);
        let mut env = flow_env.clone();
        env.extend(self.env(own.env.as_ref(), Scope { env: self.env, own: None }));
        let scope = Scope { env: self.env, own: Some(&env) };
        let (cwd, entered) = self.cwd(raw.cwd.as_ref(), scope, Needed::AtItsStart);
        let env_files = self.env_files(own, scope, Needed::AtItsStart);
        let world = World {
            scope,
            cwd: cwd.as_deref().filter(|_| entered),
            vague_path: !env_files.is_empty(),
            made_later: true,
        };
        let command = raw.command.as_ref().and_then(|at| self.command(&at.value, &world));
        let stop = self.stop(own, &world);
        let retry = self.stage_retry(&raw.retry, &flow.retry);
        let names = |list: &[At<StageName>]| list.iter().map(|at| at.value.clone()).collect::<Vec<_>>();
        let keys = |list: &[At<String>]| list.iter().map(|at| at.value.clone()).collect::<Vec<_>>();
        let optional_needs = names(&links.optional_needs);
        Some(StageSpec {
            name: links.name.value.clone(),
            command: command?,
            cwd: cwd?,
            env_files,
            stdio: pick(own.stdio.as_ref(), file.stdio.as_ref(), Stdio::Auto),
            umask: own.umask.as_ref().or(file.umask.as_ref()).map(|at| at.value),
            limits: self.limits(own),
            stop,
            log_max_bytes: pick(own.log_max_bytes.as_ref(), file.log_max_bytes.as_ref(), None),
            // What is named in both places is needed optionally.
            needs: names(&links.needs).into_iter().filter(|name| !optional_needs.contains(name)).collect(),
            optional_needs,
            validates: links.validates.as_ref().map(|at| at.value.clone()),
            requires: keys(&links.requires),
            reads_nothing: raw.reads_nothing,
            outputs: keys(&links.outputs),
            artifacts: raw.artifacts.clone(),
            retry,
            timeout: value(own.timeout.as_ref(), None),
            activity_timeout: value(own.activity_timeout.as_ref(), None),
            approve: value(raw.approve.as_ref(), Approve::Auto),
            degraded_exit_codes: value(raw.degraded_exit_codes.as_ref(), Vec::new()),
            allow_degraded: value(raw.allow_degraded.as_ref(), false),
            when: links.when.as_ref().map(|at| at.value.clone()),
            foreach: links.foreach.as_ref().map(|at| Foreach {
                key: at.value.key.value.clone(),
                max_parallel: at.value.max_parallel.as_ref().map(|at| at.value),
            }),
            env: sealed(env),
        })
    }

    /// A stage that says how often is to be retried, unless it says otherwise.
    fn stage_retry(&mut self, own: &RawStageRetry, flow: &RawStageRetry) -> StageRetry {
        self.waits(own, flow);
        let counted = own.count.is_some() || value(flow.enabled.as_ref(), false);
        let count = pick(own.count.as_ref(), flow.count.as_ref(), 0);
        let enabled = value(own.enabled.as_ref(), counted);
        if let Some(at) = own.enabled.as_ref().filter(|at| at.value && count == 0)
            && !own.unclear
            && !flow.unclear
        {
            let hint = "add \"count\", or set retry_count on the flow".to_owned();
            self.reader.warn(at.spot, "this has no effect: the count of retries is 0", Some(hint));
        }
        StageRetry {
            count: if enabled { count } else { 0 },
            backoff: Backoff {
                base: pick(own.backoff.as_ref(), flow.backoff.as_ref(), BASE),
                multiplier: pick(own.multiplier.as_ref(), flow.multiplier.as_ref(), 2.0),
                cap: pick(own.cap.as_ref(), flow.cap.as_ref(), CAP),
                jitter: pick(own.jitter.as_ref(), flow.jitter.as_ref(), Jitter::None),
            },
        }
    }

    /// What a flow says of retries, and would have no effect on any stage.
    fn flow_retry(&mut self, own: &RawStageRetry, stages: &Retries) {
        self.waits(own, &RawStageRetry::default());
        if own.unclear || stages.unclear {
            return;
        }
        let (enabled, count) = (&own.enabled, &own.count);
        let on = enabled.as_ref().is_some_and(|at| at.value);
        let some = count.as_ref().is_some_and(|at| at.value > 0);
        if let Some(at) = enabled.as_ref().filter(|_| on && !some)
            && !stages.counted
        {
            let hint = "set retry_count, too".to_owned();
            self.reader.warn(at.spot, "this has no effect: the count of retries is 0", Some(hint));
        }
        if let Some(at) = count.as_ref().filter(|_| some && !on)
            && !stages.enabled
        {
            let hint = "set retry_on_failure, too".to_owned();
            self.reader.warn(at.spot, "this has no effect while retry_on_failure is false", Some(hint));
        }
    }

    /// A pair that comes whole from the flow is looked at once, for the flow.
    fn waits(&mut self, own: &RawStageRetry, flow: &RawStageRetry) {
        let base = pick(own.backoff.as_ref(), flow.backoff.as_ref(), BASE);
        let cap = pick(own.cap.as_ref(), flow.cap.as_ref(), CAP);
        if let Some(at) = own.backoff.as_ref().or(own.cap.as_ref())
            && base > cap
            && !own.unclear
            && !flow.unclear
        {
            let (base, cap) = (base.as_secs_f64(), cap.as_secs_f64());
            let message = format!("the first wait of {base} seconds is above the longest of {cap} seconds");
            let hint = "raise the longest wait or lower the first one".to_owned();
            self.reader.error(at.spot, message, Some(hint));
        }
    }
}

fn lower_input(raw: &RawInput) -> InputSpec {
    InputSpec {
        required: value(raw.required.as_ref(), false),
        default: raw.default.as_ref().map(|at| at.value.clone()),
        kind: raw.kind,
    }
}

fn sealed(env: BTreeMap<String, String>) -> BTreeMap<String, EnvValue> {
    env.into_iter()
        .map(|(name, value)| {
            let value = if looks_secret(&name) { EnvValue::Secret(value) } else { EnvValue::Plain(value) };
            (name, value)
        })
        .collect()
}
