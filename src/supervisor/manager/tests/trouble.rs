//! Full disks, states that cannot be written, a keeper that goes away.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_full_disk_makes_new_work_wait_without_a_retry_and_it_starts_when_there_is_room() {
    let mut setup = Setup::new(vec![spec("a")]);
    setup.prepare = |shared| *shared.no_room.lock().unwrap() = Some("the disk of /logs is full".into());
    let mut world = setup.start();
    let view = world.until_status("a", RunnerStatus::Backoff).await;
    assert_eq!((view.waiting.as_deref(), view.retry_count), (Some("the disk of /logs is full"), 0));
    tokio::time::sleep(secs(60)).await;
    assert_eq!(world.spawns(), []);
    let waits = world.lines().iter().filter(|line| line.starts_with("Waiting with a")).count();
    assert_eq!(waits, 1, "told once");
    *world.shared.no_room.lock().unwrap() = None;
    world.until_spawned(&id("a", 1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_written_holds_spawns_and_acknowledgements_and_nothing_else() {
    let mut world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    *world.shared.store_fails.lock().unwrap() = true;

    // Stops go on at once.
    world.ask(Request::Stop { names: names(&["a"]) }).await;
    assert_eq!(world.stops().len(), 1);
    world.exited("a", 1, ExitStatus::Code(0));
    world.until_status("a", RunnerStatus::Stopped).await;
    assert!(!world.calls().iter().any(|call| matches!(call, Call::Ack(_))), "nothing is on record yet");

    // A crash is retried only when its record can be written.
    world.exited("b", 1, ExitStatus::Code(1));
    tokio::time::sleep(secs(30)).await;
    assert_eq!(world.spawns().len(), 2);
    let view = world.until_status("b", RunnerStatus::Backoff).await;
    assert!(view.waiting.as_ref().unwrap().contains("cannot be written down"), "{view:?}");
    assert_eq!(view.retry_count, 1);

    *world.shared.store_fails.lock().unwrap() = false;
    world.until_spawned(&id("b", 2)).await;
    world.until("the acknowledgement", |_| world.calls().contains(&Call::Ack(2)).then_some(())).await;
    let states = world.shared.states.lock().unwrap().clone();
    assert_eq!(states[&RunnerName::trusted("a")].status, RunnerStatus::Stopped);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned_while_the_keeper_is_away_and_all_is_reconciled_when_it_is_back() {
    let world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.tell(ExecEvent::Disconnected { why: "it was killed".into() });
    world.until("the trouble to show", |snapshot| snapshot.fleet.keeper_trouble.clone()).await;
    world.ask(Request::Restart { names: names(&["a"]) }).await;
    world.ask(Request::Stop { names: names(&["b"]) }).await;
    let before = world.stops().len();
    // Meanwhile `a` ended, and `b` lives.
    world.tell(ExecEvent::Connected(Inventory {
        live: vec![live("b", 1, 2)],
        exits: vec![exit("a", 1, 3, ExitStatus::Signal(15))],
        guarded: true,
    }));
    world.until_spawned(&id("a", 2)).await;
    assert_eq!(world.stops().len(), before + 1, "the stop of b is repeated");
    assert_eq!(world.snapshot().await.fleet.keeper_trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_start_before_the_keeper_answers_is_carried_out_when_it_does() {
    let mut quiet = spec("a");
    quiet.autostart = false;
    let mut setup = Setup::new(vec![quiet]);
    setup.connect = None;
    let world = setup.start();
    world.ask(Request::Start { names: vec![] }).await;
    world.until_status("a", RunnerStatus::Starting).await;
    assert_eq!(world.spawns(), []);
    world.tell(ExecEvent::Connected(empty()));
    world.until_spawned(&id("a", 1)).await;
    assert_eq!(world.spawns().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_env_file_that_cannot_be_read_is_a_failed_spawn() {
    let mut broken = spec("a");
    broken.launch.env_files = vec!["/nowhere/secrets.env".into()];
    let world = Setup::new(vec![broken]).start();
    let view = world.until_status("a", RunnerStatus::Backoff).await;
    let outcome = view.outcome.clone().unwrap();
    assert_eq!(outcome.verdict.word(), "spawn_failed");
    assert!(outcome.detail.unwrap().contains("/nowhere/secrets.env"));
    assert_eq!(world.spawns(), []);
}

#[tokio::test(start_paused = true)]
async fn a_budget_spreads_the_retries_of_all_runners() {
    let fast = |name: &str| {
        let mut fast = spec(name);
        retry_mut(&mut fast).backoff.base = Duration::ZERO;
        fast
    };
    let mut world = Setup::new(vec![fast("a"), fast("b"), fast("c")]).start();
    *world.shared.config.lock().unwrap() = Some(Ok(WorkspaceSpec {
        retry_budget: Some(crate::domain::spec::RetryBudget { max: 2, per: secs(60) }),
        ..world.workspace.clone()
    }));
    world.ask(Request::Reload).await;
    let begun = tokio::time::Instant::now();
    for name in ["a", "b", "c"] {
        world.up(name, 1).await;
        world.exited(name, 1, ExitStatus::Code(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = world.until_status("c", RunnerStatus::Backoff).await;
    assert!(view.waiting.as_ref().unwrap().contains("budget"));
    assert_eq!(world.spawns().len(), 5);
    world.until_spawned(&id("c", 2)).await;
    assert!(begun.elapsed() >= secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_comes_late_is_waited_for_and_everything_begins_then() {
    let mut setup = Setup::new(vec![spec("a")]);
    setup.options.mode = Mode::Headless;
    setup.connect = None;
    let mut world = setup.start();
    for why in ["it is just changing", "no files"] {
        world.tell(ExecEvent::Disconnected { why: why.into() });
        tokio::time::sleep(secs(5)).await;
    }
    assert!(!world.end.is_finished() && world.spawns().is_empty());
    world.tell(ExecEvent::Connected(empty()));
    world.up("a", 1).await;
    world.exited("a", 1, ExitStatus::Code(0));
    assert_eq!(world.ended().await.exit(), Exit::AllCompleted);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_never_comes_ends_a_headless_run_as_a_failure() {
    let mut setup = Setup::new(vec![spec("a")]);
    setup.options.mode = Mode::Headless;
    setup.connect = None;
    let world = setup.start();
    world.tell(ExecEvent::Disconnected { why: "no files".into() });
    let end = world.ended().await;
    assert_eq!((end.why, end.exit()), (EndReason::NoKeeper, Exit::SomeFailed));
}
