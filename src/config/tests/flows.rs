//! What flows that are right become.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::Workspace;
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::StageName;
use crate::domain::flow::spec::{
    Approve, Concurrency, EnvValue, FlowSpec, Foreach, InputKind, InputSpec, StageRetry,
};
use crate::domain::json::Json;
use crate::domain::spec::{Backoff, CommandSpec, Jitter, Limit, LimitValue, Stdio, StopSpec};

fn flow(workspace: &Workspace, config: &str) -> FlowSpec {
    let loaded = workspace.load(config).unwrap_or_else(|errors| panic!("{}", errors.human()));
    assert_eq!(loaded.warnings, []);
    FlowSpec::clone(&loaded.spec.flows[0])
}

fn names(list: &[StageName]) -> Vec<&str> {
    list.iter().map(StageName::as_str).collect()
}

#[test]
fn defaults_of_a_flow_and_a_stage() {
    let workspace = Workspace::new();
    let root = workspace.root();
    // What the file says of runners' retries and times does not reach a stage.
    let config = r#"{"retry_max_retries": 9, "retry_backoff_seconds": 7, "timeout_seconds": 5, "activity_timeout_seconds": 5,
        "flows": {"f": {"stages": [{"name": "a", "command": "x"}]}}}"#;
    let flow = flow(&workspace, config);
    assert_eq!((flow.name.as_str(), &flow.root), ("f", &root));
    assert_eq!((flow.timeout, flow.max_parallel, flow.concurrency), (None, None, Concurrency::Allow));
    assert_eq!((flow.max_retry_depth, flow.max_retries_per_checkpoint), (10, 5));
    assert_eq!(flow.keep_failed, Duration::from_hours(7 * 24));
    assert_eq!(flow.hook_timeout, Some(Duration::from_mins(5)));
    assert!(
        flow.inputs.is_empty()
            && flow.env.is_empty()
            && flow.on_success.is_none()
            && flow.on_failure.is_none()
    );
    let [stage] = &flow.stages[..] else { panic!("one") };
    assert_eq!((&stage.command, &stage.cwd), (&CommandSpec::Shell("x".into()), &root));
    assert_eq!(stage.stop, StopSpec { signal: 15, grace: Duration::from_secs(10), command: None });
    assert_eq!((stage.stdio, stage.umask, stage.log_max_bytes), (Stdio::Auto, None, None));
    assert!(stage.needs.is_empty() && stage.optional_needs.is_empty() && stage.validates.is_none());
    assert!(stage.requires.is_empty() && stage.outputs.is_empty() && stage.artifacts.is_empty());
    assert_eq!((stage.timeout, stage.activity_timeout, stage.approve), (None, None, Approve::Auto));
    assert!(stage.degraded_exit_codes.is_empty() && !stage.allow_degraded);
    assert!(stage.when.is_none() && stage.foreach.is_none());
    let backoff = Backoff {
        base: Duration::from_secs(1),
        multiplier: 2.0,
        cap: Duration::from_mins(5),
        jitter: Jitter::None,
    };
    assert_eq!(stage.retry, StageRetry { count: 0, backoff });
}

#[test]
fn every_key_of_a_flow_and_a_stage_arrives() {
    let workspace = Workspace::new();
    let root = workspace.root();
    let flow = flow(
        &workspace,
        r#"{
      "env": { "A": "file", "B": "file", "C": "file" }, "env_file": "plain.txt", "limits": { "nofile": 10, "core": 0 },
      "umask": "077", "stop_signal": "INT", "stop_grace_seconds": 3, "stop_command": "true", "stdio": "pipe",
      "log_max_bytes": "1MB",
      "flows": { "video": {
        "inputs": { "question": { "required": true, "type": "string" }, "scenes": { "default": [1, { "b": 1.50 }], "type": "array" } },
        "retry_on_failure": true, "retry_count": 2, "retry_backoff_seconds": 0.5, "retry_backoff_multiplier": 3,
        "retry_max_backoff_seconds": 10, "retry_jitter": "full", "timeout_seconds": 3600, "max_parallel": 4,
        "max_retry_depth": 3, "max_retries_per_checkpoint": 2, "keep_failed_days": 0.5, "concurrency": "refuse",
        "on_success": ["./run.sh", "$B"], "on_failure": "echo no", "hook_timeout_seconds": 1.5,
        "env": { "B": "flow", "C": "flow", "API_TOKEN": "s" },
        "stages": [
          { "name": "script", "command": ["./run.sh", "~", "$C"], "outputs": "script", "cwd": "folder/..", "umask": "022" },
          { "name": "draw", "command": "x", "needs": ["script"], "optional_needs": "script", "requires": ["script", "question"],
            "artifacts": ["*.png", "a/**"], "outputs": ["board", "count"], "env": { "C": "stage", "MY_SECRET": "$USER" },
            "env_file": ["run.sh"], "limits": { "core": 5 }, "retry": { "enabled": true, "count": 3, "backoff_seconds": 1,
              "multiplier": 1, "max_backoff_seconds": 2, "jitter": "equal" },
            "timeout_seconds": 60, "activity_timeout_seconds": 6, "approve": "manual", "degraded_exit_codes": [3, 4],
            "allow_degraded": true, "stdio": "tty", "stop_signal": "HUP", "stop_grace_seconds": 1, "stop_command": null,
            "log_max_bytes": null },
          { "name": "check", "validates": "draw", "command": "x", "when": "count > 3", "retry": { "enabled": false } },
          { "name": "each", "needs": "check", "command": "x", "foreach": { "key": "scenes", "max_parallel": 2 } },
          { "name": "every", "needs": "draw", "command": "x", "foreach": "scenes", "retry": { "count": 1 } } ] } }
    }"#,
    );
    assert_eq!(flow.timeout, Some(Duration::from_hours(1)));
    assert_eq!((flow.max_parallel, flow.max_retry_depth, flow.max_retries_per_checkpoint), (Some(4), 3, 2));
    assert_eq!((flow.keep_failed, flow.concurrency), (Duration::from_hours(12), Concurrency::Refuse));
    let argv = |list: &[&str]| CommandSpec::Argv(list.iter().map(|arg| (*arg).to_owned()).collect());
    assert_eq!(flow.on_success, Some(argv(&["./run.sh", "flow"])));
    assert_eq!(flow.on_failure, Some(CommandSpec::Shell("echo no".into())));
    assert_eq!(flow.hook_timeout, Some(Duration::from_millis(1500)));
    let plain = |text: &str| EnvValue::Plain(text.into());
    let secret = |text: &str| EnvValue::Secret(text.into());
    let env = [("A", plain("file")), ("API_TOKEN", secret("s")), ("B", plain("flow")), ("C", plain("flow"))];
    assert_eq!(flow.env, env.clone().map(|(name, value)| (name.to_owned(), value)).into());
    let question = InputSpec { required: true, default: None, kind: InputKind::String };
    assert_eq!(flow.inputs["question"], question);
    let default = Json::parse(r#"[1,{"b":1.50}]"#).unwrap();
    assert_eq!(
        flow.inputs["scenes"],
        InputSpec { required: false, default: Some(default), kind: InputKind::Array }
    );

    let [script, draw, check, each, every] = &flow.stages[..] else { panic!("five") };
    let home = root.join("home").display().to_string();
    assert_eq!(script.command, argv(&["./run.sh", &home, "flow"]));
    assert_eq!(
        (&script.cwd, script.umask, script.stdio),
        (&root.join("folder/.."), Some(0o022), Stdio::Pipe)
    );
    assert_eq!((script.log_max_bytes, &script.outputs), (Some(1_000_000), &vec!["script".to_owned()]));
    let stop = StopSpec {
        signal: 2,
        grace: Duration::from_secs(3),
        command: Some(CommandSpec::Shell("true".into())),
    };
    assert_eq!(script.stop, stop);
    let backoff = Backoff {
        base: Duration::from_millis(500),
        multiplier: 3.0,
        cap: Duration::from_secs(10),
        jitter: Jitter::Full,
    };
    assert_eq!(script.retry, StageRetry { count: 2, backoff });
    assert_eq!((&script.env, &script.env_files), (&flow.env, &vec![root.join("plain.txt")]));

    // What is needed optionally is not needed, too.
    assert_eq!((names(&draw.needs), names(&draw.optional_needs)), (vec![], vec!["script"]));
    let mut env = flow.env.clone();
    env.extend([("C".to_owned(), plain("stage")), ("MY_SECRET".to_owned(), secret("ada"))]);
    assert_eq!((&draw.env, &draw.env_files), (&env, &vec![root.join("plain.txt"), root.join("run.sh")]));
    assert_eq!((draw.requires.len(), draw.outputs.len(), draw.artifacts.len()), (2, 2, 2));
    assert_eq!(
        (draw.limits[&Limit::Core], draw.limits[&Limit::Nofile]),
        (LimitValue::At(5), LimitValue::At(10))
    );
    assert_eq!((draw.stop.signal, draw.stop.grace, &draw.stop.command), (1, Duration::from_secs(1), &None));
    assert_eq!((draw.stdio, draw.log_max_bytes, draw.umask), (Stdio::Tty, None, Some(0o077)));
    assert_eq!(draw.timeout, Some(Duration::from_mins(1)));
    assert_eq!(draw.activity_timeout, Some(Duration::from_secs(6)));
    assert_eq!(
        (draw.approve, &draw.degraded_exit_codes, draw.allow_degraded),
        (Approve::Manual, &vec![3, 4], true)
    );
    let backoff = Backoff {
        base: Duration::from_secs(1),
        multiplier: 1.0,
        cap: Duration::from_secs(2),
        jitter: Jitter::Equal,
    };
    assert_eq!(draw.retry, StageRetry { count: 3, backoff });

    assert_eq!(check.validates.as_ref().map(StageName::as_str), Some("draw"));
    assert_eq!((check.when.as_ref().unwrap().text(), check.retry.count), ("count > 3", 0));
    assert_eq!(each.foreach, Some(Foreach { key: "scenes".into(), max_parallel: Some(2) }));
    assert_eq!(every.foreach, Some(Foreach { key: "scenes".into(), max_parallel: None }));
    assert_eq!((each.retry.count, every.retry.count), (2, 1));
    let order: Vec<usize> = Graph::of(&flow).unwrap().order().to_vec();
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn retries_are_on_where_the_flow_or_the_stage_says_so() {
    let workspace = Workspace::new();
    for (of_flow, of_stage, count) in [
        ("", "", 0),
        (r#""retry_on_failure": true, "retry_count": 2,"#, "", 2),
        (r#""retry_on_failure": true, "retry_count": 2,"#, r#", "retry": {"enabled": false}"#, 0),
        (r#""retry_on_failure": true, "retry_count": 2,"#, r#", "retry": {"count": 0}"#, 0),
        (r#""retry_count": 2,"#, r#", "retry": {"enabled": true}"#, 2),
        ("", r#", "retry": {"enabled": true, "count": 3}"#, 3),
        ("", r#", "retry": {"count": 3}"#, 3),
        ("", r#", "retry": {"enabled": false, "count": 3}"#, 0),
    ] {
        let config = format!(
            r#"{{"flows": {{"f": {{{of_flow} "stages": [{{"name": "a", "command": "x"{of_stage}}}]}}}}}}"#
        );
        assert_eq!(flow(&workspace, &config).stages[0].retry.count, count, "{config}");
    }
}

#[test]
fn keys_may_come_from_any_ancestor_and_be_written_again_in_order() {
    let workspace = Workspace::new();
    let config = r#"{"flows": {"f": {"inputs": {"q": {}}, "stages": [
        {"name": "late", "command": "x", "needs": "mid", "requires": ["k", "q"], "when": "state.k == 1", "outputs": "k"},
        {"name": "mid", "command": "x", "optional_needs": "early", "outputs": "k"},
        {"name": "early", "command": "x", "outputs": ["k", "l"]},
        {"name": "check", "command": "x", "validates": "early", "outputs": "judged"},
        {"name": "end", "command": "x", "needs": "mid", "foreach": "judged", "when": "exists(q)"}]}}}"#;
    assert_eq!(flow(&workspace, config).stages.len(), 5);
}

#[test]
fn flows_need_no_runners_and_runners_no_flows() {
    let workspace = Workspace::new();
    let stages = r#"{"f": {"stages": [{"name": "a", "command": "x"}]}, "g": {"stages": [{"name": "a", "command": "x"}]}}"#;
    for config in [format!(r#"{{"flows": {stages}}}"#), format!(r#"{{"runners": {{}}, "flows": {stages}}}"#)]
    {
        let loaded = workspace.load(&config).unwrap();
        assert_eq!((loaded.spec.flows.len(), loaded.warnings.len()), (2, 0), "{config}");
    }
    let loaded = workspace.load(r#"{"flows": {}, "runners": {"a": {"command": "x"}}}"#).unwrap();
    assert_eq!((loaded.spec.flows.len(), loaded.warnings.len()), (0, 0));
}

/// Of the processor, so that a busy machine does not count. Generous: it is to tell linear from quadratic in a debug
/// build.
const SOON: Duration = Duration::from_secs(5);

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn ten_thousand_stages_that_hand_a_key_on() {
    let workspace = Workspace::new();
    let stage = |n: usize| match n {
        0 => r#"{"name": "s0", "command": "x", "outputs": ["k0", "k"]}"#.to_owned(),
        n => {
            let before = n - 1;
            format!(
                r#"{{"name": "s{n}", "command": "x", "needs": ["s{before}"], "requires": ["k{before}", "k"], "outputs": ["k{n}", "k"]}}"#
            )
        }
    };
    let stages: Vec<String> = (0..10_000).map(stage).collect();
    let config = format!(r#"{{"flows": {{"f": {{"stages": [{}]}}}}}}"#, stages.join(",\n"));
    let start = cpu();
    let flow = flow(&workspace, &config);
    assert_eq!(flow.stages.len(), 10_000);
    let took = cpu().saturating_sub(start);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn fifty_layers_of_fifty_stages() {
    let workspace = Workspace::new();
    let stage = |n: usize| {
        let layer = n / 50;
        let needs: Vec<String> =
            (0..50).filter(|_| layer > 0).map(|at| format!("\"s{}\"", (layer - 1) * 50 + at)).collect();
        let requires = if layer > 0 { format!("\"k{}\"", n - 50) } else { String::new() };
        format!(
            r#"{{"name": "s{n}", "command": "x", "needs": [{}], "requires": [{requires}], "outputs": ["k{n}"]}}"#,
            needs.join(",")
        )
    };
    let stages: Vec<String> = (0..2_500).map(stage).collect();
    let config = format!(r#"{{"flows": {{"f": {{"stages": [{}]}}}}}}"#, stages.join(",\n"));
    let start = cpu();
    let flow = flow(&workspace, &config);
    assert_eq!(Graph::of(&flow).unwrap().edges(), 122_500);
    let took = cpu().saturating_sub(start);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn what_a_stage_needs_has_to_be_there_when_it_starts_and_a_runner_at_once() {
    let workspace = Workspace::new();
    let stage =
        r#"{"name": "s", "command": ["./made"], "cwd": "made", "env_file": ["made.env", "/nowhere/.env"]}"#;
    let loaded = workspace.load(format!(r#"{{"flows": {{"a": {{"stages": [{stage}]}}}}}}"#)).unwrap();
    let told: Vec<String> = loaded.warnings.iter().map(|one| workspace.neutral(&one.message)).collect();
    let missing = |what: &str| {
        format!("the {what} cannot be found: it does not exist; it has to be there when the stage starts")
    };
    assert_eq!(told, ["folder ROOT/made", "file ROOT/made.env", "file /nowhere/.env"].map(missing));
    let wrong = [
        r#"{"flows": {"a": {"stages": [{"name": "s", "command": "true", "cwd": "plain.txt"}]}}}"#,
        r#"{"flows": {"a": {"stages": [{"name": "s", "command": "true", "env_file": "folder"}]}}}"#,
        r#"{"env_file": "none", "flows": {"a": {"stages": [{"name": "s", "command": "true"}]}}}"#,
        r#"{"runners": {"a": {"command": "true", "env_file": "made.env"}}}"#,
    ];
    for config in wrong {
        assert_eq!(workspace.load(config).unwrap_err().errors(), 1, "{config}");
    }
}
