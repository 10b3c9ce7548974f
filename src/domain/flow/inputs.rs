//! What a run is given: checked against what its flow declares, before anything starts.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::ids::{FlowName, RunId};
use super::refusal::Refusal;
use super::spec::{FlowSpec, InputKind, InputSpec};
use crate::domain::json::{Json, JsonMap};

impl InputKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
        }
    }

    pub fn fits(self, value: &Json) -> bool {
        let first = value.text().bytes().next();
        match self {
            Self::Any => true,
            Self::String => first == Some(b'"'),
            Self::Number => first.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit()),
            Self::Integer => {
                let digits = value.text().strip_prefix('-').unwrap_or(value.text());
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Boolean => matches!(value.text(), "true" | "false"),
            Self::Object => first == Some(b'{'),
            Self::Array => first == Some(b'['),
        }
    }
}

/// `k=v` of a command line. It is JSON where another kind than a text is declared, and the text as it stands otherwise:
/// also where the kind is any or the key is no input, so that nothing is guessed from how a value looks.
pub fn from_text(flow: &FlowSpec, key: &str, text: &str) -> Result<Json, Refusal> {
    let kind = flow.inputs.get(key).map_or(InputKind::Any, |spec| spec.kind);
    match kind {
        InputKind::Any | InputKind::String => Ok(Json::string(text)),
        InputKind::Number
        | InputKind::Integer
        | InputKind::Boolean
        | InputKind::Object
        | InputKind::Array => Json::parse(text)
            .ok()
            .filter(|value| kind.fits(value))
            .ok_or_else(|| wrong_kind(&flow.name, key, kind, &Json::string(text))),
    }
}

/// The inputs of a new run: what is given, and the defaults of what is not.
pub fn of_new(flow: &FlowSpec, given: &JsonMap) -> Result<JsonMap, Refusal> {
    if let Some(key) = given.keys().find(|key| !flow.inputs.contains_key(*key)) {
        return Err(unknown(flow, key, Vec::new()));
    }
    check_kinds(flow, given)?;
    let inputs = with_defaults(&flow.inputs, given);
    check_required(flow, None, &inputs)?;
    check_read(flow, &inputs)?;
    Ok(inputs)
}

/// One that need not be given is required all the same by a stage that is sure to be executed.
fn check_read(flow: &FlowSpec, inputs: &JsonMap) -> Result<(), Refusal> {
    let open = |key: &&String| flow.inputs.contains_key(*key) && !inputs.contains_key(*key);
    let mut wanting: Vec<(usize, &String)> = Vec::new();
    for (place, stage) in flow.stages.iter().enumerate() {
        wanting.extend(stage.requires.iter().filter(open).map(|key| (place, key)));
    }
    if wanting.is_empty() {
        return Ok(());
    }
    // Its links were looked at when the config was read.
    let Ok(graph) = Graph::of(flow) else { return Ok(()) };
    let is_missing = |(place, key): &(usize, &String)| {
        let before = graph.ancestors(&[*place]);
        let is_certain = before.iter().chain([place]).all(|stage| flow.stages[*stage].when.is_none());
        is_certain && !before.iter().any(|stage| flow.stages[*stage].outputs.contains(*key))
    };
    let keys: BTreeSet<String> = wanting.into_iter().filter(is_missing).map(|(_, key)| key.clone()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    Err(Refusal::MissingInputs { flow: flow.name.clone(), run: None, keys: keys.into_iter().collect() })
}

/// The inputs of a retry: the recorded ones, with `set` over them and today's defaults for what was never given. What
/// today's flow does not declare any more is kept, since a stage may still read it. A key may be set if it is an input, or
/// if a stage requires it and none provides it. What is recorded has to be what today's flow declares, as what is set has.
pub fn of_retry(flow: &FlowSpec, run: &RunId, recorded: &JsonMap, set: &JsonMap) -> Result<JsonMap, Refusal> {
    for key in set.keys().filter(|key| !flow.inputs.contains_key(*key)) {
        if let Some(stage) = flow.stages.iter().find(|stage| stage.outputs.contains(key)) {
            return Err(Refusal::Unusable {
                message: format!("{key} is no input of {}: {} writes it", flow.name, stage.name),
                hint: Some(format!(
                    "edit what that stage left behind: restage edit RUN {} --set {key}=…",
                    stage.name
                )),
            });
        }
        let wanted: Vec<&String> = flow.stages.iter().flat_map(|stage| &stage.requires).collect();
        if !wanted.contains(&key) && !recorded.contains_key(key) {
            // What a stage writes cannot be set.
            let is_written = |key: &&String| flow.stages.iter().any(|stage| stage.outputs.contains(key));
            return Err(unknown(flow, key, wanted.into_iter().filter(|key| !is_written(key)).collect()));
        }
    }
    check_kinds(flow, set)?;
    let mut inputs = recorded.clone();
    inputs.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
    check_kinds(flow, &inputs).map_err(|refusal| recorded_wrong(flow, run, &inputs, refusal))?;
    let inputs = with_defaults(&flow.inputs, &inputs);
    check_required(flow, Some(run), &inputs)?;
    Ok(inputs)
}

/// What was given at the time does not fit any more.
fn recorded_wrong(flow: &FlowSpec, run: &RunId, inputs: &JsonMap, refusal: Refusal) -> Refusal {
    let Refusal::Unusable { message, hint } = refusal else { return refusal };
    let fits =
        |(key, value): &(&String, &Json)| flow.inputs.get(*key).is_none_or(|spec| spec.kind.fits(value));
    let wrong = inputs.iter().find(|entry| !fits(entry)).map(|(key, _)| key.as_str()).unwrap_or_default();
    let instance = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    Refusal::Unusable {
        message: format!("{message}, which {run} was given"),
        hint: Some(format!("give another: restage retry {run} --set {wrong}=…{instance}")),
    }
}

fn check_required(flow: &FlowSpec, run: Option<&RunId>, inputs: &JsonMap) -> Result<(), Refusal> {
    let is_missing = |(key, spec): &(&String, &InputSpec)| spec.required && !inputs.contains_key(*key);
    let keys: Vec<String> = flow.inputs.iter().filter(is_missing).map(|(key, _)| key.clone()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    Err(Refusal::MissingInputs { flow: flow.name.clone(), run: run.cloned(), keys })
}

/// The inputs that a second wish names otherwise than the first was given, or leaves out where nothing stands in.
pub fn that_differ(flow: Option<&FlowSpec>, recorded: &JsonMap, given: &JsonMap) -> Vec<String> {
    let default = |key: &String| flow.and_then(|flow| flow.inputs.get(key)?.default.as_ref());
    let other = given.iter().filter(|(key, value)| recorded.get(*key) != Some(*value));
    let left_out = recorded.keys().filter(|key| !given.contains_key(*key) && default(key).is_none());
    other.map(|(key, _)| key).chain(left_out).cloned().collect()
}

fn with_defaults(specs: &BTreeMap<String, InputSpec>, given: &JsonMap) -> JsonMap {
    let mut inputs = given.clone();
    for (key, spec) in specs {
        if let (Some(default), false) = (&spec.default, inputs.contains_key(key)) {
            inputs.insert(key.clone(), default.clone());
        }
    }
    inputs
}

fn check_kinds(flow: &FlowSpec, given: &JsonMap) -> Result<(), Refusal> {
    for (key, value) in given {
        if let Some(why) = value.unreadable() {
            return Err(Refusal::Unusable {
                message: format!("{key} {why}"),
                hint: Some("write it to a file, and give its path as the input".into()),
            });
        }
        if let Some(spec) = flow.inputs.get(key)
            && !spec.kind.fits(value)
        {
            return Err(wrong_kind(&flow.name, key, spec.kind, value));
        }
    }
    Ok(())
}

fn wrong_kind(flow: &FlowName, key: &str, kind: InputKind, value: &Json) -> Refusal {
    let example = match kind {
        InputKind::Any | InputKind::String => "\"text\"",
        InputKind::Number => "2.5",
        InputKind::Integer => "3",
        InputKind::Boolean => "true",
        InputKind::Object => "{\"key\": 1}",
        InputKind::Array => "[1, 2]",
    };
    let mut shown: String = value.text().chars().take(60).collect();
    if shown.len() < value.text().len() {
        shown.push('…');
    }
    let article =
        if matches!(kind, InputKind::Any | InputKind::Integer | InputKind::Object | InputKind::Array) {
            "an"
        } else {
            "a"
        };
    Refusal::Unusable {
        message: format!(
            "the input {key} of {flow} has to be {article} {}, and {shown} is none",
            kind.word()
        ),
        hint: Some(format!("for instance {key}={example}")),
    }
}

fn unknown(flow: &FlowSpec, key: &str, also: Vec<&String>) -> Refusal {
    let mut known: Vec<&str> = flow.inputs.keys().chain(also).map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    Refusal::Unusable {
        message: format!("{} has no input {key}", flow.name),
        hint: Some(if known.is_empty() {
            "it has none; declare it under \"inputs\" of the flow".into()
        } else {
            format!("there are: {}", known.join(", "))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::flow;
    use super::super::when::Expression;
    use super::*;

    fn declared() -> FlowSpec {
        let mut flow = flow("a: >script\n b: a <seed");
        let mut add = |key: &str, kind, required, default: Option<&str>| {
            let default = default.map(|text| Json::parse(text).unwrap());
            flow.inputs.insert(key.into(), InputSpec { required, default, kind });
        };
        add("question", InputKind::String, true, None);
        add("count", InputKind::Integer, false, Some("3"));
        add("ratio", InputKind::Number, false, None);
        add("draft", InputKind::Boolean, false, None);
        add("scenes", InputKind::Array, false, None);
        add("style", InputKind::Object, false, None);
        add("extra", InputKind::Any, false, None);
        flow
    }

    #[test]
    fn what_a_stage_is_sure_to_require_has_to_be_given() {
        let mut flow = flow("a: <x >y\n b: a <y <z\n c: <x\n d: c");
        for key in ["x", "y", "z"] {
            flow.inputs
                .insert(key.into(), InputSpec { required: false, default: None, kind: InputKind::Any });
        }
        let missing = |flow: &FlowSpec, given: &str| match of_new(flow, &map(given)) {
            Err(Refusal::MissingInputs { keys, .. }) => keys,
            other => panic!("{other:?}"),
        };
        assert_eq!(missing(&flow, "{}"), ["x", "z"], "a writes y");
        assert_eq!(missing(&flow, r#"{"x": 1}"#), ["z"]);
        assert!(of_new(&flow, &map(r#"{"x": 1, "z": null}"#)).is_ok());
        flow.stages[0].when = Some(Expression::parse("x == 1").unwrap());
        assert_eq!(missing(&flow, "{}"), ["x"], "c is sure to be executed, b is not");
    }

    fn map(text: &str) -> JsonMap {
        serde_json::from_str(text).unwrap()
    }

    fn told(refusal: &Refusal) -> String {
        format!("{refusal} | {}", refusal.hint())
    }

    #[test]
    fn a_text_is_json_only_where_the_kind_asks_for_it() {
        let flow = declared();
        for (key, text, value) in [
            ("question", "5", r#""5""#),
            ("extra", "[1]", r#""[1]""#),
            ("nowhere", "true", r#""true""#),
            ("count", "-12345678901234567890", "-12345678901234567890"),
            ("ratio", "2.50e3", "2.50e3"),
            ("draft", " true ", "true"),
            ("scenes", "[1, {\"a\": 2}]", "[1,{\"a\":2}]"),
            ("style", "{}", "{}"),
        ] {
            assert_eq!(from_text(&flow, key, text).unwrap().text(), value, "{key}");
        }
        for (key, text, message) in [
            (
                "count",
                "2.0",
                "the input count of f has to be an integer, and \"2.0\" is none | for instance count=3",
            ),
            (
                "ratio",
                "much",
                "the input ratio of f has to be a number, and \"much\" is none | for instance ratio=2.5",
            ),
            (
                "draft",
                "yes",
                "the input draft of f has to be a boolean, and \"yes\" is none | for instance draft=true",
            ),
            (
                "scenes",
                "1,2",
                "the input scenes of f has to be an array, and \"1,2\" is none | for instance scenes=[1, 2]",
            ),
            (
                "style",
                "{",
                "the input style of f has to be an object, and \"{\" is none | for instance style={\"key\": 1}",
            ),
            (
                "count",
                "",
                "the input count of f has to be an integer, and \"\" is none | for instance count=3",
            ),
        ] {
            assert_eq!(told(&from_text(&flow, key, text).unwrap_err()), message);
        }
    }

    #[test]
    fn a_new_run_has_what_is_given_and_the_defaults() {
        let flow = declared();
        let inputs = of_new(&flow, &map(r#"{"question": "why", "style": {"b": 1, "a": [ ]}}"#)).unwrap();
        assert_eq!(
            serde_json::to_string(&inputs).unwrap(),
            r#"{"count":3,"question":"why","style":{"b":1,"a":[]}}"#
        );
        for (given, message) in [
            ("{}", "f requires the input question | give it: restage run f --input question=…"),
            (
                r#"{"question": "x", "Count": 1}"#,
                "f has no input Count | there are: count, draft, extra, question, ratio, scenes, style",
            ),
            (
                r#"{"question": null}"#,
                "the input question of f has to be a string, and null is none | for instance question=\"text\"",
            ),
            (
                r#"{"question": "x", "count": "1"}"#,
                "the input count of f has to be an integer, and \"1\" is none | for instance count=3",
            ),
        ] {
            assert_eq!(told(&of_new(&flow, &map(given)).unwrap_err()), message);
        }
        let bare = super::super::testing::flow("a:");
        assert_eq!(
            told(&of_new(&bare, &map(r#"{"x": 1}"#)).unwrap_err()),
            "f has no input x | it has none; declare it under \"inputs\" of the flow"
        );
    }

    #[test]
    fn a_retry_starts_from_the_recorded_inputs() {
        let flow = declared();
        let (run, recorded) = (RunId::trusted("f-12"), map(r#"{"question": "why", "gone": 1}"#));
        let inputs =
            of_retry(&flow, &run, &recorded, &map(r#"{"seed": 7, "question": "how", "gone": 2}"#)).unwrap();
        assert_eq!(
            serde_json::to_string(&inputs).unwrap(),
            r#"{"count":3,"gone":2,"question":"how","seed":7}"#
        );
        for (set, message) in [
            (
                r#"{"script": 1}"#,
                "script is no input of f: a writes it | edit what that stage left behind: restage edit RUN a --set script=…",
            ),
            (
                r#"{"sed": 1}"#,
                "f has no input sed | there are: count, draft, extra, question, ratio, scenes, seed, style",
            ),
            (
                r#"{"count": true}"#,
                "the input count of f has to be an integer, and true is none | for instance count=3",
            ),
        ] {
            assert_eq!(told(&of_retry(&flow, &run, &recorded, &map(set)).unwrap_err()), message);
        }
    }
    #[test]
    fn what_is_recorded_has_to_be_what_is_declared_today() {
        let flow = declared();
        let run = RunId::trusted("f-12");
        let told = |recorded: &str, set: &str| {
            let refusal = of_retry(&flow, &run, &map(recorded), &map(set)).unwrap_err();
            format!("{} {}", refusal.code(), told(&refusal))
        };
        assert_eq!(
            told("{}", "{}"),
            "15 f requires the input question | give it: restage retry f-12 --set question=…"
        );
        assert_eq!(
            told(r#"{"question": "x", "count": "3"}"#, "{}"),
            "2 the input count of f has to be an integer, and \"3\" is none, which f-12 was given | give another: \
             restage retry f-12 --set count=… (for instance count=3)"
        );
        let set = of_retry(&flow, &run, &map(r#"{"count": "3"}"#), &map(r#"{"question": "x", "count": 4}"#));
        assert_eq!(serde_json::to_string(&set.unwrap()).unwrap(), r#"{"count":4,"question":"x"}"#);
    }

    #[test]
    fn two_wishes_with_one_key_are_the_same_where_their_inputs_are() {
        let flow = declared();
        for (recorded, given, differ) in [
            (r#"{"question": "x", "count": 3}"#, r#"{"question": "x"}"#, &[][..]),
            // The default was another one then.
            (r#"{"question": "x", "count": 2}"#, r#"{"question": "x"}"#, &[]),
            (r#"{"question": "x", "count": 3}"#, r#"{"question": "y", "count": 4}"#, &["count", "question"]),
            (r#"{"question": "x", "draft": true}"#, r#"{"question": "x", "ratio": 1}"#, &["ratio", "draft"]),
        ] {
            assert_eq!(that_differ(Some(&flow), &map(recorded), &map(given)), differ, "{recorded} {given}");
        }
    }
}
