//! The mirror of `flows`: what was written of each flow and its stages, each value with its place. Whether names fit
//! one another is looked at later.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Keys, Maybe, RawCommon, jitter, note};
use crate::config::diagnostic::quoted;
use crate::config::keys::{Kind, Place};
use crate::config::read::{At, Fields, Reader, Spot};
use crate::config::tree::{Node, Value};
use crate::config::values::{self, RawCommand};
use crate::domain::flow::ids::{FlowName, RunId, StageName};
use crate::domain::flow::spec::{Approve, Concurrency, InputKind};
use crate::domain::flow::when::Expression;
use crate::domain::json::Json;
use crate::domain::spec::Jitter;

#[derive(Debug)]
pub(in crate::config) struct RawFlow<'a> {
    pub name: FlowName,
    /// Not read yet: of ten thousand, each is better lowered at once than held.
    pub stages: &'a [Node<'a>],
    pub inputs: BTreeMap<String, RawInput>,
    pub retry: RawStageRetry,
    pub timeout: Maybe<Option<Duration>>,
    pub max_parallel: Maybe<u32>,
    pub concurrency: Maybe<Concurrency>,
    pub max_retry_depth: Maybe<u32>,
    pub max_retries_per_checkpoint: Maybe<u32>,
    pub keep_failed_days: Maybe<f64>,
    pub on_success: Maybe<Option<RawCommand>>,
    pub on_failure: Maybe<Option<RawCommand>>,
    pub hook_timeout: Maybe<Option<Duration>>,
    pub env: Maybe<BTreeMap<String, At<String>>>,
    pub set: Keys,
}

#[derive(Debug)]
pub(in crate::config) struct RawInput {
    pub spot: Spot,
    pub required: Maybe<bool>,
    pub default: Maybe<Json>,
    pub kind: InputKind,
}

/// The same keys on a flow, under long names, and on a stage.
#[derive(Debug, Default)]
pub(in crate::config) struct RawStageRetry {
    pub enabled: Maybe<bool>,
    pub count: Maybe<u32>,
    pub backoff: Maybe<Duration>,
    pub multiplier: Maybe<f64>,
    pub cap: Maybe<Duration>,
    pub jitter: Maybe<Jitter>,
    /// Something of it was not understood, and told: how the rest of it fits is not known.
    pub unclear: bool,
}

#[derive(Debug)]
pub(in crate::config) struct RawStage {
    pub links: RawLinks,
    pub common: RawCommon,
    pub command: Maybe<RawCommand>,
    pub cwd: Maybe<String>,
    /// `requires` is there, and empty.
    pub reads_nothing: bool,
    pub artifacts: Vec<String>,
    pub approve: Maybe<Approve>,
    pub retry: RawStageRetry,
    pub degraded_exit_codes: Maybe<Vec<i32>>,
    pub allow_degraded: Maybe<bool>,
}

/// The keys that the stages of a flow set, all in one list: where those of each stage end in it.
#[derive(Debug, Default)]
pub(in crate::config) struct StageKeys {
    pub set: Keys,
    pub ends: Vec<(StageName, usize)>,
}

/// What a stage says of other stages, and of the state that they share.
#[derive(Debug)]
pub(in crate::config) struct RawLinks {
    pub name: At<StageName>,
    pub needs: Vec<At<StageName>>,
    pub optional_needs: Vec<At<StageName>>,
    pub validates: Maybe<StageName>,
    pub requires: Vec<At<String>>,
    pub outputs: Vec<At<String>>,
    pub when: Maybe<Expression>,
    pub foreach: Maybe<RawForeach>,
}

#[derive(Debug)]
pub(in crate::config) struct RawForeach {
    pub key: At<String>,
    pub max_parallel: Maybe<u32>,
}

/// The names of runs, `FLOW-12`, have to be names, too.
const LONGEST_FLOW: usize = 80;
/// Folders that lie beside those of the stages.
const TAKEN: [&str; 1] = ["logs"];
const LONGEST_KEY: usize = 100;

pub(super) fn flows<'a>(reader: &mut Reader<'_>, item: &'a Node<'a>) -> Vec<RawFlow<'a>> {
    let Some(members) = reader.members(item, "an object with a name for each flow") else {
        return Vec::new();
    };
    let mut flows = Vec::new();
    for member in members {
        let spot = member.key_spot;
        let name = match FlowName::parse(&member.key) {
            Ok(name) if member.key.len() <= LONGEST_FLOW => name,
            Ok(name) => {
                let example = RunId::new(&FlowName::trusted("NAME"), 12);
                let message = format!("the name of a flow may have {LONGEST_FLOW} characters at most");
                reader.error(spot, message, Some(format!("its runs are called {example}")));
                name
            }
            Err(why) => {
                reader.error(spot, why.replace("a runner", "a flow"), None);
                // What is inside is looked at all the same.
                FlowName::trusted(&*member.key)
            }
        };
        if let Some(fields) = reader.object(&member.value, Place::Flow) {
            flows.push(flow(reader, name, spot, &fields));
        }
    }
    flows
}

fn flow<'a>(reader: &mut Reader<'_>, name: FlowName, spot: Spot, fields: &Fields<'a>) -> RawFlow<'a> {
    let stages = fields.item("stages").map(|item| stages(reader, item));
    if stages.is_none() {
        let hint =
            "add \"stages\": [{ \"name\": \"first\", \"command\": [\"program\", \"argument\"] }]".to_owned();
        reader.error(spot, "a flow needs stages", Some(hint));
    }
    let mut set = Keys::new();
    note(fields, &mut set);
    RawFlow {
        name,
        set,
        stages: stages.unwrap_or_default(),
        inputs: fields.item("inputs").map(|item| inputs(reader, item)).unwrap_or_default(),
        retry: RawStageRetry::read(
            reader,
            fields,
            [
                "retry_on_failure",
                "retry_count",
                "retry_backoff_seconds",
                "retry_backoff_multiplier",
                "retry_max_backoff_seconds",
                "retry_jitter",
            ],
        ),
        timeout: fields.take_or_off("timeout_seconds", |item, kind| reader.seconds(item, kind)),
        max_parallel: fields.take("max_parallel", |item, kind| reader.whole(item, kind)),
        concurrency: fields.take("concurrency", |item, kind| {
            Some(match reader.word(item, kind)? {
                "queue" => Concurrency::Queue,
                "refuse" => Concurrency::Refuse,
                _ => Concurrency::Allow,
            })
        }),
        max_retry_depth: fields.take("max_retry_depth", |item, kind| reader.whole(item, kind)),
        max_retries_per_checkpoint: fields
            .take("max_retries_per_checkpoint", |item, kind| reader.whole(item, kind)),
        keep_failed_days: fields.take("keep_failed_days", |item, kind| reader.number(item, kind)),
        on_success: fields.take_or_off("on_success", |item, _| values::command(reader, item)),
        on_failure: fields.take_or_off("on_failure", |item, _| values::command(reader, item)),
        hook_timeout: fields.take_or_off("hook_timeout_seconds", |item, kind| reader.seconds(item, kind)),
        env: fields.take("env", |item, _| values::env(reader, item)),
    }
}

fn stages<'a>(reader: &mut Reader<'_>, item: &'a Node<'a>) -> &'a [Node<'a>] {
    const WHAT: &str = "a list of stages";
    match &item.value {
        Value::List(nodes) if nodes.is_empty() => {
            let hint = "add { \"name\": \"first\", \"command\": [\"program\", \"argument\"] }".to_owned();
            reader.error(item.spot, "a flow needs at least one stage", Some(hint));
            &[]
        }
        Value::List(nodes) => nodes,
        Value::Object(_) => {
            let hint = "write [{ \"name\": \"first\", … }, …]: the order counts".to_owned();
            reader.expected_with::<()>(item, WHAT, Some(hint));
            &[]
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            reader.expected::<()>(item, WHAT);
            &[]
        }
    }
}

pub(in crate::config) fn stage(
    reader: &mut Reader<'_>,
    item: &Node<'_>,
    keys: &mut StageKeys,
) -> Option<RawStage> {
    let fields = reader.object(item, Place::Stage)?;
    let start = item.spot.first();
    let name = if let Some(item) = fields.item("name") {
        stage_name(reader, item).unwrap_or_else(|| nameless(reader, item.spot))
    } else {
        reader.error(start, "a stage needs a name", Some("add \"name\": \"…\"".into()));
        nameless(reader, start)
    };
    if fields.item("command").is_none() {
        let hint = "add \"command\": [\"program\", \"argument\"], or a text for sh".to_owned();
        reader.error(start, "a stage needs a command", Some(hint));
    }
    let mut names = |key: &str| {
        let list = fields.take(key, |item, _| reader.list(item, other));
        unique(reader, list, StageName::as_str)
    };
    let (needs, optional_needs) = (names("needs"), names("optional_needs"));
    let mut reads_nothing = false;
    note(&fields, &mut keys.set);
    keys.ends.push((name.value.clone(), keys.set.len()));
    let mut keys = |key: &str| {
        let list = fields.take(key, |item, _| reader.list(item, state_key));
        reads_nothing |= key == "requires" && list.as_ref().is_some_and(|list| list.value.is_empty());
        unique(reader, list, String::as_str)
    };
    let (requires, outputs) = (keys("requires"), keys("outputs"));
    let links = RawLinks {
        name,
        needs,
        optional_needs,
        validates: fields.take("validates", |item, _| other(reader, item)).map(|at| at.value),
        requires,
        outputs,
        when: fields.take("when", |item, _| when(reader, item)),
        foreach: fields.take("foreach", |item, _| foreach(reader, item)),
    };
    Some(RawStage {
        links,
        reads_nothing,
        artifacts: fields
            .take("artifacts", |item, _| reader.list(item, artifact))
            .map(|at| at.value)
            .unwrap_or_default(),
        approve: fields.take("approve", |item, kind| {
            Some(if reader.word(item, kind)? == "manual" { Approve::Manual } else { Approve::Auto })
        }),
        retry: fields.item("retry").map(|item| retry(reader, item)).unwrap_or_default(),
        degraded_exit_codes: fields.take("degraded_exit_codes", |item, _| degraded(reader, item)),
        allow_degraded: fields.take("allow_degraded", |item, _| reader.boolean(item)),
        command: fields.take("command", |item, _| values::command(reader, item)),
        cwd: fields.take("cwd", |item, _| reader.filled(item, "a folder as text")),
        common: RawCommon::read(reader, &fields),
    })
}

/// How the flow calls what a stage has inside `retry`. Whether a stage is retried shows in its count.
pub(super) fn long_name(short: &str) -> Option<&'static str> {
    match short {
        "enabled" | "count" => Some("retry_count"),
        "backoff_seconds" => Some("retry_backoff_seconds"),
        "multiplier" => Some("retry_backoff_multiplier"),
        "max_backoff_seconds" => Some("retry_max_backoff_seconds"),
        "jitter" => Some("retry_jitter"),
        _ => None,
    }
}

/// For a stage whose name is wrong: nobody can mean it.
fn nameless(reader: &Reader<'_>, spot: Spot) -> At<StageName> {
    At { value: StageName::trusted(format!("({})", reader.path(spot))), spot }
}

fn stage_name(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<At<StageName>> {
    let text = reader.text(item, "a name as text")?;
    let parsed = StageName::parse(&text).map_err(|why| why.replace("a runner", "a stage"));
    let parsed = match parsed {
        Ok(_) if TAKEN.contains(&text.as_str()) => {
            Err(format!("{} is the name of another folder of each run", quoted(&text)))
        }
        other => other,
    };
    match parsed {
        Ok(value) => Some(At { value, spot: item.spot }),
        Err(why) => {
            reader.error(item.spot, why, None);
            // Others that name it are right to do so.
            Some(At { value: StageName::trusted(text), spot: item.spot })
        }
    }
}

/// The name of another stage; whether there is one is looked at later.
fn other(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<At<StageName>> {
    let text = reader.filled(item, "the name of a stage as text")?;
    Some(At { value: StageName::trusted(text), spot: item.spot })
}

/// What stands twice is told, and taken once.
fn unique<T>(reader: &mut Reader<'_>, list: Maybe<Vec<At<T>>>, text: fn(&T) -> &str) -> Vec<At<T>> {
    let mut list = list.map(|at| at.value).unwrap_or_default();
    if list.len() > 1 {
        let mut seen = std::collections::HashSet::new();
        list.retain(|at| {
            let new = seen.insert(text(&at.value).to_owned());
            if !new {
                reader.warn(at.spot, format!("{} stands here twice", quoted(text(&at.value))), None);
            }
            new
        });
    }
    list
}

/// A key of the state: it has to fit into `key=value`, and into an expression.
fn state_key(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<At<String>> {
    let text = reader.filled(item, "a key of the state as text")?;
    is_state_key(reader, &text, item.spot).then_some(At { value: text, spot: item.spot })
}

fn is_state_key(reader: &mut Reader<'_>, text: &str, spot: Spot) -> bool {
    let bad = text.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-')));
    let trouble = match bad {
        Some('.' | '[') => Some("a key of the state stands at its top; this leads inside".to_owned()),
        Some(bad) => Some(format!("a key of the state may hold letters, digits, '_' and '-', not {bad:?}")),
        None if text.is_empty() => Some("a key of the state needs a name".into()),
        None if text.starts_with('-') => Some("a key of the state may not start with '-'".into()),
        None if text.len() > LONGEST_KEY => {
            Some(format!("a key of the state may have {LONGEST_KEY} bytes at most"))
        }
        None => None,
    };
    let fine = trouble.is_none();
    if let Some(trouble) = trouble {
        reader.error(spot, trouble, None);
    }
    fine
}

fn artifact(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<String> {
    let glob = values::glob(reader, item)?;
    if glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
        let message = format!("{} leads out of the artifact folder", quoted(&glob));
        let hint = "the stage writes into $RESTAGE_ARTIFACTS; the pattern is relative to that".to_owned();
        reader.error(item.spot, message, Some(hint));
        return None;
    }
    Some(glob)
}

fn when(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Expression> {
    let text = reader.filled(item, "a condition as text, such as \"mode == 'final'\"")?;
    let parsed = Expression::parse(&text).map_err(|error| error.to_string());
    match parsed.and_then(|expression| expression.never().map_or(Ok(expression), Err)) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let hint = "for example \"state.count > 3 and mode in ['a', 'b']\"; exists(key), len(key), not"
                .to_owned();
            reader.error(item.spot, format!("no condition: {error}"), Some(hint));
            None
        }
    }
}

fn foreach(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<RawForeach> {
    if let Value::Object(_) = item.value {
        let fields = reader.object(item, Place::Foreach)?;
        let max_parallel = fields.take("max_parallel", |item, kind| reader.whole(item, kind));
        if fields.item("key").is_none() {
            let hint = "add \"key\": \"…\", the key of the state that holds the list".to_owned();
            reader.error(item.spot, "\"key\" is missing", Some(hint));
        }
        let key = fields.take("key", |item, _| state_key(reader, item))?.value;
        return Some(RawForeach { key, max_parallel });
    }
    if let Value::Text(_) = item.value {
        return state_key(reader, item).map(|key| RawForeach { key, max_parallel: None });
    }
    reader.expected(
        item,
        "a key of the state as text, or an object such as { \"key\": \"scenes\", \"max_parallel\": 4 }",
    )
}

fn retry(reader: &mut Reader<'_>, item: &Node<'_>) -> RawStageRetry {
    let unclear = RawStageRetry { unclear: true, ..RawStageRetry::default() };
    if let Value::Bool(value) = item.value {
        let hint = format!("write {{ \"enabled\": {value} }}");
        reader.expected_with::<()>(item, "an object { … }", Some(hint));
        return unclear;
    }
    let Some(fields) = reader.object(item, Place::StageRetry) else { return unclear };
    let names = ["enabled", "count", "backoff_seconds", "multiplier", "max_backoff_seconds", "jitter"];
    RawStageRetry::read(reader, &fields, names)
}

impl RawStageRetry {
    /// With the names that its keys have there.
    fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, names: [&str; 6]) -> Self {
        let [enabled, count, backoff, multiplier, cap, jitter_name] = names;
        let told = reader.problems.len();
        let retry = Self {
            enabled: fields.take(enabled, |item, _| reader.boolean(item)),
            count: fields.take(count, |item, kind| reader.whole(item, kind)),
            backoff: fields.take(backoff, |item, kind| reader.seconds(item, kind)),
            multiplier: fields.take(multiplier, |item, kind| reader.number(item, kind)),
            cap: fields.take(cap, |item, kind| reader.seconds(item, kind)),
            jitter: fields.take(jitter_name, |item, kind| jitter(reader, item, kind)),
            unclear: false,
        };
        Self { unclear: reader.problems.len() > told, ..retry }
    }
}

fn degraded(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Vec<i32>> {
    let codes = values::codes(reader, item)?;
    if codes.contains(&0) {
        let hint =
            "a stage that ends with 0 says so by \"status\": \"degraded\" in its output; set allow_degraded"
                .to_owned();
        reader.error(item.spot, "exit code 0 is a good end, not a degraded one", Some(hint));
        return None;
    }
    Some(codes)
}

fn inputs(reader: &mut Reader<'_>, item: &Node<'_>) -> BTreeMap<String, RawInput> {
    let mut inputs = BTreeMap::new();
    let Some(members) = reader.members(item, "an object with a name for each input") else { return inputs };
    for member in members {
        let spot = member.key_spot;
        is_state_key(reader, &member.key, spot);
        let Some(fields) = reader.object(&member.value, Place::Input) else { continue };
        let kind = fields.take("type", |item, kind| input_kind(reader, item, kind));
        let kind = kind.map_or(InputKind::Any, |at| at.value);
        let required = fields.take("required", |item, _| reader.boolean(item));
        let default = fields.take("default", |item, _| default(reader, item, kind));
        if let (Some(At { value: true, .. }), Some(at)) = (&required, &default) {
            let hint = "take one of the two away".to_owned();
            reader.warn(at.spot, "a required input with a default is never missing", Some(hint));
        }
        inputs.insert(member.key.to_string(), RawInput { spot, required, default, kind });
    }
    inputs
}

fn input_kind(reader: &mut Reader<'_>, item: &Node<'_>, kind: Kind) -> Option<InputKind> {
    Some(match reader.word(item, kind)? {
        "string" => InputKind::String,
        "number" => InputKind::Number,
        "integer" => InputKind::Integer,
        "boolean" => InputKind::Boolean,
        "object" => InputKind::Object,
        "array" => InputKind::Array,
        _ => InputKind::Any,
    })
}

fn default(reader: &mut Reader<'_>, item: &Node<'_>, kind: InputKind) -> Option<Json> {
    let text = item.value.json();
    let Ok(json) = Json::parse(&text) else { return reader.expected(item, "a value of JSON") };
    let (fits, what) = match kind {
        InputKind::Any => (true, ""),
        InputKind::String => (matches!(item.value, Value::Text(_)), "text, which is the type of this input"),
        InputKind::Number => {
            (matches!(item.value, Value::Number(_)), "a number, which is the type of this input")
        }
        InputKind::Integer => {
            let whole = matches!(&item.value, Value::Number(text) if text.parse::<f64>().is_ok_and(|n| n.fract() == 0.0));
            (whole, "a whole number, which is the type of this input")
        }
        InputKind::Boolean => {
            (matches!(item.value, Value::Bool(_)), "true or false, which is the type of this input")
        }
        InputKind::Object => {
            (matches!(item.value, Value::Object(_)), "an object, which is the type of this input")
        }
        InputKind::Array => (matches!(item.value, Value::List(_)), "a list, which is the type of this input"),
    };
    if fits { Some(json) } else { reader.expected(item, what) }
}
