//! What a config that is right becomes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Environment, Loaded, Origin, load, settings};
use super::Workspace;
use crate::domain::ids::RunnerName;
use crate::domain::spec::{
    CgroupUse, CommandSpec, Jitter, Leftovers, Limit, LimitValue, Reload, RestartPolicy, RetryPolicy,
    RunnerSpec, StdinSpec, Stdio,
};

fn loaded(workspace: &Workspace, config: &str) -> Loaded {
    workspace.load(config).unwrap_or_else(|errors| panic!("{}", errors.human()))
}

fn only(workspace: &Workspace, body: &str) -> RunnerSpec {
    let config = format!(r#"{{"runners": {{"a": {body}}}}}"#);
    loaded(workspace, &config).spec.runners.remove(0)
}

#[test]
fn defaults_are_those_of_the_table() {
    let workspace = Workspace::new();
    let root = workspace.root();
    let loaded = loaded(&workspace, r#"{"runners": {"a": {"command": "true"}}}"#);
    assert_eq!(loaded.warnings, []);
    let spec = loaded.spec;
    assert_eq!((&spec.root, &spec.config_path), (&root, &root.join("config.json")));
    assert_eq!((&spec.data_dir, &spec.log_dir), (&root.join(".restage"), &root.join(".restage/logs")));
    assert_eq!((spec.cache_dir, spec.retry_log_dir, spec.retry_budget), (None, None, None));
    assert_eq!(
        (spec.cgroup, spec.tui.refresh, spec.tui.log_tail_lines),
        (CgroupUse::Auto, Duration::from_secs(1), 200)
    );
    let expected = [
        ("command", "true"),
        ("cwd", "ROOT"),
        ("restart", "on_crash"),
        ("group", "none"),
        ("autostart", "true"),
        ("stdin", "null"),
        ("activity", "off"),
        ("health", "off"),
        ("retry_on_crash", "true"),
        ("retry_max_retries", "3"),
        ("retry_backoff_seconds", "5"),
        ("retry_backoff_multiplier", "2"),
        ("retry_max_backoff_seconds", "300"),
        ("retry_jitter", "none"),
        ("retry_reset_after_seconds", "off"),
        ("retry_on_exit_codes", "all"),
        ("no_retry_exit_codes", "none"),
        ("success_exit_codes", "0"),
        ("retry_on_output", "off"),
        ("no_retry_on_output", "off"),
        ("activity_timeout_seconds", "off"),
        ("timeout_seconds", "off"),
        ("stop_signal", "15 (SIGTERM)"),
        ("stop_grace_seconds", "10"),
        ("stop_command", "off"),
        ("log_file_template", "{name}_{index}.log"),
        ("log_dir_name", "ROOT/.restage/logs"),
        ("log_max_bytes", "off"),
        ("log_keep_attempts", "100"),
        ("stdio", "auto"),
        ("env", "none"),
        ("env_file", "none"),
        ("umask", "inherited"),
        ("limits", "inherited"),
        ("leftovers", "kill"),
        ("reload", "manual"),
    ];
    let settings = settings::of_runner(&spec.runners[0]);
    let shown: Vec<(&str, String)> =
        settings.iter().map(|setting| (setting.key, workspace.neutral(&setting.value))).collect();
    let expected: Vec<(&str, String)> = expected.map(|(key, value)| (key, value.to_owned())).to_vec();
    assert_eq!(shown, expected);
}

#[test]
fn every_key_of_a_runner_arrives() {
    let workspace = Workspace::new();
    let root = workspace.root();
    let spec = only(
        &workspace,
        r#"{
      "command": ["./run.sh", "~/x", "$USER", "a$$b", "${NONE:-d}"], "cwd": "./folder/..", "group": "agents",
      "restart": "always", "autostart": false, "stdin": "plain.txt", "env": { "N": 1.50, "T": true, "U": "<$USER>" },
      "env_file": "plain.txt", "umask": "027", "limits": { "nofile": "unlimited", "as": "1GiB", "cpu": 60 },
      "stdio": "tty", "leftovers": "keep", "reload": "restart", "timeout_seconds": 0.5, "stop_signal": "sigint",
      "stop_grace_seconds": 0, "stop_command": "echo bye", "log_file_template": "{name}.{index}",
      "log_dir_name": "~/logs", "log_max_bytes": "10MB", "log_keep_attempts": 7,
      "activity": { "files": "out/*.png", "cpu": false }, "activity_timeout_seconds": 1e2,
      "health": { "command": ["true"], "interval_seconds": 1.5, "timeout_seconds": 0.25, "failures": 1 },
      "retry": { "enabled": false, "count": 0, "backoff_seconds": 0.1, "multiplier": 1, "max_backoff_seconds": 0.1,
        "jitter": "full", "reset_after_seconds": 30, "on_exit_codes": [1, 2], "not_on_exit_codes": 3,
        "success_exit_codes": [0, 4], "on_output": "429|rate limit", "not_on_output": ["a", "b"] },
    }"#,
    );
    let launch = &spec.launch;
    let home = root.join("home").display().to_string();
    let argv = ["./run.sh", &format!("{home}/x"), "ada", "a$b", "d"].map(str::to_owned).to_vec();
    assert_eq!(launch.command, CommandSpec::Argv(argv));
    assert_eq!((&launch.stdin, launch.stdio), (&StdinSpec::File(root.join("plain.txt")), Stdio::Tty));
    assert_eq!(launch.cwd, root.join("folder/.."));
    let env = [("N", "1.50"), ("T", "true"), ("U", "<ada>")];
    assert_eq!(launch.env, env.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((&launch.env_files, launch.umask), (&vec![root.join("plain.txt")], Some(0o027)));
    let limits = [
        (Limit::Nofile, LimitValue::Unlimited),
        (Limit::As, LimitValue::At(1 << 30)),
        (Limit::Cpu, LimitValue::At(60)),
    ];
    assert_eq!(launch.limits, BTreeMap::from(limits));
    assert_eq!(
        (spec.restart, spec.autostart, spec.group.as_deref()),
        (RestartPolicy::Always, false, Some("agents"))
    );
    assert_eq!((spec.leftovers, spec.reload), (Leftovers::Keep, Reload::Restart));
    assert_eq!((spec.timeout, spec.stop.signal), (Some(Duration::from_millis(500)), 2));
    assert_eq!(spec.stop.grace, Duration::ZERO);
    assert_eq!(spec.stop.command, Some(CommandSpec::Shell("echo bye".into())));
    assert_eq!((spec.log.template.as_str(), &spec.log.dir), ("{name}.{index}", &root.join("home/logs")));
    assert_eq!((spec.log.max_bytes, spec.log.keep_attempts), (Some(10_000_000), 7));
    let activity = spec.activity.unwrap();
    assert_eq!((activity.output, activity.cpu, activity.files), (true, false, vec!["out/*.png".to_owned()]));
    assert_eq!(activity.timeout, Duration::from_secs(100));
    let health = spec.health.unwrap();
    assert_eq!((health.interval, health.timeout), (Duration::from_millis(1500), Duration::from_millis(250)));
    assert_eq!((health.failures, health.command), (1, CommandSpec::Argv(vec!["true".into()])));
    let retry = RetryPolicy::clone(&spec.retry);
    assert_eq!((retry.enabled, retry.max_retries, retry.backoff.jitter), (false, 0, Jitter::Full));
    assert_eq!(
        (retry.backoff.base, retry.backoff.cap),
        (Duration::from_millis(100), Duration::from_millis(100))
    );
    assert_eq!(retry.reset_after, Some(Duration::from_secs(30)));
    assert_eq!((retry.on_exit_codes, retry.not_on_exit_codes), (Some(vec![1, 2]), vec![3]));
    assert_eq!(retry.success_exit_codes, [0, 4]);
    assert_eq!((retry.on_output.len(), retry.not_on_output.len()), (1, 2));
    assert!(retry.on_output[0].0.is_match(b"\xff HTTP 429"));
}

#[test]
fn a_runner_inherits_adds_and_turns_off() {
    let workspace = Workspace::new();
    let config = r#"{
      "retry_max_retries": 9, "activity_timeout_seconds": 60, "timeout_seconds": 5, "log_max_bytes": 5000,
      "env": { "A": "file", "B": "file" }, "limits": { "nofile": 10, "core": 0 }, "stop_command": "true",
      "env_file": ["plain.txt"], "log_dir_name": "deep/logs",
      "runners": {
        "plain": { "command": "true" },
        "own": { "command": "true", "retry_max_retries": 1, "timeout_seconds": null, "activity_timeout_seconds": null,
          "log_max_bytes": null, "stop_command": null, "env": { "B": "own", "C": "$USER" }, "limits": { "core": 5 },
          "env_file": "run.sh" },
        "always": { "command": "true", "restart": "always" },
        "never_reset": { "command": "true", "restart": "always", "retry": { "reset_after_seconds": null } }
      }
    }"#;
    let spec = loaded(&workspace, config).spec;
    let [plain, own, always, never_reset] = &spec.runners[..] else { panic!("four") };
    assert_eq!((plain.retry.max_retries, own.retry.max_retries), (9, 1));
    assert_eq!((plain.timeout, own.timeout), (Some(Duration::from_secs(5)), None));
    assert!(plain.activity.as_ref().is_some_and(|activity| activity.output && activity.cpu));
    assert!(own.activity.is_none() && own.log.max_bytes.is_none() && own.stop.command.is_none());
    let env = [("A", "file"), ("B", "own"), ("C", "ada")];
    assert_eq!(own.launch.env, env.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(own.launch.limits.len(), 2);
    assert_eq!(own.launch.limits[&Limit::Core], LimitValue::At(5));
    assert_eq!(own.launch.env_files, [workspace.root().join("plain.txt"), workspace.root().join("run.sh")]);
    assert_eq!(plain.log.dir, workspace.root().join(".restage/deep/logs"));
    assert_eq!(spec.log_dir, plain.log.dir);
    assert_eq!((plain.retry.reset_after, always.retry.reset_after), (None, Some(Duration::from_mins(10))));
    assert_eq!(never_reset.retry.reset_after, None);
}

#[test]
fn variables_are_the_shells_own_in_its_script() {
    let workspace = Workspace::new();
    let spec = only(&workspace, r#"{"command": ["bash", "-ec", "echo $i ~ $USER", "$0"], "cwd": "$USER_DIR/x"}"#
        .replace("$USER_DIR/x", "${NONE:-folder}").as_str());
    let argv = ["bash", "-ec", "echo $i ~ $USER", "$0"].map(str::to_owned).to_vec();
    assert_eq!(spec.launch.command, CommandSpec::Argv(argv));
    let spec = only(&workspace, r#"{"command": "echo $i"}"#);
    assert_eq!(spec.launch.command, CommandSpec::Shell("echo $i".into()));
    let spec = only(&workspace, r#"{"command": ["echo", "$OWN"], "env": {"OWN": "mine"}}"#);
    assert_eq!(spec.launch.command, CommandSpec::Argv(vec!["echo".into(), "mine".into()]));
}

#[test]
fn forms_of_the_small_values() {
    let workspace = Workspace::new();
    let spec =
        only(&workspace, r#"{"command": "x", "stdin": "null", "stop_signal": 9, "retry_max_retries": 3.0}"#);
    assert_eq!((spec.launch.stdin, spec.stop.signal, spec.retry.max_retries), (StdinSpec::Null, 9, 3));
    for (activity, output, cpu) in [
        (r#""output""#, true, false),
        (r#""cpu | output""#, true, true),
        (r#"["cpu"]"#, false, true),
        ("{}", true, true),
    ] {
        let body = format!(r#"{{"command": "x", "activity_timeout_seconds": 1, "activity": {activity}}}"#);
        let spec = only(&workspace, &body).activity.unwrap();
        assert_eq!((spec.output, spec.cpu), (output, cpu), "{activity}");
    }
}

#[test]
fn a_symbolic_link_to_the_folder_makes_no_second_workspace() {
    let workspace = Workspace::new();
    let real = loaded(&workspace, r#"{"runners": {"a": {"command": "x"}}}"#).spec;
    let link = workspace.root().join("home/link");
    std::os::unix::fs::symlink(workspace.root(), &link).unwrap();
    let linked = load(&link.join("config.json"), &workspace.env()).unwrap().spec;
    assert_eq!((linked.root, linked.config_path), (real.root, real.config_path));
}

#[test]
fn without_a_path_the_usual_folders_are_searched() {
    let workspace = Workspace::new();
    let path = workspace.root().join("config.json");
    std::fs::write(&path, r#"{"runners": {"a": {"command": "x"}}}"#).unwrap();
    assert!(load(&path, &Environment::default()).is_ok());
}

#[test]
fn each_value_knows_where_it_came_from() {
    let workspace = Workspace::new();
    let config = "{\n  \"retry_jitter\": \"full\",\n  \"runners\": {\n    \"a\": {\n      \"command\": \"x\",\n      \"retry\": {\n        \"count\": 2 } },\n    \"b\": { \"command\": \"x\", \"retry_max_retries\": 1 } } }";
    let origins = loaded(&workspace, config).origins;
    let of = |name: &str, key: &str| origins.of_runner(&RunnerName::parse(name).unwrap(), key);
    assert_eq!(of("a", "command"), Origin::Runner { line: 5 });
    assert_eq!(of("a", "retry_max_retries"), Origin::Runner { line: 7 });
    assert_eq!(of("b", "retry_max_retries"), Origin::Runner { line: 8 });
    assert_eq!(of("a", "retry_jitter"), Origin::File { line: 2 });
    assert_eq!(of("a", "stdio"), Origin::Default);
    assert_eq!(origins.of_file("retry_jitter"), Origin::File { line: 2 });
    assert_eq!(of("b", "retry_jitter").to_string(), "file, line 2");
}

#[test]
fn each_value_of_a_flow_knows_where_it_came_from() {
    let workspace = Workspace::new();
    let config = r#"{
      "stop_grace_seconds": 3, "timeout_seconds": 9, "retry_jitter": "full",
      "flows": { "f": { "retry_on_failure": true,
        "retry_count": 2,
        "stages": [
          { "name": "a", "command": "true" },
          { "name": "b", "command": "true", "retry": {
            "count": 5 } } ] } } }"#;
    let loaded = loaded(&workspace, config);
    let (flow, origins) = (&loaded.spec.flows[0], &loaded.origins);
    let of = |place: usize, key: &str| {
        let stage = &flow.stages[place];
        let value = settings::of_stage(stage).into_iter().find(|(known, _)| *known == key).unwrap().1;
        format!("{value}: {}", origins.of_stage(&flow.name, &stage.name, key))
    };
    assert_eq!(of(0, "retry_count"), "2: flow, line 4");
    assert_eq!(of(1, "retry_count"), "5: stage, line 8");
    assert_eq!(of(0, "stop_grace_seconds"), "3: file, line 2");
    assert_eq!(of(1, "command"), "true: stage, line 7");
    // Those at the top are for runners.
    assert_eq!(
        (of(0, "timeout_seconds"), of(0, "retry_jitter")),
        ("off: default".into(), "none: default".into())
    );
    assert_eq!(origins.of_flow(&flow.name, "stages"), Origin::Flow { line: 5 });
    assert_eq!(origins.of_flow(&flow.name, "timeout_seconds"), Origin::Default);
    let known = |key: &str| crate::config::keys::KEYS.iter().any(|known| known.name == key);
    let all = settings::of_flow(flow).into_iter().chain(settings::of_stage(&flow.stages[0]));
    assert!(all.into_iter().all(|(key, _)| known(key)));
}
