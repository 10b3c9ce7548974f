//! From what the user asked for to what one new process is made from. Values of env files pass through here and are
//! kept nowhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::env_file;
use crate::domain::flow::ids::TOLD_TO_GUESTS;
use crate::domain::hash::fnv1a_64;
use crate::domain::ids::{Attempt, AttemptId};
use crate::domain::spec::{LaunchSpec, Leftovers, RunnerSpec};
use crate::ports::{Launch, StopTree};

/// Which start of a runner this is.
#[derive(Debug, Clone)]
pub struct Turn {
    pub attempt: Attempt,
    /// Retries used since the last fresh start.
    pub retry: u32,
    pub log: PathBuf,
}

/// Everything that the attempt is started with. The error is a sentence about an env file.
pub fn launch(spec: &RunnerSpec, turn: Turn) -> Result<Launch, String> {
    let env = environment(spec, &turn)?;
    let made_from = &spec.launch;
    Ok(Launch {
        id: AttemptId { runner: spec.name.clone(), attempt: turn.attempt },
        command: made_from.command.clone(),
        cwd: made_from.cwd.clone(),
        env,
        stdin: made_from.stdin.clone(),
        stdio: made_from.stdio,
        umask: made_from.umask,
        limits: made_from.limits.clone(),
        log: turn.log,
        log_max_bytes: spec.log.max_bytes,
        stop: StopTree { signal: Some(spec.stop.signal), grace: spec.stop.grace },
        keep_leftovers: spec.leftovers == Leftovers::Keep,
    })
}

/// On top of the environment of restage itself: env files in their order, then `env`, then our own words.
pub fn environment(spec: &RunnerSpec, turn: &Turn) -> Result<BTreeMap<String, Option<String>>, String> {
    let is_guest = spec.name.is_guest();
    let mut env = BTreeMap::new();
    for path in &spec.launch.env_files {
        env.extend(env_file::read(path)?.into_iter().map(|(key, value)| (key, Some(value))));
    }
    if is_guest {
        env.extend(TOLD_TO_GUESTS.map(|key| (key.to_owned(), None)));
    }
    env.extend(spec.launch.env.iter().map(|(key, value)| (key.clone(), Some(value.clone()))));
    let own = [
        ("RESTAGE_RUNNER", Some(spec.name.to_string())),
        ("RESTAGE_ATTEMPT", Some(turn.attempt.to_string())),
        // Whether a stage is tried again is not decided by supervision.
        ("RESTAGE_RETRY", (!is_guest).then(|| turn.retry.to_string())),
        ("RESTAGE_LOG", Some(turn.log.display().to_string())),
    ];
    env.extend(own.map(|(key, value)| (key.to_owned(), value)));
    Ok(env)
}

/// Tells whether two processes would be made from the same thing. What env files hold is not part of it.
pub fn fingerprint(spec: &LaunchSpec) -> u64 {
    // 53 bits, so that the number survives every reader of JSON.
    fnv1a_64(format!("{spec:?}").as_bytes()) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunnerName;
    use crate::domain::runner::fixture;

    fn turn() -> Turn {
        Turn { attempt: fixture::nth(3), retry: 2, log: PathBuf::from("/logs/a_3.log") }
    }

    #[test]
    fn env_overrides_env_files_and_our_words_override_both() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1.env"), dir.path().join("2.env"));
        std::fs::write(&first, "A=1\nB=1\nC=1\n").unwrap();
        std::fs::write(&second, "B=2\nC=2\n").unwrap();
        let mut spec = fixture::spec("a");
        spec.launch.env_files = vec![first, second];
        spec.launch.env = [("C", "3"), ("RESTAGE_RUNNER", "x")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let env = launch(&spec, turn()).unwrap().env;
        let get = |key: &str| env[key].clone().unwrap();
        assert_eq!(["A", "B", "C"].map(get), ["1", "2", "3"]);
        assert_eq!(
            ["RESTAGE_RUNNER", "RESTAGE_ATTEMPT", "RESTAGE_RETRY", "RESTAGE_LOG"].map(get),
            ["a", "3", "2", "/logs/a_3.log"]
        );
    }

    #[test]
    fn a_guest_hears_only_what_it_is_told() {
        let mut spec = fixture::spec("a");
        spec.name = RunnerName::trusted("video-1/board");
        spec.launch.env = [("RESTAGE_STAGE".to_owned(), "board".to_owned())].into();
        let env = launch(&spec, turn()).unwrap().env;
        assert_eq!(env["RESTAGE_STAGE"].as_deref(), Some("board"));
        assert_eq!([&env["RESTAGE_PREVIOUS"], &env["RESTAGE_RETRY"]], [&None, &None], "taken away");
        let env = launch(&fixture::spec("a"), turn()).unwrap().env;
        assert!(!env.contains_key("RESTAGE_PREVIOUS"), "a runner gets what is there");
    }

    #[test]
    fn an_env_file_that_cannot_be_read_is_named() {
        let mut spec = fixture::spec("a");
        spec.launch.env_files = vec!["/nowhere.env".into()];
        assert!(launch(&spec, turn()).unwrap_err().contains("/nowhere.env"));
    }

    #[test]
    fn the_fingerprint_tells_what_needs_a_new_process() {
        let (mut spec, before) = (fixture::spec("a"), fingerprint(&fixture::spec("a").launch));
        assert_eq!(fingerprint(&spec.launch), before);
        spec.launch.env.insert("A".into(), "1".into());
        assert_ne!(fingerprint(&spec.launch), before);
        assert!(fingerprint(&spec.launch) < 1 << 53);
    }
}
