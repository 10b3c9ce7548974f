//! The ordinary course: start, crash, retry, stop, requests.

use super::*;
use crate::domain::spec::Stdio;

#[tokio::test(start_paused = true)]
async fn a_crash_is_retried_after_its_backoff_and_then_given_up() {
    let mut world = Setup::new(vec![spec("a")]).start();
    for attempt in 1..=4 {
        world.until_spawned(&id("a", attempt)).await;
        world.spawned("a", attempt, 100);
        world.until_status("a", RunnerStatus::Running).await;
        world.exited("a", attempt, ExitStatus::Code(1));
        let crashed = tokio::time::Instant::now();
        if attempt < 4 {
            world.until_spawned(&id("a", attempt + 1)).await;
            let wait = crashed.elapsed().as_secs_f64();
            let wanted = [5.0, 10.0, 20.0][attempt as usize - 1];
            assert!((wait - wanted).abs() < 0.2, "{wait} instead of {wanted}");
        }
    }
    let view = world.until_status("a", RunnerStatus::Crashed).await;
    assert!(view.exhausted && view.retry_count == 3);
    let lines = world.lines();
    for line in ["Retrying runner a (retry 2/3) in 10s", "Max retries (3) reached for a"] {
        assert!(lines.iter().any(|said| said == line), "{line} in {lines:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_recorded_comes_before_what_is_done() {
    let mut fast = spec("a");
    retry_mut(&mut fast).backoff.base = Duration::ZERO;
    let mut world = Setup::new(vec![fast]).start();
    world.up("a", 100).await;
    world.exited("a", 1, ExitStatus::Code(1));
    world.until_spawned(&id("a", 2)).await;
    let order = world.shared.order.lock().unwrap().clone();
    assert_eq!(
        order,
        ["record a starting", "spawn a#1", "record a running", "record a starting", "ack 1", "spawn a#2"],
        "an end and the start that follows at once are one record"
    );
    let view = &world.snapshot().await.runners[0];
    assert_eq!((view.retry_count, view.attempt), (1, Some(nth(2))));
    let lines = world.lines();
    let told: Vec<&str> = lines.iter().rev().take(2).rev().map(String::as_str).collect();
    assert_eq!(told, ["Ended a (attempt 1): exit 1", "Retrying runner a (retry 1/3) in 0s"]);
}

#[tokio::test(start_paused = true)]
async fn a_launch_carries_what_the_attempt_has_to_know() {
    let world = Setup::new(vec![spec("a")]).start();
    world.until_spawned(&id("a", 1)).await;
    let Call::Spawn(launch) = &world.calls()[0] else { panic!() };
    assert_eq!(launch.log, world.workspace.log_dir.join("a_1.log"));
    assert_eq!(launch.env["RESTAGE_ATTEMPT"].as_deref(), Some("1"));
    assert_eq!(launch.stop, StopTree { signal: Some(15), grace: secs(10) });
}

#[tokio::test(start_paused = true)]
async fn a_number_whose_log_is_there_is_passed_over() {
    let mut setup = Setup::new(vec![spec("a")]);
    setup.connect = None;
    let world = setup.start();
    std::fs::write(world.workspace.log_dir.join("a_1.log"), "of an earlier life").unwrap();
    world.tell(ExecEvent::Connected(empty()));
    world.until_spawned(&id("a", 2)).await;
    world.spawned("a", 2, 100);
    assert_eq!(world.until_status("a", RunnerStatus::Running).await.attempt, Some(nth(2)));
}

#[tokio::test(start_paused = true)]
async fn requests_act_on_the_named_or_on_all() {
    let mut world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.ask(Request::Stop { names: names(&["a"]) }).await;
    assert_eq!(world.stops(), [(id("a", 1), StopTree { signal: Some(15), grace: secs(10) })]);
    world.exited("a", 1, ExitStatus::Code(0));
    world.until_status("a", RunnerStatus::Stopped).await;
    world.until_status("b", RunnerStatus::Running).await;

    world.ask(Request::Kill { names: vec![] }).await;
    assert_eq!(world.stops()[1..], [(id("b", 1), StopTree::KILL)]);

    let error = world.handle.ask(Request::Start { names: names(&["a", "x"]) }).await.unwrap_err();
    assert_eq!(error.to_string(), "no runner is called x; there are: a, b");
    assert_eq!(world.spawns().len(), 2, "nothing of it was done");

    let Reply::Runners(views) = world.ask(Request::Start { names: names(&["a"]) }).await else { panic!() };
    assert_eq!(views[0].status, RunnerStatus::Starting);
}

#[tokio::test(start_paused = true)]
async fn restart_starts_again_once_nothing_of_the_first_lives() {
    let mut world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.ask(Request::Restart { names: vec![] }).await;
    assert_eq!(world.spawns().len(), 1);
    world.exited("a", 1, ExitStatus::Signal(15));
    world.until_spawned(&id("a", 2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_without_autostart_waits_to_be_asked() {
    let mut quiet = spec("a");
    quiet.autostart = false;
    let world = Setup::new(vec![quiet, spec("b")]).start();
    world.until_spawned(&id("b", 1)).await;
    assert_eq!(world.spawns(), [id("b", 1)]);
    let snapshot = world.snapshot().await;
    assert_eq!(snapshot.runners[0].status, RunnerStatus::Idle);
    assert!(world.shared.states.lock().unwrap().contains_key(&RunnerName::trusted("a")));
}

#[tokio::test(start_paused = true)]
async fn only_the_named_are_started_where_names_are_given() {
    let mut setup = Setup::new(vec![spec("a"), spec("b")]);
    setup.options.start = StartPlan::Only(names(&["b"]));
    let world = setup.start();
    world.until_spawned(&id("b", 1)).await;
    // A successor does not start the other one either.
    let mut setup = Setup::new(vec![spec("a"), spec("b")]).after(&world);
    setup.connect = Some(Inventory { live: vec![live("b", 1, 5)], ..empty() });
    let world = setup.start();
    world.until_status("b", RunnerStatus::Running).await;
    assert_eq!(world.spawns(), []);
}

#[tokio::test(start_paused = true)]
async fn figures_come_with_a_snapshot_where_asked() {
    let world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    *world.shared.bytes.lock().unwrap() = 10;
    let Reply::Snapshot(snapshot) = world.ask(Request::Snapshot { figures: true }).await else { panic!() };
    let figures = snapshot.runners[0].figures.unwrap();
    assert_eq!(figures.rss_bytes, 4096);
    // The fake file system says 1970, and nothing is written before its writer starts.
    assert_eq!(figures.last_output_at, snapshot.runners[0].started_at);
    assert_eq!(world.snapshot().await.runners[0].figures, None);
}

#[tokio::test(start_paused = true)]
async fn the_retry_log_tells_the_attempts_and_their_backoffs() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(vec![spec("a")]);
    setup.retry_log_dir = Some(dir.path().join("retries"));
    let mut world = setup.start();
    world.up("a", 1).await;
    world.exited("a", 1, ExitStatus::Code(7));
    world.until_spawned(&id("a", 2)).await;
    world.spawned("a", 2, 2);
    world.until_status("a", RunnerStatus::Running).await;
    world.exited("a", 2, ExitStatus::Code(0));
    world.until_status("a", RunnerStatus::Completed).await;
    world.ask(Request::Shutdown { how: Shutdown::Graceful }).await;
    // With the actor, the log is written to its end.
    world.ended().await;
    let text = std::fs::read_to_string(dir.path().join("retries/a.json")).unwrap();
    let log: serde_json::Value = serde_json::from_str(&text).unwrap();
    let first = &log["attempts"][0];
    assert_eq!((&first["exit_code"], &first["backoff_seconds"]), (&7.into(), &5.0.into()));
    assert_eq!(log["attempts"][1]["verdict"], "completed");
}

#[tokio::test(start_paused = true)]
async fn the_log_folder_is_made_where_it_is_missing() {
    let mut setup = Setup::new(vec![spec("a")]);
    setup.connect = None;
    let world = setup.start();
    std::fs::remove_dir(&world.workspace.log_dir).unwrap();
    world.tell(ExecEvent::Connected(empty()));
    world.until_spawned(&id("a", 1)).await;
    assert!(world.workspace.log_dir.is_dir());
}

#[tokio::test(start_paused = true)]
async fn logs_beyond_what_is_kept_go_together_and_at_the_end_at_once() {
    let mut fast = spec("a");
    retry_mut(&mut fast).backoff.base = Duration::ZERO;
    retry_mut(&mut fast).max_retries = 9;
    fast.log.keep_attempts = 1;
    let mut world = Setup::new(vec![fast]).start();
    let log = |world: &World, attempt: u32| world.workspace.log_dir.join(format!("a_{attempt}.log"));
    let crash = async |world: &mut World, attempt: u32| {
        world.until_spawned(&id("a", attempt)).await;
        std::fs::write(log(world, attempt), "it said this").unwrap();
        world.spawned("a", attempt, 100);
        world.exited("a", attempt, ExitStatus::Code(1));
    };
    for attempt in 1..=3 {
        crash(&mut world, attempt).await;
    }
    world.until_spawned(&id("a", 4)).await;
    assert!((1..=3).all(|attempt| log(&world, attempt).exists()), "no restart waits for a deletion");
    let gone =
        |world: &World, attempts: &[u32]| attempts.iter().all(|attempt| !log(world, *attempt).exists());
    world.until("the deletion", |_| gone(&world, &[1, 2, 3]).then_some(())).await;

    crash(&mut world, 4).await;
    world.until_spawned(&id("a", 5)).await;
    assert!(!gone(&world, &[4]));
    world.ask(Request::Shutdown { how: Shutdown::Kill }).await;
    world.spawned("a", 5, 100);
    world.exited("a", 5, ExitStatus::Signal(9));
    let folder = world.workspace.log_dir.clone();
    let kept = world.logs.take();
    world.ended().await;
    assert!(!folder.join("a_4.log").exists());
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn a_long_start_is_made_in_the_order_of_the_config_and_comes_before_what_is_asked_meanwhile() {
    let many = || (0..100).map(|number| spec(&format!("r{number:02}"))).collect::<Vec<_>>();
    let expected: Vec<AttemptId> = many().iter().map(|spec| id(spec.name.as_str(), 1)).collect();
    let world = Setup::new(many()).start();
    world.until_spawned(&expected[99]).await;
    assert_eq!(world.spawns(), expected);

    let world = Setup::new(many()).start();
    // The first step has been made, and the others have not.
    world.until_spawned(&expected[0]).await;
    let Reply::Runners(stopped) = world.ask(Request::Stop { names: vec![] }).await else { panic!() };
    assert!(stopped.iter().all(|view| view.status == RunnerStatus::Stopping));
    assert_eq!(world.spawns(), expected, "nothing of the start comes after the stop");
}

#[tokio::test(start_paused = true)]
async fn for_somebody_who_only_reads_notices_nothing_else_is_made() {
    let mut world = Setup::new(vec![spec("a")]).start();
    let notices = world.handle.subscribe_to_notices();
    // From here on there is nobody else, but for one who looks at what is sent without being counted.
    let (_, nobody) = broadcast::channel(1);
    drop(std::mem::replace(&mut world.updates, nobody));
    world.up("a", 100).await;
    assert_eq!(notices.updates.len(), 1);
    let mut told = Vec::new();
    let tell = |notice: Result<Arc<Notice>, u64>| told.push(notice.unwrap().to_string());
    notices.each(std::future::ready(()), tell).await;
    assert_eq!(told, ["Started a (attempt 1, pid 100)"]);

    world.updates = world.handle.subscribe();
    world.exited("a", 1, ExitStatus::Code(0));
    world.until_status("a", RunnerStatus::Completed).await;
    let mut views = 0;
    while let Ok(update) = world.updates.try_recv() {
        views += usize::from(matches!(update, Update::Runner(_)));
    }
    assert!(views > 0, "whoever wants all gets all");
}

#[tokio::test(start_paused = true)]
async fn what_is_typed_reaches_the_attempt_that_has_a_terminal() {
    let mut typed = spec("a");
    typed.launch.stdio = Stdio::Tty;
    let mut world = Setup::new(vec![typed, spec("b")]).start();
    let name = |name: &str| RunnerName::trusted(name);
    let input = |runner: &str| Request::Input { name: name(runner), text: "ls\r".into() };
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.ask(input("a")).await;
    world.ask(Request::Resize { name: name("a"), rows: 40, cols: 100 }).await;
    let calls = world.calls();
    assert!(calls.contains(&Call::Input(id("a", 1), "ls\r".into())));
    assert!(calls.contains(&Call::Resize(id("a", 1), TerminalSize { rows: 40, cols: 100 })));
    let refused = world.handle.ask(input("b")).await.unwrap_err();
    assert!(refused.to_string().starts_with("type into b: it has no terminal; "), "{refused}");
    let unknown = world.handle.ask(input("c")).await.unwrap_err();
    assert!(matches!(unknown, RequestError::UnknownRunner { .. }), "{unknown}");
    world.ask(Request::Kill { names: vec![name("a")] }).await;
    world.exited("a", 1, ExitStatus::Signal(9));
    world.until_status("a", RunnerStatus::Stopped).await;
    let over = world.handle.ask(input("a")).await.unwrap_err();
    assert_eq!(over.to_string(), "type into a: it is not running");
}
