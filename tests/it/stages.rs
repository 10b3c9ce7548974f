//! Stages of flows as the flow engine has them run: real processes under a real keeper, records on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use restage::cli::process;
use restage::domain::ids::{Attempt, RunnerName};
use restage::domain::spec::{
    Backoff, CgroupUse, CommandSpec, Jitter, LaunchSpec, Leftovers, LogSpec, Reload, RestartPolicy,
    RetryPolicy, RunnerSpec, StdinSpec, Stdio, StopSpec, TuiSpec, WorkspaceSpec,
};
use restage::domain::verdict::Verdict;
use restage::executor::local::{Introduction, Line, LocalExecutor};
use restage::keeper::link::KeeperPlace;
use restage::keeper::wire::Policy;
use restage::ports::Clock;
use restage::supervisor::clock::SystemClock;
use restage::supervisor::guest::{GuestEnd, GuestEvent, GuestLine, GuestOrder};
use restage::supervisor::handle::{Busy, Handle, Request, Shutdown};
use restage::supervisor::helper::SystemHelpers;
use restage::supervisor::journal::{Identity, Owner, StateFile};
use restage::supervisor::manager::{
    ConfigSource, End, Mode, Options, Parts, Reloaded, RunnerManager, StartPlan,
};
use restage::supervisor::probe::SystemProbe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, RESTAGE, is_alive, pid_in, wait_until};

/// Nothing of a config is read here.
struct NoConfig;

impl ConfigSource for NoConfig {
    fn load(&mut self, running: &WorkspaceSpec) -> Result<Reloaded, String> {
        Ok(Reloaded { workspace: running.clone(), changes: Vec::new() })
    }
}

/// One supervisor of the folder.
struct Supervisor {
    handle: Handle,
    orders: mpsc::UnboundedSender<GuestOrder>,
    told: Arc<Mutex<Vec<GuestEvent>>>,
    end: JoinHandle<End>,
    line: Line,
    /// As an engine with runs under way.
    _busy: Busy,
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.start_keeper();
        folder
    }

    /// Where an earlier one is just ending, its lock is still held for a moment.
    fn start_keeper(&self) {
        let place = self.keeper();
        let folders = [&place.data_dir, &place.runtime_dir];
        wait_until("a keeper of its own", || {
            let done = Command::new(RESTAGE).arg("__guard").args(folders).arg("off").output().unwrap();
            assert!(matches!(done.status.code(), Some(0 | 75)), "{done:?}");
            done.status.success()
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keeper(&self) -> KeeperPlace {
        KeeperPlace { data_dir: self.path("data"), runtime_dir: self.path("run"), cgroups: false }
    }

    fn supervise(&self) -> Supervisor {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let root = self.0.path().to_owned();
        let identity = Identity::current().unwrap();
        let owner = Owner { workspace: root.clone(), identity, supervisor: process::me() };
        let (store, recovered) = StateFile::open(&self.path("state"), owner, Arc::clone(&clock)).unwrap();
        let (tell_exec, exec_events) = mpsc::unbounded_channel();
        let introduction =
            Introduction { epoch: recovered.epoch, policy: Policy::Stop, successor: Vec::new() };
        let (executor, line) = LocalExecutor::start(self.keeper(), introduction, tell_exec);
        let (orders, queue) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&told);
        let parts = Parts {
            clock,
            executor: Box::new(executor),
            exec_events,
            store: Box::new(store),
            state_dir: self.path("state"),
            config: Box::new(NoConfig),
            config_touched: mpsc::unbounded_channel().1,
            probe: Arc::new(SystemProbe),
            helpers: Arc::new(SystemHelpers),
            guests: Some(GuestLine {
                orders: queue,
                tell: Box::new(move |event| ear.lock().unwrap().push(event)),
            }),
        };
        let workspace = WorkspaceSpec {
            config_path: self.path("config.json"),
            text: restage::domain::flow::ids::Hash::of(["config"]),
            data_dir: self.path("data"),
            log_dir: self.path("logs"),
            root,
            cache_dir: None,
            retry_log_dir: None,
            retry_budget: None,
            cgroup: CgroupUse::Off,
            tui: TuiSpec::default(),
            runners: Vec::new(),
            flows: Vec::new(),
        };
        let options = Options { mode: Mode::Headless, start: StartPlan::Autostart };
        let (manager, handle) = RunnerManager::new(workspace, recovered, parts, options);
        let busy = handle.busy();
        Supervisor { handle, orders, told, end: tokio::spawn(manager.run()), line, _busy: busy }
    }

    fn stage(&self, name: &str, script: &str) -> RunnerSpec {
        RunnerSpec {
            name: RunnerName::trusted(name),
            group: None,
            launch: LaunchSpec {
                command: CommandSpec::Shell(script.into()),
                cwd: self.0.path().to_owned(),
                env: BTreeMap::new(),
                env_files: Vec::new(),
                stdin: StdinSpec::Null,
                stdio: Stdio::File,
                umask: None,
                limits: BTreeMap::new(),
            },
            restart: RestartPolicy::Never,
            retry: Arc::new(RetryPolicy {
                enabled: false,
                max_retries: 0,
                backoff: Backoff {
                    base: Duration::ZERO,
                    multiplier: 1.0,
                    cap: Duration::ZERO,
                    jitter: Jitter::None,
                },
                reset_after: None,
                on_exit_codes: None,
                not_on_exit_codes: Vec::new(),
                success_exit_codes: vec![0],
                on_output: Vec::new(),
                not_on_output: Vec::new(),
            }),
            timeout: None,
            activity: None,
            health: None,
            stop: StopSpec { signal: libc::SIGTERM, grace: Duration::from_secs(5), command: None },
            autostart: false,
            leftovers: Leftovers::Kill,
            reload: Reload::Manual,
            log: LogSpec {
                dir: self.path("logs"),
                template: "{name}_{index}.log".into(),
                max_bytes: None,
                keep_attempts: 100,
            },
        }
    }
}

impl Supervisor {
    fn launch(&self, spec: RunnerSpec) {
        self.order(GuestOrder::Launch { spec: Box::new(spec), attempt: Attempt::FIRST });
    }

    fn order(&self, order: GuestOrder) {
        self.orders.send(order).unwrap();
    }

    async fn until<T>(&self, what: &str, mut look: impl FnMut(&GuestEvent) -> Option<T>) -> T {
        let find = async {
            loop {
                if let Some(found) = self.told.lock().unwrap().iter().find_map(&mut look) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, find).await;
        found.unwrap_or_else(|_| panic!("{what} never came: {:?}", self.told.lock().unwrap()))
    }

    async fn inventory(&self) -> Vec<String> {
        let names = |event: &GuestEvent| match event {
            GuestEvent::Inventory(all) => Some(all.iter().map(|one| one.name.to_string()).collect()),
            _ => None,
        };
        self.until("the inventory", names).await
    }

    async fn pid_of(&self, wanted: &str) -> i32 {
        let pid = |event: &GuestEvent| match event {
            GuestEvent::Started { name, process, .. } if name.as_str() == wanted => Some(process.pid),
            _ => None,
        };
        self.until("a start", pid).await
    }

    async fn end_of(&self, wanted: &str) -> GuestEnd {
        let end = |event: &GuestEvent| match event {
            GuestEvent::Ended(end) if end.name.as_str() == wanted => Some((**end).clone()),
            _ => None,
        };
        self.until("an end", end).await
    }

    /// As if by `kill -9`: nothing is said to anybody, and what it knew is on disk or lost.
    async fn killed(self) {
        self.end.abort();
        self.end.await.unwrap_err();
    }

    /// With nothing left to do it ends by itself, and of the stages nothing is on record any more.
    async fn close(self, folder: &Folder) {
        let Self { end, line, _busy: busy, .. } = self;
        drop(busy);
        tokio::time::timeout(PATIENCE, end).await.expect("an end").unwrap();
        line.goodbye(PATIENCE).await;
        let state = std::fs::read_to_string(folder.path("state/runner_state.json")).unwrap();
        assert!(!state.contains("v-"), "{state}");
    }
}

#[tokio::test]
async fn a_successor_settles_what_ended_and_goes_on_with_what_lives() {
    let folder = Folder::new();
    let first = folder.supervise();
    assert_eq!(first.inventory().await, [""; 0]);
    first.launch(
        folder.stage(
            "v-1/seen",
            "echo said; head -c 60000000 /dev/zero | tail -c 50000000 > /dev/null; exit 3",
        ),
    );
    first.launch(folder.stage("v-1/unseen", "while ! [ -e go ]; do sleep 0.01; done; exit 4"));
    first.launch(folder.stage("v-1/lives", "sleep 600 & echo $! > child; wait"));
    let (unseen, lives) = (first.pid_of("v-1/unseen").await, first.pid_of("v-1/lives").await);
    let seen = first.end_of("v-1/seen").await;
    assert_eq!((seen.outcome.exit_code, seen.outcome.verdict), (Some(3), Verdict::Exit));
    assert_eq!(std::fs::read_to_string(seen.log.unwrap()).unwrap(), "said\n");
    assert!(seen.usage.max_rss_bytes > 40_000_000, "{:?}", seen.usage);
    first.killed().await;
    std::fs::write(folder.path("go"), "").unwrap();
    wait_until("its end", || !is_alive(unseen));

    let second = folder.supervise();
    assert_eq!(second.inventory().await, ["v-1/lives", "v-1/seen", "v-1/unseen"]);
    for name in ["v-1/seen", "v-1/unseen", "v-1/lives"] {
        // Were one of these started again, it would do nothing but tell.
        second.launch(folder.stage(name, "touch again; exit 9"));
    }
    assert_eq!(second.end_of("v-1/seen").await.outcome.exit_code, Some(3));
    let unseen = second.end_of("v-1/unseen").await;
    assert_eq!((unseen.outcome.exit_code, unseen.cut), (Some(4), false));
    assert!(unseen.usage.cpu > Duration::ZERO || unseen.usage.max_rss_bytes > 0);
    assert_eq!(second.pid_of("v-1/lives").await, lives);

    // A clean end stops it with all that belongs to it, and forgets nothing.
    second.handle.ask(Request::Shutdown { how: Shutdown::Graceful }).await.unwrap();
    let child = pid_in(&folder.path("child"));
    let stopped = second.end_of("v-1/lives").await;
    assert!(stopped.cut && stopped.outcome.verdict == Verdict::Stopped && !is_alive(child));
    second.end.await.unwrap();
    second.line.goodbye(PATIENCE).await;

    folder.start_keeper();
    let third = folder.supervise();
    assert_eq!(third.inventory().await.len(), 3);
    third.launch(folder.stage("v-1/lives", "touch again; exit 9"));
    assert!(third.end_of("v-1/lives").await.cut);
    assert!(!folder.path("again").exists());
    for name in ["v-1/seen", "v-1/unseen", "v-1/lives"] {
        third.order(GuestOrder::Forget { name: RunnerName::trusted(name) });
    }
    third.close(&folder).await;
}

#[tokio::test]
async fn a_hundred_stages_come_and_go() {
    let folder = Folder::new();
    let supervisor = folder.supervise();
    for number in 0..100 {
        let name = format!("v-{number}/a");
        supervisor.launch(folder.stage(&name, "exit 0"));
        assert_eq!(supervisor.end_of(&name).await.outcome.verdict, Verdict::Completed);
        supervisor.order(GuestOrder::Forget { name: RunnerName::trusted(&*name) });
    }
    supervisor.close(&folder).await;
}
