//! The mirror of a config file: what was written, key by key, each value with its place. Values are well-formed here,
//! but not yet compared with one another, inherited, expanded or looked up on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dashboard;
use super::keys::{self, Kind, Place};
use super::read::{At, Fields, Reader};
use super::tree::{Node, Value};
use super::values::{self, RawCommand};
use crate::domain::ids::RunnerName;
use crate::domain::keys::Overrides;
use crate::domain::spec::{
    CgroupUse, Clipboard, Jitter, Leftovers, Limit, LimitValue, Notifications, Pattern, Reload,
    RestartPolicy, Stdio,
};

mod flow;

pub(super) use flow::{RawFlow, RawInput, RawLinks, RawStage, RawStageRetry, StageKeys, stage};

const PATH_OR_NULL: &str = "a path as text, or null";

type Maybe<T> = Option<At<T>>;

#[derive(Debug, Default)]
pub(super) struct RawRetry {
    pub enabled: Maybe<bool>,
    pub max_retries: Maybe<u32>,
    pub backoff: Maybe<Duration>,
    pub multiplier: Maybe<f64>,
    pub cap: Maybe<Duration>,
    pub jitter: Maybe<Jitter>,
    pub reset_after: Maybe<Option<Duration>>,
    pub on_exit_codes: Maybe<Vec<i32>>,
    pub not_on_exit_codes: Maybe<Vec<i32>>,
    pub success_exit_codes: Maybe<Vec<i32>>,
    pub on_output: Maybe<Vec<Pattern>>,
    pub not_on_output: Maybe<Vec<Pattern>>,
    /// Something of it was not understood, and told: how the rest of it fits is not known.
    pub unclear: bool,
}

/// The keys that stand at the top of the file and on a runner alike, but not on a stage.
#[derive(Debug, Default)]
pub(super) struct RawSupervision {
    pub retry: RawRetry,
    pub log_template: Maybe<String>,
    pub log_dir: Maybe<String>,
    pub log_keep: Maybe<u32>,
    pub leftovers: Maybe<Leftovers>,
    pub reload: Maybe<Reload>,
}

/// The keys that stand on a runner and on a stage alike, most of them also at the top of the file.
#[derive(Debug, Default)]
pub(super) struct RawCommon {
    pub activity_timeout: Maybe<Option<Duration>>,
    pub timeout: Maybe<Option<Duration>>,
    pub stop_signal: Maybe<i32>,
    pub stop_grace: Maybe<Duration>,
    pub stop_command: Maybe<Option<RawCommand>>,
    pub log_max_bytes: Maybe<Option<u64>>,
    pub stdio: Maybe<Stdio>,
    pub env: Maybe<BTreeMap<String, At<String>>>,
    pub env_files: Maybe<Vec<At<String>>>,
    pub umask: Maybe<u32>,
    pub limits: Maybe<BTreeMap<Limit, At<LimitValue>>>,
}

#[derive(Debug)]
pub(super) struct RawRunner {
    pub name: RunnerName,
    pub supervision: RawSupervision,
    pub common: RawCommon,
    pub command: Maybe<RawCommand>,
    pub cwd: Maybe<String>,
    pub restart: Maybe<RestartPolicy>,
    pub group: Maybe<String>,
    pub autostart: Maybe<bool>,
    pub stdin: Maybe<Option<String>>,
    pub activity: Maybe<RawActivity>,
    pub health: Maybe<Option<RawHealth>>,
}

#[derive(Debug)]
pub(super) struct RawActivity {
    pub output: bool,
    pub cpu: bool,
    pub files: Vec<String>,
}

#[derive(Debug)]
pub(super) struct RawHealth {
    pub command: RawCommand,
    pub interval: Maybe<Duration>,
    pub timeout: Maybe<Duration>,
    pub failures: Maybe<u32>,
}

#[derive(Debug, Default)]
pub(super) struct RawFile<'a> {
    pub supervision: RawSupervision,
    pub common: RawCommon,
    pub retry_budget: Maybe<Option<(u32, Duration)>>,
    pub retry_log_dir: Maybe<Option<String>>,
    pub cache_dir: Maybe<Option<String>>,
    pub tui_refresh: Maybe<Duration>,
    pub tui_log_tail_lines: Maybe<u32>,
    pub theme: Maybe<String>,
    pub keys: Maybe<Overrides>,
    pub notifications: Maybe<Notifications>,
    pub clipboard: Maybe<Clipboard>,
    pub cgroup: Maybe<CgroupUse>,
    pub runners: Vec<RawRunner>,
    pub flows: Vec<RawFlow<'a>>,
    /// The line of each key that is set: at the top, and on each runner.
    pub set: Set,
}

/// The keys that an object sets, under their long names, each with the byte where it stands.
pub(super) type Keys = Vec<(&'static str, usize)>;

/// Which keys are set. Flows remember their own; those of stages are gathered when these are read.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub file: Keys,
    pub runners: BTreeMap<RunnerName, Keys>,
}

impl<'a> RawFile<'a> {
    pub(super) fn read(reader: &mut Reader<'_>, root: &'a Node<'a>) -> Self {
        let Some(fields) = reader.object(root, Place::File) else {
            return Self::default();
        };
        let mut file = Self {
            retry_budget: fields.take_or_off("retry_budget", |item, _| budget(reader, item)),
            retry_log_dir: fields.take_or_off("retry_log_dir", |item, _| reader.filled(item, PATH_OR_NULL)),
            cache_dir: fields.take_or_off("cache_dir", |item, _| reader.filled(item, PATH_OR_NULL)),
            tui_refresh: fields.take("tui_refresh_seconds", |item, kind| reader.seconds(item, kind)),
            tui_log_tail_lines: fields.take("tui_log_tail_lines", |item, kind| reader.whole(item, kind)),
            theme: fields
                .take("theme", |item, _| reader.filled(item, "the name of a theme, or a path, as text")),
            keys: fields.take("keys", |item, _| dashboard::overrides(reader, item)),
            notifications: fields
                .take("notifications", |item, kind| Some(dashboard::notifications(reader.word(item, kind)?))),
            clipboard: fields
                .take("clipboard", |item, kind| Some(dashboard::clipboard(reader.word(item, kind)?))),
            cgroup: fields.take("cgroup", |item, kind| {
                Some(if reader.word(item, kind)? == "off" { CgroupUse::Off } else { CgroupUse::Auto })
            }),
            supervision: RawSupervision::read(reader, &fields),
            common: RawCommon::read(reader, &fields),
            ..Self::default()
        };
        note(&fields, &mut file.set.file);
        let flows = fields.item("flows");
        if let Some(item) = flows {
            file.flows = flow::flows(reader, item);
        }
        let flows = flows.is_some_and(|item| !matches!(&item.value, Value::Object(all) if all.is_empty()));
        if let Some(item) = fields.item("runners") {
            file.read_runners(reader, item, flows);
        } else if !flows {
            reader.absent("runners", root.spot.first(), "there are no runners", super::syntax::BEGIN);
        }
        file
    }

    fn read_runners(&mut self, reader: &mut Reader<'_>, item: &Node<'_>, flows: bool) {
        let Some(members) = reader.members(item, "an object with a name for each runner") else { return };
        if members.is_empty() && !flows {
            reader.warn(item.spot, "there is nothing to run", Some(super::syntax::BEGIN.into()));
        }
        for member in members {
            let name = match RunnerName::parse(&member.key) {
                Ok(name) => name,
                Err(why) => {
                    reader.error(member.key_spot, why, None);
                    // What is inside is looked at all the same.
                    RunnerName::trusted(&*member.key)
                }
            };
            if let Some(fields) = reader.object(&member.value, Place::Runner) {
                note(&fields, self.set.runners.entry(name.clone()).or_default());
                if fields.item("command").is_none() {
                    let hint = "add \"command\": [\"program\", \"argument\"], or a text for sh".to_owned();
                    reader.error(member.key_spot, "a runner needs a command", Some(hint));
                }
                self.runners.push(RawRunner::read(reader, name, &fields));
            }
        }
    }
}

/// Remembers which keys an object sets; those of its retries, too.
fn note(fields: &Fields<'_>, set: &mut Keys) {
    for (key, member) in &fields.known {
        set.push((key.name, member.key_spot.start()));
        let Value::Object(inner) = &member.value.value else { continue };
        let long: fn(&str) -> Option<&'static str> = match (fields.place, key.name) {
            (Place::Runner, "retry") => |short| Place::Retry.key(short).map(|key| key.name),
            (Place::Stage, "retry") => flow::long_name,
            _ => continue,
        };
        set.extend(inner.iter().filter_map(|member| Some((long(&member.key)?, member.key_spot.start()))));
    }
}

impl RawSupervision {
    fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Self {
        Self {
            retry: retry(reader, fields),
            log_template: fields.take("log_file_template", |item, _| template(reader, item)),
            log_dir: fields.take("log_dir_name", |item, _| reader.filled(item, "a folder as text")),
            log_keep: fields.take("log_keep_attempts", |item, kind| reader.whole(item, kind)),
            leftovers: fields.take("leftovers", |item, kind| {
                Some(if reader.word(item, kind)? == "keep" { Leftovers::Keep } else { Leftovers::Kill })
            }),
            reload: fields.take("reload", |item, kind| {
                Some(if reader.word(item, kind)? == "restart" { Reload::Restart } else { Reload::Manual })
            }),
        }
    }
}

impl RawCommon {
    fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Self {
        Self {
            activity_timeout: fields
                .take_or_off("activity_timeout_seconds", |item, kind| reader.seconds(item, kind)),
            timeout: fields.take_or_off("timeout_seconds", |item, kind| reader.seconds(item, kind)),
            stop_signal: fields.take("stop_signal", |item, _| values::signal(reader, item)),
            stop_grace: fields.take("stop_grace_seconds", |item, kind| reader.seconds(item, kind)),
            stop_command: fields.take_or_off("stop_command", |item, _| values::command(reader, item)),
            log_max_bytes: fields.take_or_off("log_max_bytes", |item, _| values::log_size(reader, item)),
            stdio: fields.take("stdio", |item, kind| {
                Some(match reader.word(item, kind)? {
                    "file" => Stdio::File,
                    "pipe" => Stdio::Pipe,
                    "tty" => Stdio::Tty,
                    _ => Stdio::Auto,
                })
            }),
            env: fields.take("env", |item, _| values::env(reader, item)),
            env_files: fields.take("env_file", |item, _| values::texts(reader, item, "a file as text")),
            umask: fields.take("umask", |item, _| values::umask(reader, item)),
            limits: fields.take("limits", |item, _| values::limits(reader, item)),
        }
    }
}

impl RawRetry {
    fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Self {
        let key = |long| if fields.place == Place::Retry { keys::short(long) } else { long };
        let told = reader.problems.len();
        let retry = Self {
            enabled: fields.take(key("retry_on_crash"), |item, _| reader.boolean(item)),
            max_retries: fields.take(key("retry_max_retries"), |item, kind| reader.whole(item, kind)),
            backoff: fields.take(key("retry_backoff_seconds"), |item, kind| reader.seconds(item, kind)),
            multiplier: fields.take(key("retry_backoff_multiplier"), |item, kind| reader.number(item, kind)),
            cap: fields.take(key("retry_max_backoff_seconds"), |item, kind| reader.seconds(item, kind)),
            jitter: fields.take(key("retry_jitter"), |item, kind| jitter(reader, item, kind)),
            reset_after: fields
                .take_or_off(key("retry_reset_after_seconds"), |item, kind| reader.seconds(item, kind)),
            on_exit_codes: fields.take(key("retry_on_exit_codes"), |item, _| values::codes(reader, item)),
            not_on_exit_codes: fields.take(key("no_retry_exit_codes"), |item, _| values::codes(reader, item)),
            success_exit_codes: fields.take(key("success_exit_codes"), |item, _| values::codes(reader, item)),
            on_output: fields.take(key("retry_on_output"), |item, _| values::patterns(reader, item)),
            not_on_output: fields.take(key("no_retry_on_output"), |item, _| values::patterns(reader, item)),
            unclear: false,
        };
        Self { unclear: reader.problems.len() > told, ..retry }
    }
}

fn jitter(reader: &mut Reader<'_>, item: &Node<'_>, kind: Kind) -> Option<Jitter> {
    Some(match reader.word(item, kind)? {
        "equal" => Jitter::Equal,
        "full" => Jitter::Full,
        _ => Jitter::None,
    })
}

/// Either the flat keys or `retry: { … }`; both at once would leave open which of them counts.
fn retry(reader: &mut Reader<'_>, fields: &Fields<'_>) -> RawRetry {
    let flat = RawRetry::read(reader, fields);
    let Some(item) = fields.item("retry").filter(|_| fields.place == Place::Runner) else { return flat };
    for (key, clash) in &fields.known {
        let Some(short) = key.short else { continue };
        let hint = format!("move it into retry, as \"{short}\"");
        reader.error(clash.key_spot, "a retry key beside \"retry\": { … } on one runner", Some(hint));
    }
    if let Value::Bool(value) = item.value {
        let hint = format!("write {{ \"enabled\": {value} }}");
        reader.expected_with::<()>(item, "an object { … }", Some(hint));
        return flat;
    }
    match reader.object(item, Place::Retry) {
        Some(inner) => RawRetry::read(reader, &inner),
        None => flat,
    }
}

impl RawRunner {
    fn read(reader: &mut Reader<'_>, name: RunnerName, fields: &Fields<'_>) -> Self {
        Self {
            name,
            command: fields.take("command", |item, _| values::command(reader, item)),
            cwd: fields.take("cwd", |item, _| reader.filled(item, "a folder as text")),
            restart: fields.take("restart", |item, kind| {
                Some(match reader.word(item, kind)? {
                    "always" => RestartPolicy::Always,
                    "never" => RestartPolicy::Never,
                    _ => RestartPolicy::OnCrash,
                })
            }),
            group: fields.take("group", |item, _| group(reader, item)),
            autostart: fields.take("autostart", |item, _| reader.boolean(item)),
            stdin: fields.take_or_off("stdin", |item, _| reader.filled(item, PATH_OR_NULL)),
            activity: fields.take("activity", |item, _| activity(reader, item)),
            health: fields.take_or_off("health", |item, _| health(reader, item)),
            supervision: RawSupervision::read(reader, fields),
            common: RawCommon::read(reader, fields),
        }
    }
}

fn group(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<String> {
    const WHAT: &str = "a short heading as text";
    let text = reader.filled(item, WHAT)?;
    if text.chars().count() > 100 || text.chars().any(char::is_control) {
        return reader.expected(item, WHAT);
    }
    Some(text)
}

fn budget(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<(u32, Duration)> {
    let fields = reader.object(item, Place::Budget)?;
    let max = fields.take("max", |item, kind| reader.whole(item, kind));
    let per = fields.take("per_seconds", |item, kind| reader.seconds(item, kind));
    for key in ["max", "per_seconds"].into_iter().filter(|key| fields.item(key).is_none()) {
        let hint = "for example { \"max\": 10, \"per_seconds\": 60 }".to_owned();
        reader.error(item.spot, format!("\"{key}\" is missing"), Some(hint));
    }
    Some((max?.value, per?.value))
}

fn health(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<RawHealth> {
    let fields = reader.object(item, Place::Health)?;
    let command = fields.take("command", |item, _| values::command(reader, item));
    let interval = fields.take("interval_seconds", |item, kind| reader.seconds(item, kind));
    let timeout = fields.take("timeout_seconds", |item, kind| reader.seconds(item, kind));
    let failures = fields.take("failures", |item, kind| reader.whole(item, kind));
    if fields.item("command").is_none() {
        let hint = "add \"command\": what exits with 0 while all is well".to_owned();
        reader.error(item.spot, "a health check needs a command", Some(hint));
    }
    Some(RawHealth { command: command?.value, interval, timeout, failures })
}

fn activity(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<RawActivity> {
    if let Value::Object(_) = item.value {
        let fields = reader.object(item, Place::Activity)?;
        let output = fields.take("output", |item, _| reader.boolean(item));
        let cpu = fields.take("cpu", |item, _| reader.boolean(item));
        let files = fields.take("files", |item, _| values::globs(reader, item));
        let activity = RawActivity {
            output: output.is_none_or(|at| at.value),
            cpu: cpu.is_none_or(|at| at.value),
            files: files.map(|at| at.value).unwrap_or_default(),
        };
        if !activity.output && !activity.cpu && activity.files.is_empty() {
            let hint = "allow output or cpu, name files, or leave out activity_timeout_seconds".to_owned();
            reader.error(item.spot, "nothing is left that counts as activity", Some(hint));
            return None;
        }
        return Some(activity);
    }
    let words = reader.list(item, |reader, item| {
        const WHAT: &str = "\"output\", \"cpu\", \"output|cpu\", or { \"files\": [ … ] }";
        let words: Option<Vec<String>> = match &item.value {
            Value::Text(text) => {
                let words: Vec<String> = text.split('|').map(|word| word.trim().to_owned()).collect();
                words.iter().all(|word| matches!(word.as_str(), "output" | "cpu")).then_some(words)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => None,
        };
        match words {
            Some(words) => Some(words),
            None => reader.expected(item, WHAT),
        }
    })?;
    if words.is_empty() {
        return reader.expected(item, "at least one of \"output\" and \"cpu\"");
    }
    let has = |name: &str| words.iter().flatten().any(|word| word == name);
    Some(RawActivity { output: has("output"), cpu: has("cpu"), files: Vec::new() })
}

/// The name of a log: one `{index}`, at most a `{name}`, nothing that leads out of the folder.
fn template(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<String> {
    let text = reader.filled(item, "a file name such as \"{name}_{index}.log\"")?;
    let hint = Some("for example \"{name}_{index}.log\"".to_owned());
    let mut rest = text.as_str();
    let mut literal = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            reader.error(item.spot, "a \"{\" is not closed", hint);
            return None;
        };
        if !matches!(name, "name" | "index") {
            let message =
                format!("unknown placeholder {}", super::diagnostic::quoted(&format!("{{{name}}}")));
            reader.error(item.spot, message, Some("there are {name} and {index}".into()));
            return None;
        }
        rest = behind;
    }
    literal.push_str(rest);
    let trouble = match text.matches("{index}").count() {
        0 => Some("{index} is missing: attempts would share one log"),
        1 => None,
        _ => Some("{index} stands more than once"),
    };
    let trouble = trouble
        .or_else(|| text.contains('/').then_some("a log's name may not hold \"/\""))
        .or_else(|| {
            text.chars().any(char::is_control).then_some("a log's name may not hold control characters")
        })
        .or_else(|| text.starts_with('.').then_some("a log's name may not start with \".\""))
        .or_else(|| {
            (literal.len() > 100).then_some("a log's name may hold 100 bytes beside its placeholders")
        })
        .or_else(|| {
            text.starts_with("restage.log").then_some("restage.log is the name of restage's own log")
        });
    match trouble {
        Some(trouble) => {
            let hint =
                if trouble.contains('/') { Some("the folder is set by log_dir_name".into()) } else { hint };
            reader.error(item.spot, trouble, hint);
            None
        }
        None => Some(text),
    }
}
