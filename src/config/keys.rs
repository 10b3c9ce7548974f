//! Every key of a config, once: where it may stand, what it takes, what it is without being set, what it means.
//! Suggestions for misspelt keys, the JSON schema and the documentation all read this table.

use std::sync::LazyLock;

/// Which object a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The top of the file. A runner's keys there are the default for every runner.
    File,
    Runner,
    /// `retry: { … }` of a runner.
    Retry,
    Health,
    Activity,
    Budget,
    Flow,
    /// What a run of a flow may be given.
    Input,
    Stage,
    /// `retry: { … }` of a stage.
    StageRetry,
    Foreach,
}

/// What a key takes. Ranges are inclusive; "or null" means that null turns it off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Any,
    Bool,
    Whole {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Seconds {
        min: f64,
    },
    SecondsOrNull {
        min: f64,
    },
    Word(&'static [&'static str]),
    Text,
    TextOrNull,
    /// One text or a list of them.
    Texts,
    /// One exit code or a list of them.
    Codes,
    Signal,
    /// Bytes, as a number or as `"10MB"`; or null.
    SizeOrNull,
    Umask,
    Command,
    CommandOrNull,
    Env,
    Limits,
    Activity,
    /// Actions of the dashboard, each with its keys.
    Keys,
    Object(Place),
    ObjectOrNull(Place),
    /// Names, each with an object of this place.
    Named(Place),
    /// A list of objects of this place, at least one.
    List(Place),
    /// A key of the state as text, or an object.
    Foreach,
}

#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    /// Its name inside `retry: { … }`.
    pub short: Option<&'static str>,
    pub places: &'static [Place],
    pub kind: Kind,
    /// For a person; "off" where nothing happens unless it is set.
    pub default: &'static str,
    pub doc: &'static str,
}

/// Ten years: longer than any machine runs, short enough for every arithmetic on it.
pub const MAX_SECONDS: f64 = 315_360_000.0;
/// The shortest time that is not nothing.
pub const MIN_SECONDS: f64 = 0.001;
/// Head and tail of a log have to fit.
pub const MIN_LOG_BYTES: u64 = 4096;

pub const INPUT_TYPES: [&str; 7] = ["any", "string", "number", "integer", "boolean", "object", "array"];

pub const LIMITS: [&str; 9] = ["nofile", "nproc", "as", "core", "cpu", "data", "fsize", "memlock", "stack"];

const FILE: &[Place] = &[Place::File];
const RUNNER: &[Place] = &[Place::Runner];
const BOTH: &[Place] = &[Place::File, Place::Runner];
const HEALTH: &[Place] = &[Place::Health];
const ACTIVITY: &[Place] = &[Place::Activity];
const BUDGET: &[Place] = &[Place::Budget];
const FLOW: &[Place] = &[Place::Flow];
const INPUT: &[Place] = &[Place::Input];
const STAGE: &[Place] = &[Place::Stage];
const STAGE_RETRY: &[Place] = &[Place::StageRetry];
const FOREACH: &[Place] = &[Place::Foreach];
const RUN: &[Place] = &[Place::Runner, Place::Stage];
/// A stage gets these from the top of the file, as a runner does.
const ALL: &[Place] = &[Place::File, Place::Runner, Place::Stage];

const COUNT: Kind = Kind::Whole { min: 0, max: u32::MAX as u64 };
/// Automatic retries of a stage.
const FEW: Kind = Kind::Whole { min: 0, max: 10 };
const AT_LEAST_ONE: Kind = Kind::Whole { min: 1, max: u32::MAX as u64 };
const MULTIPLIER: Kind = Kind::Number { min: 1.0, max: 1000.0 };
const JITTER: Kind = Kind::Word(&["none", "equal", "full"]);
const SECONDS: Kind = Kind::Seconds { min: 0.0 };
const SOME_SECONDS: Kind = Kind::Seconds { min: MIN_SECONDS };
const SECONDS_OR_OFF: Kind = Kind::SecondsOrNull { min: MIN_SECONDS };

const fn key(
    name: &'static str,
    places: &'static [Place],
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, short: None, places, kind, default, doc }
}

const fn retry(
    name: &'static str,
    short: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, short: Some(short), places: BOTH, kind, default, doc }
}

#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("$schema", FILE, Kind::Any, "", "For editors; restage does not read it."),
    key("runners", FILE, Kind::Named(Place::Runner), "", "The commands to supervise, by name."),
    key("flows", FILE, Kind::Named(Place::Flow), "", "Stages that are run in their order, with checkpoints, by name."),

    key("command", RUN, Kind::Command, "", "A list of program and arguments, or a text for sh -c."),
    key("cwd", RUN, Kind::Text, "the workspace", "The folder to run in; relative to the workspace."),
    key("restart", RUNNER, Kind::Word(&["on_crash", "always", "never"]), "on_crash", "What is started again: what ended badly, everything, nothing. A good end under always spends no retry and waits as for a first retry, at least 1 second where the attempt lived less."),
    key("group", RUNNER, Kind::Text, "none", "A heading to list it under."),
    key("autostart", RUNNER, Kind::Bool, "true", "Whether it starts with restage."),
    key("stdin", RUNNER, Kind::TextOrNull, "null", "A file to read from; null is an empty input."),
    key("activity", RUNNER, Kind::Activity, "output|cpu", "What counts as a sign of life."),
    key("health", RUNNER, Kind::ObjectOrNull(Place::Health), "off", "A command that tells whether it is well."),
    key("retry", RUNNER, Kind::Object(Place::Retry), "", "The retry keys under short names; instead of the long ones."),

    retry("retry_on_crash", "enabled", Kind::Bool, "true", "Whether what ended badly is started again."),
    retry("retry_max_retries", "count", COUNT, "3", "Retries after a fresh start."),
    retry("retry_backoff_seconds", "backoff_seconds", SECONDS, "5", "The wait before the first retry."),
    retry("retry_backoff_multiplier", "multiplier", MULTIPLIER, "2", "Each further wait is this many times longer."),
    retry("retry_max_backoff_seconds", "max_backoff_seconds", SECONDS, "300", "The longest wait."),
    retry("retry_jitter", "jitter", JITTER, "none", "How much of the wait is random: nothing, half, all."),
    retry("retry_reset_after_seconds", "reset_after_seconds", SECONDS_OR_OFF, "off; 600 under restart: always", "Healthy this long, and the retry count is 0 again."),
    retry("retry_on_exit_codes", "on_exit_codes", Kind::Codes, "all", "Only these exit codes are retried."),
    retry("no_retry_exit_codes", "not_on_exit_codes", Kind::Codes, "none", "These exit codes are not retried."),
    retry("success_exit_codes", "success_exit_codes", Kind::Codes, "0", "These exit codes are a good end."),
    retry("retry_on_output", "on_output", Kind::Texts, "off", "Retried only where the last 64 KiB of the log match one of these regular expressions."),
    retry("no_retry_on_output", "not_on_output", Kind::Texts, "off", "Not retried where the last 64 KiB of the log match one of these regular expressions."),

    key("activity_timeout_seconds", BOTH, SECONDS_OR_OFF, "off", "An attempt without a sign of life for this long is ended."),
    key("timeout_seconds", BOTH, SECONDS_OR_OFF, "off", "The longest that one attempt may take."),
    key("stop_signal", ALL, Kind::Signal, "TERM", "What a process is sent to end it."),
    key("stop_grace_seconds", ALL, SECONDS, "10", "How long it may take to end before it is killed."),
    key("stop_command", ALL, Kind::CommandOrNull, "off", "Run instead of sending the signal, with RESTAGE_PID set; what it prints last is told in the log of restage."),
    key("log_file_template", BOTH, Kind::Text, "{name}_{index}.log", "The name of an attempt's log."),
    key("log_dir_name", BOTH, Kind::Text, "logs", "The folder of the logs; relative to .restage/ in the workspace."),
    key("log_max_bytes", ALL, Kind::SizeOrNull, "off", "The most that one log may take on disk; its head and tail are kept."),
    key("log_keep_attempts", BOTH, AT_LEAST_ONE, "100", "How many attempts of a runner keep their log."),
    key("stdio", ALL, Kind::Word(&["auto", "file", "pipe", "tty"]), "auto", "How output reaches the log: written straight into the file, or through a pipe or a terminal of restage; auto is file, or pipe where the command mentions /dev/stdout or /dev/stderr."),
    key("env", &[Place::File, Place::Runner, Place::Flow, Place::Stage], Kind::Env, "none", "Variables for the command; those of the file, of a flow and of a runner or stage add up."),
    key("env_file", ALL, Kind::Texts, "none", "Files with variables, read at each start; those of a runner or stage come after those of the file."),
    key("umask", ALL, Kind::Umask, "inherited", "The file mode mask, octal, as text: \"022\"."),
    key("limits", ALL, Kind::Limits, "inherited", "Resource limits by name; those of a runner or stage are added to those of the file."),
    key("leftovers", BOTH, Kind::Word(&["kill", "keep"]), "kill", "What happens to processes that the command leaves behind when it ends."),
    key("reload", BOTH, Kind::Word(&["manual", "restart"]), "manual", "What an edit of the command does to a running process: nothing before its next start, or a restart."),

    key("retry_budget", FILE, Kind::ObjectOrNull(Place::Budget), "off", "At most this many retries in a time, over all runners."),
    key("retry_log_dir", FILE, Kind::TextOrNull, "off", "A folder for one JSON file a runner, of its attempts and waits."),
    key("cache_dir", FILE, Kind::TextOrNull, "the user's cache folder", "Where runner_state.json lies."),
    key("tui_refresh_seconds", FILE, Kind::Seconds { min: 0.05 }, "1", "How often the dashboard draws figures anew."),
    key("tui_log_tail_lines", FILE, Kind::Whole { min: 1, max: 100_000 }, "200", "How many lines, from its end, the dashboard reads of a log that it opens; scrolling back reads on."),
    key("theme", FILE, Kind::Text, "auto", "The colours of the dashboard: auto, dark, light, colour-blind, sixteen, or a theme file of your own."),
    key("keys", FILE, Kind::Keys, "none", "Other keys for the dashboard, by the name of the action; null takes its keys away."),
    key("notifications", FILE, Kind::Word(&["off", "bell", "osc9", "both"]), "bell", "How the dashboard tells that a runner is exhausted or waits for you: not, by the bell, by a message to the desktop (OSC 9), by both."),
    key("clipboard", FILE, Kind::Word(&["off", "osc52"]), "osc52", "How the dashboard copies: through the terminal (OSC 52), or not at all."),
    key("cgroup", FILE, Kind::Word(&["auto", "off"]), "auto", "Whether attempts get a cgroup where that is possible."),

    key("command", HEALTH, Kind::Command, "", "Exit 0 means well."),
    key("interval_seconds", HEALTH, SOME_SECONDS, "10", "The time from one check to the next."),
    key("timeout_seconds", HEALTH, SOME_SECONDS, "5", "A check that takes longer has failed."),
    key("failures", HEALTH, AT_LEAST_ONE, "3", "This many in a row, and the attempt is ended as unhealthy."),

    key("output", ACTIVITY, Kind::Bool, "true", "New output counts."),
    key("cpu", ACTIVITY, Kind::Bool, "true", "Use of the processor counts."),
    key("files", ACTIVITY, Kind::Texts, "none", "A change of a file that matches counts; relative to cwd."),

    key("max", BUDGET, AT_LEAST_ONE, "", "So many retries at most."),
    key("per_seconds", BUDGET, SOME_SECONDS, "", "In this time."),

    key("stages", FLOW, Kind::List(Place::Stage), "", "What is run. The order says nothing of who waits for whom; it decides where there is a choice."),
    key("inputs", FLOW, Kind::Named(Place::Input), "none", "What a run may be given, by name; part of its state from the start."),
    key("retry_on_failure", FLOW, Kind::Bool, "false", "Whether a stage that failed is started again."),
    key("retry_count", FLOW, FEW, "0", "Retries of a stage after its first attempt."),
    key("retry_backoff_seconds", FLOW, SECONDS, "1", "The wait before the first retry of a stage."),
    key("retry_backoff_multiplier", FLOW, MULTIPLIER, "2", "Each further wait is this many times longer."),
    key("retry_max_backoff_seconds", FLOW, SECONDS, "300", "The longest wait."),
    key("retry_jitter", FLOW, JITTER, "none", "How much of the wait is random: nothing, half, all."),
    key("timeout_seconds", FLOW, SECONDS_OR_OFF, "off", "The longest that a whole run may take. While it only waits for a person, or nobody carries it out, its clock stands still."),
    key("max_parallel", FLOW, AT_LEAST_ONE, "no limit", "How many stages of a run may be under way at once."),
    key("concurrency", FLOW, Kind::Word(&["allow", "queue", "refuse"]), "allow", "What a second run does while one is under way."),
    key("max_retry_depth", FLOW, AT_LEAST_ONE, "10", "How long a chain of retries may be, each of the one before."),
    key("max_retries_per_checkpoint", FLOW, AT_LEAST_ONE, "5", "How often the same checkpoint may be built on again on its branch, by whichever verb and of whichever run."),
    key("keep_failed_days", FLOW, Kind::Number { min: 0.0, max: 3650.0 }, "7", "How long the files of failed attempts are kept."),
    key("on_success", FLOW, Kind::CommandOrNull, "off", "Run after a run that went well."),
    key("on_failure", FLOW, Kind::CommandOrNull, "off", "Run after a run that failed."),
    key("hook_timeout_seconds", FLOW, SECONDS_OR_OFF, "300", "The longest that on_success or on_failure may take; null lets it take as long as it likes."),

    key("required", INPUT, Kind::Bool, "false", "Whether a run is refused without it."),
    key("default", INPUT, Kind::Any, "none", "Its value where a run is not given one."),
    key("type", INPUT, Kind::Word(&INPUT_TYPES), "any", "What it has to be."),

    key("name", STAGE, Kind::Text, "", "Unique in its flow. Names hold the letters a to z and A to Z, digits, `.`, `_` and `-`, up to 100 of them, and begin with none of `.` and `-`."),
    key("needs", STAGE, Kind::Texts, "none", "Stages that have to end well before this one starts."),
    key("optional_needs", STAGE, Kind::Texts, "none", "The same, but one of these that is skipped does not skip this stage."),
    key("validates", STAGE, Kind::Text, "none", "The stage that this one checks. It needs it, and whatever needs that stage waits for this one, too."),
    key("requires", STAGE, Kind::Texts, "whatever is there", "Keys of the state that it reads; a change of others does not concern it. An empty list: none of it."),
    key("outputs", STAGE, Kind::Texts, "none", "Keys of the state that it writes."),
    key("artifacts", STAGE, Kind::Texts, "none", "Files that it leaves behind, as patterns within its artifact folder."),
    key("when", STAGE, Kind::Text, "always", "A condition on the state; where it does not hold, the stage is skipped."),
    key("foreach", STAGE, Kind::Foreach, "off", "A key of the state that holds a list; the stage runs once for each item."),
    key("approve", STAGE, Kind::Word(&["auto", "manual"]), "auto", "Whether what it made waits for a person before the run goes on."),
    key("retry", STAGE, Kind::Object(Place::StageRetry), "", "Its own retries, where they differ from those of the flow."),
    key("timeout_seconds", STAGE, SECONDS_OR_OFF, "off", "The longest that one attempt may take."),
    key("activity_timeout_seconds", STAGE, SECONDS_OR_OFF, "off", "An attempt without a sign of life for this long is ended."),
    key("degraded_exit_codes", STAGE, Kind::Codes, "none", "Exit codes that mean usable, but not whole. 0 cannot be one of them."),
    key("allow_degraded", STAGE, Kind::Bool, "false", "Whether it may say so itself, by \"status\": \"degraded\" in its output."),

    key("enabled", STAGE_RETRY, Kind::Bool, "that of the flow", "Whether it is started again; a count turns it on, too."),
    key("count", STAGE_RETRY, FEW, "that of the flow", "Retries after the first attempt."),
    key("backoff_seconds", STAGE_RETRY, SECONDS, "that of the flow", "The wait before the first retry."),
    key("multiplier", STAGE_RETRY, MULTIPLIER, "that of the flow", "Each further wait is this many times longer."),
    key("max_backoff_seconds", STAGE_RETRY, SECONDS, "that of the flow", "The longest wait."),
    key("jitter", STAGE_RETRY, JITTER, "that of the flow", "How much of the wait is random: nothing, half, all."),

    key("key", FOREACH, Kind::Text, "", "The key of the state that holds the list."),
    key("max_parallel", FOREACH, AT_LEAST_ONE, "that of the flow", "How many items may be under way at once."),
];

/// Those of each place by themselves: every key of a config is looked up here.
static BY_PLACE: LazyLock<[Vec<(&str, &Key)>; Place::ALL.len()]> = LazyLock::new(|| {
    Place::ALL.map(|place| {
        let name = |key: &Key| if place == Place::Retry { key.short } else { Some(key.name) };
        let here = |key: &&Key| place == Place::Retry || key.places.contains(&place);
        KEYS.iter().filter(here).filter_map(|key| Some((name(key)?, key))).collect()
    })
});

impl Kind {
    /// For a person, in Markdown: the words that are allowed, or the form.
    pub fn takes(self) -> String {
        let words =
            |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Any => "anything".into(),
            Self::Bool => "`true`, `false`".into(),
            Self::Whole { min, max } if max == u64::from(u32::MAX) => {
                format!("a whole number, {min} or more")
            }
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Seconds { min } => format!("seconds, {min} or more"),
            Self::SecondsOrNull { min } => format!("seconds, {min} or more; `null`"),
            Self::Word(allowed) => words(allowed),
            Self::Text => "text".into(),
            Self::TextOrNull => "text; `null`".into(),
            Self::Texts => "text, or a list of texts".into(),
            Self::Codes => "an exit code from 0 to 255, or a list of them".into(),
            Self::Signal => "`TERM`, `SIGTERM` or 15, and so on".into(),
            Self::SizeOrNull => {
                format!(
                    "bytes from {MIN_LOG_BYTES} on: 1048576, `10MB` (a million each), `1.5GiB` (2^30); `null`"
                )
            }
            Self::Umask => "`000` to `777`".into(),
            Self::Command => "a list of texts, or one text".into(),
            Self::CommandOrNull => "a list of texts, or one text; `null`".into(),
            Self::Env => "an object: `{\"NAME\": \"value\"}`".into(),
            Self::Limits => format!("an object of {}; each a number, a size or `unlimited`", words(&LIMITS)),
            Self::Activity => "`output`, `cpu`, `output\\|cpu`, or an object".into(),
            Self::Keys => "an object: `{\"action\": [\"key\"]}`".into(),
            Self::Object(_) => "an object".into(),
            Self::ObjectOrNull(_) => "an object; `null`".into(),
            Self::Named(_) => "an object: `{\"name\": { … }}`".into(),
            Self::List(_) => "a list of objects, at least one".into(),
            Self::Foreach => "text, or an object".into(),
        }
    }
}

impl Place {
    /// In the order in which they are declared.
    pub const ALL: [Self; 11] = [
        Self::File,
        Self::Runner,
        Self::Retry,
        Self::Health,
        Self::Activity,
        Self::Budget,
        Self::Flow,
        Self::Input,
        Self::Stage,
        Self::StageRetry,
        Self::Foreach,
    ];

    /// How the table of the README calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::File => "top",
            Self::Runner => "runner",
            Self::Retry => "`retry` of a runner",
            Self::StageRetry => "`retry` of a stage",
            Self::Health => "`health`",
            Self::Activity => "`activity`",
            Self::Budget => "`retry_budget`",
            Self::Flow => "flow",
            Self::Input => "input",
            Self::Stage => "stage",
            Self::Foreach => "`foreach`",
        }
    }

    /// The keys that may stand here, as they are written here.
    pub fn keys(self) -> impl Iterator<Item = (&'static str, &'static Key)> {
        BY_PLACE[self as usize].iter().copied()
    }

    /// The key that has a name here.
    pub fn key(self, name: &str) -> Option<&'static Key> {
        // Most differ in their first letter, which is looked at faster.
        let first = name.as_bytes().first();
        self.keys().find(|(known, _)| known.as_bytes().first() == first && *known == name).map(|(_, key)| key)
    }

    pub fn has(self, name: &str) -> bool {
        self.key(name).is_some()
    }
}

/// The name of a retry key inside `retry: { … }`.
pub(super) fn short(name: &'static str) -> &'static str {
    KEYS.iter().find(|key| key.name == name).and_then(|key| key.short).unwrap_or(name)
}

/// What is likely meant by a key that does not exist, as a hint.
pub(super) fn suggest(place: Place, wrong: &str) -> Option<String> {
    if wrong.starts_with('_') || wrong.starts_with('/') || wrong.contains("comment") {
        return Some("write a comment as // … or /* … */".into());
    }
    if let Some((here, _)) =
        place.keys().find(|(name, key)| *name != wrong && (key.short == Some(wrong) || key.name == wrong))
    {
        return Some(format!("did you mean \"{here}\"?"));
    }
    if place == Place::Stage
        && Place::Flow.has(wrong)
        && let Some(short) = wrong.strip_prefix("retry_")
    {
        let short = match short {
            "on_failure" => "enabled",
            "backoff_multiplier" => "multiplier",
            other => other,
        };
        return Some(format!("a stage has it in \"retry\": {{ … }}, as \"{short}\""));
    }
    if place == Place::StageRetry
        && let Some(short) = wrong.strip_prefix("retry_").filter(|short| place.has(short))
    {
        return Some(format!("did you mean \"{short}\"?"));
    }
    let elsewhere: &[(Place, &str)] = match place {
        Place::File | Place::Runner | Place::Retry => &[
            (Place::Runner, "a runner"),
            (Place::File, "the top of the file"),
            (Place::Flow, "a flow"),
            (Place::Stage, "a stage"),
        ],
        Place::Flow | Place::Stage | Place::StageRetry => &[
            (Place::Flow, "a flow"),
            (Place::Stage, "a stage"),
            (Place::Runner, "a runner"),
            (Place::File, "the top of the file"),
        ],
        Place::Health | Place::Activity | Place::Budget | Place::Input | Place::Foreach => &[],
    };
    for (elsewhere, of) in elsewhere {
        if *elsewhere != place && elsewhere.has(wrong) {
            return Some(format!("\"{wrong}\" belongs to {of}"));
        }
    }
    closest(wrong, place.keys().map(|(name, _)| name)).map(|name| format!("did you mean \"{name}\"?"))
}

/// The likely one of several words: few edits away, or the wrong one is a piece of it.
pub(super) fn closest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > 100 {
        return None;
    }
    let wrong = wrong.to_lowercase().replace(['-', ' '], "_");
    words
        .filter_map(|word| {
            let edits = edits(&wrong, &word.to_lowercase());
            let near = edits <= (wrong.chars().count() / 3).clamp(1, 4);
            let piece =
                wrong.len() >= 5 && (word.contains(&wrong) || wrong.contains(word) && word.len() >= 5);
            (near || piece).then_some((if near { edits } else { edits + 100 }, word))
        })
        .min_by_key(|(cost, _)| *cost)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_what_a_typist_does() {
        for (from, to, count) in
            [("", "", 0), ("cwd", "cwd", 0), ("cdw", "cwd", 1), ("comand", "command", 1), ("abc", "", 3)]
        {
            assert_eq!(edits(from, to), count, "{from} -> {to}");
        }
    }

    #[test]
    fn a_key_stands_once_at_each_place() {
        for place in Place::ALL {
            let mut names: Vec<_> = place.keys().map(|(name, _)| name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{place:?}");
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_likely_one() {
        let likely = |place, wrong| suggest(place, wrong);
        let meant = |name: &str| Some(format!("did you mean \"{name}\"?"));
        assert_eq!(likely(Place::File, "retry_max_retrys"), meant("retry_max_retries"));
        assert_eq!(likely(Place::File, "max_retries"), meant("retry_max_retries"));
        assert_eq!(likely(Place::Runner, "comand"), meant("command"));
        assert_eq!(likely(Place::Runner, "count"), meant("retry_max_retries"));
        assert_eq!(likely(Place::Retry, "retry_max_retries"), meant("count"));
        assert_eq!(likely(Place::Runner, "cgroup"), Some("\"cgroup\" belongs to the top of the file".into()));
        assert_eq!(likely(Place::File, "command"), Some("\"command\" belongs to a runner".into()));
        assert_eq!(likely(Place::Stage, "need"), meant("needs"));
        assert_eq!(likely(Place::Stage, "output"), meant("outputs"));
        let inside = Some("a stage has it in \"retry\": { … }, as \"count\"".into());
        assert_eq!(likely(Place::Stage, "retry_count"), inside);
        assert_eq!(likely(Place::Flow, "when"), Some("\"when\" belongs to a stage".into()));
        assert_eq!(likely(Place::Runner, "stages"), Some("\"stages\" belongs to a flow".into()));
        assert_eq!(likely(Place::Runner, "working-dir"), None);
        assert_eq!(likely(Place::Runner, "zzz"), None);
    }
}
