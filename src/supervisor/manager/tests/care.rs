//! Silence, health, timeouts, stop commands.

use super::*;
use crate::domain::spec::{ActivitySpec, CommandSpec, HealthSpec};

fn watched() -> RunnerSpec {
    let mut spec = spec("a");
    spec.activity = Some(ActivitySpec { timeout: secs(30), output: true, cpu: true, files: vec![] });
    spec
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_ended_as_inactive_within_a_second_and_retried() {
    let mut world = Setup::new(vec![watched()]).start();
    world.up("a", 1).await;
    let begun = tokio::time::Instant::now();
    world.until("the stop", |_| (!world.stops().is_empty()).then_some(())).await;
    let took = begun.elapsed();
    assert!(took >= secs(29) && took <= secs(31), "{took:?}");
    world.exited("a", 1, ExitStatus::Code(0));
    let view = world.until_status("a", RunnerStatus::Backoff).await;
    assert_eq!(view.outcome.as_ref().unwrap().verdict.word(), "inactive");
}

#[tokio::test(start_paused = true)]
async fn output_keeps_it_alive() {
    let world = Setup::new(vec![watched()]).start();
    world.up("a", 1).await;
    for _ in 0..20 {
        tokio::time::sleep(secs(10)).await;
        *world.shared.bytes.lock().unwrap() += 1;
    }
    assert_eq!(world.stops(), []);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_stood_still_ends_nobody() {
    let world = Setup::new(vec![watched()]).start();
    world.up("a", 1).await;
    tokio::time::sleep(secs(20)).await;
    // Time passes at once, as it does for a process that was stopped.
    tokio::time::advance(secs(600)).await;
    world.until_status("a", RunnerStatus::Running).await;
    tokio::time::sleep(secs(25)).await;
    assert_eq!(world.stops(), []);
    world.until("the stop, in time", |_| (!world.stops().is_empty()).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_the_loudest() {
    let mut limited = spec("a");
    limited.timeout = Some(secs(20));
    let world = Setup::new(vec![limited]).start();
    world.up("a", 1).await;
    let begun = tokio::time::Instant::now();
    world.until("the stop", |_| (!world.stops().is_empty()).then_some(())).await;
    assert!(begun.elapsed() >= secs(19) && begun.elapsed() <= secs(21));
    assert_eq!(world.snapshot().await.runners[0].status, RunnerStatus::Stopping);
}

fn checked() -> RunnerSpec {
    let mut spec = spec("a");
    spec.health = Some(HealthSpec {
        command: CommandSpec::Shell("check".into()),
        interval: secs(10),
        timeout: secs(5),
        failures: 2,
    });
    spec
}

#[tokio::test(start_paused = true)]
async fn a_check_that_passes_makes_it_ready_and_failures_in_a_row_end_it() {
    let world = Setup::new(vec![checked()]).start();
    world.up("a", 1).await;
    assert_eq!(world.snapshot().await.runners[0].ready, Some(false));
    world.until("ready", |snapshot| (snapshot.runners[0].ready == Some(true)).then_some(())).await;
    *world.shared.health.lock().unwrap() =
        vec![Err("exit 1".into()), Ok(()), Err("exit 2".into()), Err("exit 3".into())];
    let begun = tokio::time::Instant::now();
    world.until("the stop", |_| (!world.stops().is_empty()).then_some(())).await;
    assert!(begun.elapsed() >= secs(39), "on its interval");
    let helper = world.shared.helpers.lock().unwrap()[0].clone();
    assert_eq!(helper.env["RESTAGE_PID"].as_deref(), Some("1"));
    assert_eq!(helper.deadline, secs(5));
    let count = world.shared.helpers.lock().unwrap().len();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(world.shared.helpers.lock().unwrap().len(), count, "nothing is checked any more");
}

#[tokio::test(start_paused = true)]
async fn a_stop_command_runs_instead_of_the_signal_and_its_failure_is_told() {
    let mut polite = spec("a");
    polite.stop.command = Some(CommandSpec::Shell("ctl quit".into()));
    let mut setup = Setup::new(vec![polite]);
    setup.prepare = |shared| *shared.health.lock().unwrap() = vec![Err("exit 7".into())];
    let mut world = setup.start();
    world.up("a", 1).await;
    world.ask(Request::Stop { names: vec![] }).await;
    assert_eq!(world.stops(), [(id("a", 1), StopTree { signal: None, grace: secs(10) })]);
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| {
        line.contains(
            "the stop command of attempt 1, which is killed at the end of its grace, failed: exit 7",
        )
    }) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        lines.extend(world.lines());
    }
}
