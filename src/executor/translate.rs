//! Between the words of the ports and the words of the keeper.

use std::io;
use std::time::Duration;

use crate::domain::ids::{Attempt, AttemptId, Process, RunnerName};
use crate::domain::spec::{CommandSpec, Limit, LimitValue, StdinSpec};
use crate::domain::time::Mono;
use crate::domain::verdict::ExitStatus;
use crate::keeper::wire::{Exit, ExitKind, LiveAttempt as WireLive, Order, Report, SpawnSpec, SpawnStep};
use crate::ports::{
    ExecEvent, ExecExit, Inventory, Launch, LiveAttempt, SpawnFailure, SpawnFailureKind, StopTree, Usage,
};

use super::stdio::Scripts;

pub(super) fn spawn(launch: &Launch, scripts: &mut Scripts) -> Order {
    let kind = scripts.resolve(launch.stdio, &launch.command, &launch.cwd);
    let spec = SpawnSpec {
        argv: launch.command.argv(),
        cwd: launch.cwd.clone(),
        env: launch.env.clone(),
        stdin: match &launch.stdin {
            StdinSpec::Null => None,
            StdinSpec::File(path) => Some(path.clone()),
        },
        stdio: kind,
        log: launch.log.clone(),
        log_max_bytes: launch.log_max_bytes,
        umask: launch.umask,
        limits: launch.limits.iter().map(|(limit, value)| limit_triple(*limit, *value)).collect(),
        stop_signal: launch.stop.signal.unwrap_or(15),
        grace_ms: millis(launch.stop.grace),
        keep_leftovers: launch.keep_leftovers,
    };
    Order::Spawn { key: launch.id.to_string(), spec: Box::new(spec) }
}

pub(super) fn stop(attempt: &AttemptId, stop: StopTree) -> Order {
    Order::Stop { key: attempt.to_string(), signal: stop.signal, grace_ms: millis(stop.grace) }
}

/// What a report means; `None` for one that names no attempt of ours, which a keeper of our version never sends.
pub(super) fn event(report: Report) -> Option<ExecEvent> {
    Some(match report {
        Report::Welcome { guarded, live, exits, .. } => ExecEvent::Connected(Inventory {
            live: live.into_iter().filter_map(live_attempt).collect(),
            exits: exits.iter().filter_map(exit).collect(),
            guarded,
        }),
        Report::Refused { why, .. } => ExecEvent::Disconnected { why },
        Report::Spawned { key, pid, start } => {
            ExecEvent::Spawned { id: attempt_id(&key)?, process: Process { pid, start } }
        }
        Report::SpawnFailed { key, step, errno, subject } => {
            ExecEvent::SpawnFailed { id: attempt_id(&key)?, failure: failure(step, errno, &subject) }
        }
        Report::Busy { key } => ExecEvent::SpawnFailed {
            id: attempt_id(&key)?,
            failure: SpawnFailure {
                message: "what is left of an earlier attempt still lives".into(),
                kind: SpawnFailureKind::Busy,
            },
        },
        Report::Exit(ended) => ExecEvent::Exited(exit(&ended)?),
        Report::Gone { key } => ExecEvent::Gone { id: attempt_id(&key)? },
        Report::Stuck { key, pids } => ExecEvent::Stuck { id: attempt_id(&key)?, pids },
        Report::Warning { key, text } => ExecEvent::Warning { id: key.as_deref().and_then(attempt_id), text },
    })
}

fn attempt_id(key: &str) -> Option<AttemptId> {
    let (runner, number) = key.rsplit_once('#')?;
    Some(AttemptId { runner: RunnerName::trusted(runner), attempt: Attempt::new(number.parse().ok()?)? })
}

fn live_attempt(live: WireLive) -> Option<LiveAttempt> {
    Some(LiveAttempt {
        id: attempt_id(&live.key)?,
        process: Process { pid: live.pid, start: live.start },
        main_ended: live.main_ended,
        stuck: live.stuck,
        log: live.log,
    })
}

fn exit(exit: &Exit) -> Option<ExecExit> {
    Some(ExecExit {
        id: attempt_id(&exit.key)?,
        seq: exit.seq,
        status: match exit.status {
            ExitKind::Code(code) => ExitStatus::Code(code),
            ExitKind::Signal(signal) => ExitStatus::Signal(signal),
            ExitKind::Unknown => ExitStatus::Unknown,
        },
        at: Mono::from_nanos(exit.at_mono),
        cut: exit.cut,
        usage: Usage { cpu: Duration::from_millis(exit.cpu_ms), max_rss_bytes: exit.max_rss_kb * 1024 },
    })
}

fn failure(step: SpawnStep, errno: i32, subject: &str) -> SpawnFailure {
    let act = match step {
        SpawnStep::Journal => "write",
        SpawnStep::Cwd => "enter the folder",
        SpawnStep::Stdin => "open stdin",
        SpawnStep::Log => "open the log",
        SpawnStep::Pty | SpawnStep::Relay => "make",
        SpawnStep::Cgroup => "join",
        SpawnStep::Executable => "find the program",
        SpawnStep::Interpreter => "find the interpreter that the script's first line names,",
        SpawnStep::Limit => "set",
        SpawnStep::Fork => "make a process for",
        SpawnStep::Exec => "run",
    };
    let cause = match errno {
        libc::E2BIG => {
            "arguments and environment are too long for the kernel; pass them in a file".to_owned()
        }
        other => io::Error::from_raw_os_error(other).to_string(),
    };
    let kind = match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM => {
            SpawnFailureKind::Resource
        }
        _ => SpawnFailureKind::Broken,
    };
    SpawnFailure { message: format!("{act} {subject}: {cause}"), kind }
}

/// Of a launch that the keeper cannot be told of: the kernel would not take it either.
pub(super) fn too_long(command: &CommandSpec) -> SpawnFailure {
    let argv = command.argv();
    failure(SpawnStep::Exec, libc::E2BIG, argv.first().map_or("it", String::as_str))
}

fn limit_triple(limit: Limit, value: LimitValue) -> (u32, u64, u64) {
    let resource = match limit {
        Limit::Nofile => libc::RLIMIT_NOFILE,
        Limit::Nproc => libc::RLIMIT_NPROC,
        Limit::As => libc::RLIMIT_AS,
        Limit::Core => libc::RLIMIT_CORE,
        Limit::Cpu => libc::RLIMIT_CPU,
        Limit::Data => libc::RLIMIT_DATA,
        Limit::Fsize => libc::RLIMIT_FSIZE,
        Limit::Memlock => libc::RLIMIT_MEMLOCK,
        Limit::Stack => libc::RLIMIT_STACK,
    };
    let value = match value {
        LimitValue::Unlimited => u64::MAX,
        LimitValue::At(value) => value,
    };
    (resource, value, value)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_runner_and_attempt_even_of_a_stage() {
        let id = attempt_id("video-12/render#3").unwrap();
        assert_eq!((id.runner.as_str(), id.attempt.get()), ("video-12/render", 3));
        assert_eq!(id.to_string(), "video-12/render#3");
        assert!(attempt_id("nothing").is_none() && attempt_id("zero#0").is_none());
    }

    #[test]
    fn failures_say_what_to_look_at_and_whether_waiting_helps() {
        let missing = failure(SpawnStep::Cwd, libc::ENOENT, "/no/where");
        assert_eq!(missing.message, "enter the folder /no/where: No such file or directory (os error 2)");
        assert_eq!(missing.kind, SpawnFailureKind::Broken);
        assert_eq!(failure(SpawnStep::Log, libc::ENOSPC, "x").kind, SpawnFailureKind::Resource);
        assert_eq!(failure(SpawnStep::Fork, libc::EAGAIN, "x").kind, SpawnFailureKind::Resource);
    }
}
