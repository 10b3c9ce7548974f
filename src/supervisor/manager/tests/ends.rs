//! When a supervisor's work is over, and what it says then.

use super::*;

fn headless(runners: Vec<RunnerSpec>) -> Setup {
    let mut setup = Setup::new(runners);
    setup.options.mode = Mode::Headless;
    setup
}

#[tokio::test(start_paused = true)]
async fn headless_ends_when_nothing_is_left_to_run() {
    let mut failing = spec("b");
    retry_mut(&mut failing).max_retries = 0;
    let mut world = headless(vec![spec("a"), failing]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.exited("b", 1, ExitStatus::Code(1));
    world.until_status("b", RunnerStatus::Crashed).await;
    world.exited("a", 1, ExitStatus::Code(0));
    let shared = Arc::clone(&world.shared);
    let end = world.ended().await;
    assert_eq!((end.why, end.exit()), (EndReason::NothingLeft, Exit::SomeFailed));
    assert_eq!((end.completed, end.failed), (names(&["a"]), names(&["b"])));
    assert!(*shared.clean.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_backoff_is_something_left_to_run() {
    let mut world = headless(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.exited("a", 1, ExitStatus::Code(1));
    world.until_spawned(&id("a", 2)).await;
    world.spawned("a", 2, 2);
    world.exited("a", 2, ExitStatus::Code(0));
    assert_eq!(world.ended().await.exit(), Exit::AllCompleted);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_everything_and_a_second_one_kills() {
    let mut world = headless(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.ask(Request::Shutdown { how: Shutdown::Graceful }).await;
    assert_eq!(world.stops().len(), 2);
    assert!(world.stops().iter().all(|(_, stop)| stop.signal == Some(15)));
    let refused = world.handle.ask(Request::Start { names: vec![] }).await.unwrap_err();
    assert_eq!(refused, RequestError::Ending);
    world.exited("a", 1, ExitStatus::Code(0));
    world.until_status("a", RunnerStatus::Stopped).await;
    world.ask(Request::Shutdown { how: Shutdown::Kill }).await;
    assert_eq!(world.stops()[2..], [(id("b", 1), StopTree::KILL)]);
    world.exited("b", 1, ExitStatus::Signal(9));
    let end = world.ended().await;
    assert_eq!((end.why, end.exit()), (EndReason::Shutdown(Shutdown::Kill), Exit::Stopped));
    assert_eq!(end.stopped, names(&["a", "b"]));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_die_does_not_hold_a_shutdown_for_ever_and_the_end_is_not_called_clean() {
    let world = headless(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.ask(Request::Shutdown { how: Shutdown::Graceful }).await;
    world.tell(ExecEvent::Stuck { id: id("a", 1), pids: vec![1] });
    let shared = Arc::clone(&world.shared);
    let end = world.ended().await;
    assert_eq!((end.alive.clone(), end.exit()), (names(&["a"]), Exit::SomeFailed));
    assert!(!*shared.clean.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_background_supervisor_with_nothing_to_do_ends_after_a_minute_unless_somebody_looks_on() {
    let mut world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    tokio::time::sleep(secs(600)).await;
    assert!(!world.end.is_finished(), "something lives");
    let attached = world.handle.attach();
    world.exited("a", 1, ExitStatus::Code(0));
    tokio::time::sleep(secs(600)).await;
    assert!(!world.end.is_finished(), "somebody looks on");
    drop(attached);
    let left = tokio::time::Instant::now();
    let end = world.ended().await;
    assert_eq!((end.why, end.exit()), (EndReason::Idle, Exit::AllCompleted));
    assert!(left.elapsed() >= secs(60) && left.elapsed() < secs(62), "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn headless_does_not_wait_for_ever_for_what_cannot_be_killed_and_names_it() {
    let mut world = headless(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.tell(ExecEvent::Exited(exit("a", 1, 1, ExitStatus::Code(1))));
    world.tell(ExecEvent::Stuck { id: id("a", 1), pids: vec![41, 42] });
    world.until_status("a", RunnerStatus::Stuck).await;
    tokio::time::sleep(secs(3600)).await;
    assert!(!world.end.is_finished(), "b runs");
    world.exited("b", 1, ExitStatus::Code(0));
    let begun = tokio::time::Instant::now();
    let mut lines = Vec::new();
    while !world.end.is_finished() {
        tokio::time::sleep(secs(1)).await;
        lines.extend(world.lines());
    }
    assert!(begun.elapsed() >= secs(300) && begun.elapsed() < secs(310), "{:?}", begun.elapsed());
    let end = world.ended().await;
    assert_eq!((end.alive.clone(), end.exit()), (names(&["a"]), Exit::SomeFailed));
    assert!(
        lines.iter().any(|line| line.contains("left alive: a (processes of attempt 1 do not die: [41, 42])")),
        "{lines:?}"
    );
}
