//! Stages of flows: each order, and what the engine is told.

use super::*;
use crate::domain::spec::{ActivitySpec, Leftovers, RestartPolicy, Stdio};
use crate::domain::verdict::Verdict;
use crate::ports::Usage;
use crate::supervisor::guest::GuestEnd;

pub(super) const STAGE: &str = "video-12/render";

pub(super) fn guest(world: &World, name: &str) -> RunnerSpec {
    let mut spec = spec("a");
    spec.name = RunnerName::trusted(name);
    spec.autostart = false;
    spec.restart = RestartPolicy::Never;
    retry_mut(&mut spec).enabled = false;
    spec.log.dir.clone_from(&world.workspace.log_dir);
    spec
}

impl World {
    pub(super) fn order(&self, order: GuestOrder) {
        self.orders.send(order).unwrap();
    }

    pub(super) fn launch(&self, name: &str, attempt: u32) {
        self.launch_as(guest(self, name), attempt);
    }

    pub(super) fn launch_as(&self, spec: RunnerSpec, attempt: u32) {
        self.order(GuestOrder::Launch { spec: Box::new(spec), attempt: nth(attempt) });
    }

    pub(super) fn forget(&self, name: &str) {
        self.order(GuestOrder::Forget { name: RunnerName::trusted(name) });
    }

    pub(super) fn stop(&self, name: &str, how: Shutdown) {
        self.order(GuestOrder::Stop { name: RunnerName::trusted(name), how });
    }

    pub(super) fn told(&self) -> Vec<GuestEvent> {
        self.shared.told.lock().unwrap().clone()
    }

    /// What was told from the first on, in short.
    pub(super) fn story(&self) -> Vec<String> {
        self.told().iter().map(short).collect()
    }

    pub(super) async fn until_story(&self, wanted: &[&str]) {
        for _ in 0..20_000 {
            if self.story() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(self.story(), wanted);
    }

    pub(super) fn end_of(&self, name: &str) -> GuestEnd {
        let ends = self.told().into_iter().rev().find_map(|event| match event {
            GuestEvent::Ended(end) if end.name.as_str() == name => Some(*end),
            GuestEvent::Ended(_)
            | GuestEvent::Inventory(_)
            | GuestEvent::Started { .. }
            | GuestEvent::Waiting { .. }
            | GuestEvent::Stuck { .. } => None,
        });
        ends.expect("an end")
    }

    /// Brings an attempt of a guest up.
    pub(super) async fn guest_up(&self, name: &str, attempt: u32, pid: i32) {
        self.launch(name, attempt);
        self.until_spawned(&id(name, attempt)).await;
        self.spawned(name, attempt, pid);
        let of_it =
            |event: &GuestEvent| matches!(event, GuestEvent::Started { process, .. } if process.pid == pid);
        self.until("its start", |_| self.told().iter().any(of_it).then_some(())).await;
    }

    pub(super) fn recorded(&self, name: &str) -> Option<RunnerState> {
        self.shared.states.lock().unwrap().get(&RunnerName::trusted(name)).cloned()
    }

    /// Until everything that was said to it has been heard.
    pub(super) async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.snapshot().await;
    }
}

fn short(event: &GuestEvent) -> String {
    match event {
        GuestEvent::Inventory(all) => {
            let all = all.iter().map(|one| format!("{}#{}", one.name, one.attempt));
            let all: Vec<String> = all.collect();
            format!("inventory [{}]", all.join(" "))
        }
        GuestEvent::Started { name, attempt, process, .. } => {
            format!("started {name}#{attempt} {}", process.pid)
        }
        GuestEvent::Ended(end) => {
            let cut = if end.cut { ", cut" } else { "" };
            format!("ended {}#{}: {}{cut}", end.name, end.attempt, end.outcome)
        }
        GuestEvent::Waiting { name, reason } => format!("waiting {name}: {reason}"),
        GuestEvent::Stuck { name, pids } => format!("stuck {name} {pids:?}"),
    }
}

pub(super) fn no_runners() -> World {
    Setup::new(vec![]).start()
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_recorded_started_ended_kept_and_forgotten() {
    let mut world = no_runners();
    let _busy = world.handle.busy();
    world.guest_up(STAGE, 1, 7).await;
    assert_eq!(
        world.shared.order.lock().unwrap()[..3],
        [format!("record {STAGE} starting"), format!("spawn {STAGE}#1"), format!("record {STAGE} running")]
    );
    let log = world.workspace.log_dir.join("video-12+render_1.log");
    let started = world.told()[1].clone();
    assert!(matches!(started, GuestEvent::Started { log: told, .. } if told == log));

    let mut exit = exit(STAGE, 1, 1, ExitStatus::Code(3));
    exit.usage = Usage { cpu: Duration::from_millis(1500), max_rss_bytes: 8 << 20 };
    world.tell(ExecEvent::Exited(exit.clone()));
    world.settled().await;
    assert_eq!(world.story().len(), 2, "something of it may live");
    world.tell(ExecEvent::Gone { id: id(STAGE, 1) });
    world
        .until_story(&["inventory []", &format!("started {STAGE}#1 7"), &format!("ended {STAGE}#1: exit 3")])
        .await;
    let end = world.end_of(STAGE);
    assert_eq!((end.usage, end.cut, end.disk_full, end.log), (exit.usage, false, false, Some(log)));
    assert!(end.started_at.unwrap() <= end.ended_at);
    tokio::time::sleep(secs(600)).await;
    assert_eq!(world.spawns().len(), 1, "nobody starts it again");
    assert_eq!(world.recorded(STAGE).unwrap().cpu_ms, Some(1500));

    world.forget(STAGE);
    world.settled().await;
    assert_eq!(world.recorded(STAGE), None);
    assert_eq!(world.lines(), [""; 0], "clients read nothing of it");
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_follows_an_end_without_a_word_between() {
    let mut world = no_runners();
    world.guest_up(STAGE, 1, 7).await;
    world.exited(STAGE, 1, ExitStatus::Code(1));
    world.settled().await;
    world.guest_up(STAGE, 2, 8).await;
    world.exited(STAGE, 2, ExitStatus::Code(0));
    world.settled().await;
    assert_eq!(world.story()[3..], [format!("started {STAGE}#2 8"), format!("ended {STAGE}#2: completed")]);
    assert_eq!(world.recorded(STAGE).unwrap().history.len(), 1, "the engine keeps the others");
}

#[tokio::test(start_paused = true)]
async fn a_second_order_claims_what_lives_and_what_has_ended() {
    let mut world = no_runners();
    world.guest_up(STAGE, 2, 7).await;
    let started = format!("started {STAGE}#2 7");
    world.launch(STAGE, 2);
    // One that is late says as much as one that is in time.
    world.launch(STAGE, 1);
    world.until_story(&["inventory []", &started, &started, &started]).await;
    world.exited(STAGE, 2, ExitStatus::Signal(11));
    world.settled().await;
    world.launch(STAGE, 2);
    world.settled().await;
    let ended = format!("ended {STAGE}#2: signal 11 (SIGSEGV)");
    assert_eq!(world.story()[4..], [ended.clone(), ended]);
    assert_eq!(world.spawns(), [id(STAGE, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_brings_its_own_limits() {
    let world = no_runners();
    world.guest_up(STAGE, 1, 7).await;
    tokio::time::sleep(secs(100)).await;
    let mut limited = guest(&world, STAGE);
    limited.timeout = Some(secs(130));
    // What concerns starting again is nobody's but the engine's.
    limited.restart = RestartPolicy::Always;
    limited.leftovers = Leftovers::Keep;
    world.launch_as(limited, 1);
    tokio::time::sleep(secs(29)).await;
    assert_eq!(world.stops(), []);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(world.stops().len(), 1, "the limit counts from its start");
    world.tell(ExecEvent::Exited(exit(STAGE, 1, 1, ExitStatus::Signal(15))));
    world.tell(ExecEvent::Gone { id: id(STAGE, 1) });
    world.settled().await;
    assert_eq!(world.end_of(STAGE).outcome.verdict, Verdict::TimedOut);
    tokio::time::sleep(secs(600)).await;
    assert_eq!(world.spawns().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_guest_as_it_ends_a_runner() {
    let mut world = no_runners();
    let mut watched = guest(&world, STAGE);
    watched.activity = Some(ActivitySpec { timeout: secs(30), output: true, cpu: true, files: vec![] });
    world.launch_as(watched, 1);
    world.until_spawned(&id(STAGE, 1)).await;
    world.spawned(STAGE, 1, 7);
    world.until("the stop", |_| (!world.stops().is_empty()).then_some(())).await;
    world.exited(STAGE, 1, ExitStatus::Signal(15));
    world.settled().await;
    assert_eq!(world.end_of(STAGE).outcome.verdict, Verdict::Inactive);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_attempt_that_lives_is_killed_before_the_next_begins() {
    let mut world = no_runners();
    world.guest_up(STAGE, 1, 7).await;
    world.launch(STAGE, 3);
    world.settled().await;
    assert_eq!(world.stops(), [(id(STAGE, 1), StopTree::KILL)]);
    assert_eq!(world.spawns(), [id(STAGE, 1)]);
    world.exited(STAGE, 1, ExitStatus::Signal(9));
    world.until_spawned(&id(STAGE, 3)).await;
    assert_eq!(world.story().last().unwrap(), &format!("ended {STAGE}#1: stopped"));

    // The same while the next one is stopped before its turn comes.
    world.spawned(STAGE, 3, 8);
    world.launch(STAGE, 4);
    world.stop(STAGE, Shutdown::Graceful);
    world.settled().await;
    world.exited(STAGE, 3, ExitStatus::Signal(9));
    world.settled().await;
    let story = world.story();
    assert_eq!(
        story[story.len() - 2..],
        [format!("ended {STAGE}#3: stopped"), format!("ended {STAGE}#4: stopped")]
    );
    assert_eq!(world.spawns().len(), 2);
    let state = world.recorded(STAGE).unwrap();
    assert_eq!((state.attempt, state.verdict), (Some(nth(4)), Some(Verdict::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_graceful_or_not_and_its_verdict_is_stopped() {
    let mut world = no_runners();
    world.guest_up("v-1/a", 1, 7).await;
    world.guest_up("v-1/b", 1, 8).await;
    world.stop("v-1/a", Shutdown::Graceful);
    world.stop("v-1/b", Shutdown::Kill);
    world.stop("v-1/unheard-of", Shutdown::Kill);
    world.settled().await;
    let graceful = StopTree { signal: Some(15), grace: secs(10) };
    assert_eq!(world.stops(), [(id("v-1/a", 1), graceful), (id("v-1/b", 1), StopTree::KILL)]);
    world.exited("v-1/a", 1, ExitStatus::Code(0));
    world.tell(ExecEvent::Stuck { id: id("v-1/b", 1), pids: vec![8, 9] });
    world.settled().await;
    let end = world.end_of("v-1/a");
    assert_eq!((end.outcome.verdict, end.cut), (Verdict::Stopped, false));
    assert_eq!(world.story().last().unwrap(), "stuck v-1/b [8, 9]");
}

#[tokio::test(start_paused = true)]
async fn what_lives_is_killed_before_it_is_forgotten_and_nothing_more_is_told() {
    let mut world = no_runners();
    world.guest_up(STAGE, 1, 7).await;
    world.forget(STAGE);
    world.settled().await;
    assert_eq!(world.stops(), [(id(STAGE, 1), StopTree::KILL)]);
    assert!(world.recorded(STAGE).is_some(), "as long as something lives");
    world.tell(ExecEvent::Stuck { id: id(STAGE, 1), pids: vec![7] });
    world.exited(STAGE, 1, ExitStatus::Signal(9));
    world.settled().await;
    assert_eq!(world.recorded(STAGE), None);
    assert_eq!(world.story(), ["inventory []".to_owned(), format!("started {STAGE}#1 7")]);

    // A new life of the same name waits for the end of the old one.
    world.guest_up(STAGE, 1, 8).await;
    world.forget(STAGE);
    world.launch(STAGE, 1);
    world.settled().await;
    assert_eq!(world.spawns().len(), 2);
    world.exited(STAGE, 1, ExitStatus::Signal(9));
    world.until("the new life", |_| (world.spawns().len() == 3).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn clients_see_no_guest_and_can_do_nothing_to_it_but_type() {
    let mut setup = Setup::new(vec![spec("a")]);
    let dir = tempfile::tempdir().unwrap();
    setup.retry_log_dir = Some(dir.path().to_owned());
    let mut world = setup.start();
    world.up("a", 1).await;
    let mut typed = guest(&world, STAGE);
    typed.launch.stdio = Stdio::Tty;
    world.launch_as(typed, 1);
    world.until_spawned(&id(STAGE, 1)).await;
    world.spawned(STAGE, 1, 7);
    world.settled().await;
    world.tell(ExecEvent::Warning { id: Some(id(STAGE, 1)), text: "odd".into() });

    assert_eq!(world.snapshot().await.runners.len(), 1);
    let Reply::Snapshot(full) = world.ask(Request::Snapshot { figures: true }).await else { panic!() };
    assert_eq!(full.runners.len(), 1);
    for names in [vec![STAGE], vec!["a", STAGE]] {
        let refused = world.handle.ask(Request::Stop { names: self::names(&names) }).await.unwrap_err();
        let expected = format!("no runner is called {STAGE}; there are: a");
        assert_eq!(refused.to_string(), expected);
    }
    let Reply::Runners(all) = world.ask(Request::Start { names: vec![] }).await else { panic!() };
    assert_eq!(all.len(), 1);
    let name = RunnerName::trusted(STAGE);
    world.ask(Request::Input { name: name.clone(), text: "y\r".into() }).await;
    world.ask(Request::Resize { name, rows: 40, cols: 100 }).await;
    assert!(world.calls().contains(&Call::Input(id(STAGE, 1), "y\r".into())));
    assert!(world.calls().contains(&Call::Resize(id(STAGE, 1), TerminalSize { rows: 40, cols: 100 })));

    // Neither does another config concern it.
    *world.shared.config.lock().unwrap() =
        Some(Ok(WorkspaceSpec { runners: vec![], ..world.workspace.clone() }));
    world.ask(Request::Reload).await;
    world.exited("a", 1, ExitStatus::Code(0));
    world.until("a to be gone", |snapshot| snapshot.runners.is_empty().then_some(())).await;
    world.exited(STAGE, 1, ExitStatus::Code(0));
    world.settled().await;
    assert_eq!(world.end_of(STAGE).outcome.verdict, Verdict::Completed);
    world.forget(STAGE);
    world.settled().await;
    while let Ok(update) = world.updates.try_recv() {
        assert!(!format!("{update:?}").contains(STAGE), "{update:?}");
    }
    world.ask(Request::Shutdown { how: Shutdown::Kill }).await;
    world.ended().await;
    let logs: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(logs, ["a.json"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_guests_tells_their_ends_and_starts_no_more() {
    let mut world = no_runners();
    for (name, pid) in [("v-1/a", 7), ("v-1/b", 8), ("v-1/c", 9)] {
        world.guest_up(name, 1, pid).await;
    }
    world.stop("v-1/b", Shutdown::Graceful);
    world.settled().await;
    world.ask(Request::Shutdown { how: Shutdown::Graceful }).await;
    assert_eq!(world.stops().len(), 3);
    world.launch("v-1/d", 1);
    world.launch("v-1/a", 2);
    world.settled().await;
    for name in ["v-1/a", "v-1/b"] {
        world.exited(name, 1, ExitStatus::Signal(15));
    }
    // It ended by itself before the stop could reach it.
    let mut early = exit("v-1/c", 1, 9, ExitStatus::Code(0));
    early.at = Mono::from_nanos(1);
    world.tell(ExecEvent::Exited(early));
    world.tell(ExecEvent::Gone { id: id("v-1/c", 1) });
    let shared = Arc::clone(&world.shared);
    let end = world.ended().await;
    assert_eq!((end.exit(), end.stopped.len(), *shared.clean.lock().unwrap()), (Exit::Stopped, 0, true));
    let told: Vec<String> = shared.told.lock().unwrap()[4..].iter().map(short).collect();
    assert_eq!(
        told,
        [
            "waiting v-1/d: the supervisor is ending",
            "ended v-1/a#1: stopped, cut",
            "waiting v-1/a: the supervisor is ending",
            "ended v-1/b#1: stopped",
            "ended v-1/c#1: completed",
        ]
    );
    assert_eq!(shared.states.lock().unwrap().len(), 3, "ends that nobody has taken outlive a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_die_is_no_clean_end() {
    let world = no_runners();
    world.guest_up(STAGE, 1, 7).await;
    world.ask(Request::Shutdown { how: Shutdown::Kill }).await;
    world.tell(ExecEvent::Stuck { id: id(STAGE, 1), pids: vec![7] });
    let shared = Arc::clone(&world.shared);
    let end = world.ended().await;
    assert_eq!((end.alive.len(), *shared.clean.lock().unwrap()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn work_elsewhere_keeps_a_supervisor_that_has_none() {
    for mode in [Mode::Headless, Mode::Background] {
        let mut setup = Setup::new(vec![]);
        setup.options.mode = mode;
        // Held from before the first turn on.
        setup.connect = None;
        let mut world = setup.start();
        let (first, second) = (world.handle.busy(), world.handle.busy());
        world.tell(ExecEvent::Connected(empty()));
        tokio::time::sleep(secs(600)).await;
        world.guest_up(STAGE, 1, 7).await;
        world.exited(STAGE, 1, ExitStatus::Code(1));
        drop(first);
        tokio::time::sleep(secs(600)).await;
        assert!(!world.end.is_finished());
        // What was ordered last is carried out, although the end comes with it.
        world.forget(STAGE);
        drop(second);
        let shared = Arc::clone(&world.shared);
        let end = world.ended().await;
        let why = if mode == Mode::Headless { EndReason::NothingLeft } else { EndReason::Idle };
        assert_eq!((end.why, end.exit()), (why, Exit::AllCompleted));
        assert!(shared.states.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_publish_reaches_who_listens() {
    let mut world = no_runners();
    let what = NoticeKind::Info { text: "the run video-12 succeeded".into() };
    let notice = Notice { at: Timestamp::UNIX_EPOCH, runner: None, what };
    world.handle.publish(Update::Notice(Arc::new(notice)));
    assert_eq!(world.lines(), ["the run video-12 succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn only_names_of_stages_are_taken() {
    let world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.launch("a", 5);
    world.settled().await;
    assert_eq!(world.story()[1..], ["waiting a: only a name with a '/' can be that of a stage"]);
    assert_eq!(world.snapshot().await.runners[0].attempt, Some(nth(1)));
}

#[tokio::test(start_paused = true)]
async fn many_come_and_go_and_leave_nothing() {
    let mut world = no_runners();
    let sender = world.orders.clone();
    world.settled().await;
    for number in 0..500 {
        let name = format!("v-{number}/a");
        world.launch(&name, 1);
        world.until_spawned(&id(&name, 1)).await;
        world.spawned(&name, 1, 7);
        world.exited(&name, 1, ExitStatus::Code(0));
        sender.send(GuestOrder::Forget { name: RunnerName::trusted(&*name) }).unwrap();
    }
    world.settled().await;
    assert!(world.shared.states.lock().unwrap().is_empty());
}
