//! Random lives: whatever happens in whatever order, these hold.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the one effect that it is about")]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{Bench, retry_mut, watched};
use super::*;
use crate::domain::retry::OutputMatch;
use crate::domain::spec::{Jitter, RestartPolicy};
use crate::domain::verdict::ExitStatus;
use event::{Failure, LaunchChange};

/// What may happen next; which attempt it happens to is up to the world below.
#[derive(Debug, Clone, Copy)]
enum Act {
    Start,
    Stop,
    Restart,
    Kill,
    Answer(Answer),
    Exit(i32, bool),
    Killed,
    Gone,
    Stuck,
    Timer(TimerKind, u8),
    Silent,
    Health(bool),
    Blocked,
    Spec { enabled: bool, max: u32, differs: bool },
    Remove,
    Readd,
    Reconnect,
    TakeOver,
    Pass(u64),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Spawned,
    Resource,
    Busy,
    Broken,
}

fn acts() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![Just(TimerKind::Due), Just(TimerKind::Timeout), Just(TimerKind::Steady)];
    prop_oneof![
        2 => Just(Act::Start),
        1 => Just(Act::Stop),
        1 => Just(Act::Restart),
        1 => Just(Act::Kill),
        8 => Just(Act::Answer(Answer::Spawned)),
        1 => Just(Act::Answer(Answer::Resource)),
        1 => Just(Act::Answer(Answer::Busy)),
        1 => Just(Act::Answer(Answer::Broken)),
        5 => (0..3, any::<bool>()).prop_map(|(code, full)| Act::Exit(code, full)),
        2 => Just(Act::Killed),
        6 => Just(Act::Gone),
        1 => Just(Act::Stuck),
        6 => (kind, 0u8..3).prop_map(|(kind, back)| Act::Timer(kind, back)),
        1 => Just(Act::Silent),
        2 => any::<bool>().prop_map(Act::Health),
        1 => Just(Act::Blocked),
        1 => (any::<bool>(), 0u32..4, any::<bool>())
            .prop_map(|(enabled, max, differs)| Act::Spec { enabled, max, differs }),
        1 => Just(Act::Remove),
        1 => Just(Act::Readd),
        1 => Just(Act::Reconnect),
        1 => Just(Act::TakeOver),
        5 => (0u64..400).prop_map(Act::Pass),
    ]
}

/// A keeper in miniature: it does what it is told, and knows what really lives.
#[derive(Default)]
struct World {
    /// Main process and tree live.
    alive: BTreeSet<Attempt>,
    /// The main process has ended; its tree lives.
    leftover: BTreeSet<Attempt>,
    /// A spawn that has had no answer.
    asked: Option<Attempt>,
    used: BTreeSet<Attempt>,
}

impl World {
    fn perform(&mut self, bench: &Bench) {
        for effect in &bench.effects {
            match effect {
                Effect::Spawn => {
                    let attempt = bench.runner.wants_spawn().expect("a spawn belongs to `Starting`");
                    assert!(self.alive.is_empty(), "{attempt} is spawned beside {:?}", self.alive);
                    assert!(!self.used.contains(&attempt), "{attempt} ran before");
                    self.asked = Some(attempt);
                }
                Effect::Remove => assert!(bench.runner.live_attempt().is_none()),
                _ => {}
            }
        }
    }

    fn translate(&mut self, act: Act, bench: &mut Bench) -> Vec<Event> {
        match act {
            Act::Start => vec![Event::Start],
            Act::Stop => vec![Event::Stop],
            Act::Restart => vec![Event::Restart],
            Act::Kill => vec![Event::Kill],
            Act::Answer(answer) => self.answer(answer),
            Act::Exit(code, disk_full) => self.end_main(bench, ExitStatus::Code(code), disk_full),
            Act::Killed => self.end_main(bench, ExitStatus::Signal(9), false),
            Act::Gone => match self.leftover.pop_first() {
                Some(attempt) => vec![Event::Gone { attempt, output: OutputMatch::None }],
                None => vec![],
            },
            Act::Stuck => match self.leftover.first() {
                Some(&attempt) => vec![Event::Stuck { attempt, pids: vec![5] }],
                None => vec![],
            },
            Act::Timer(kind, back) => {
                vec![Event::Timer { kind, epoch: bench.runner.epoch.saturating_sub(u64::from(back)) }]
            }
            Act::Silent => self
                .main()
                .map(|attempt| Event::Silent { attempt, quiet: Duration::ZERO })
                .into_iter()
                .collect(),
            Act::Health(true) => {
                self.main().map(|attempt| Event::HealthPassed { attempt }).into_iter().collect()
            }
            Act::Health(false) => self
                .main()
                .map(|attempt| Event::HealthFailed { attempt, detail: String::new() })
                .into_iter()
                .collect(),
            Act::Blocked => match self.asked.take() {
                Some(_) => vec![Event::Blocked { reason: "no room".into() }],
                None => vec![],
            },
            Act::Spec { enabled, max, differs } => {
                retry_mut(&mut bench.spec).enabled = enabled;
                retry_mut(&mut bench.spec).max_retries = max;
                let launch = if differs { LaunchChange::Differs } else { LaunchChange::Same };
                vec![Event::SpecChanged { launch }]
            }
            Act::Remove => vec![Event::Removed],
            Act::Readd => vec![Event::SpecChanged { launch: LaunchChange::Same }],
            Act::Reconnect => self.reconnect(false),
            Act::TakeOver => {
                let state = bench.runner.to_state(&bench.spec, &bench.now);
                let text = serde_json::to_string(&state).unwrap();
                bench.runner = Runner::from_state(&serde_json::from_str(&text).unwrap(), &bench.now);
                assert_eq!(bench.runner.to_state(&bench.spec, &bench.now), state);
                self.reconnect(true)
            }
            Act::Pass(seconds) => {
                bench.pass(Duration::from_secs(seconds));
                vec![]
            }
        }
    }

    fn main(&self) -> Option<Attempt> {
        self.alive.first().copied()
    }

    fn answer(&mut self, answer: Answer) -> Vec<Event> {
        let Some(attempt) = self.asked.take() else { return vec![] };
        let failed = |failure| vec![Event::SpawnFailed { attempt, failure, message: "no such thing".into() }];
        match answer {
            Answer::Spawned if self.leftover.is_empty() => {
                self.alive.insert(attempt);
                self.used.insert(attempt);
                vec![Event::Spawned { attempt, process: Process { pid: 5, start: 5 } }]
            }
            Answer::Spawned | Answer::Busy => failed(Failure::Busy),
            Answer::Resource => failed(Failure::Resource),
            Answer::Broken => {
                self.used.insert(attempt);
                failed(Failure::Broken)
            }
        }
    }

    fn end_main(&mut self, bench: &mut Bench, status: ExitStatus, disk_full: bool) -> Vec<Event> {
        let Some(attempt) = self.alive.pop_first() else { return vec![] };
        self.leftover.insert(attempt);
        bench.seq += 1;
        vec![Event::Exited { attempt, seq: bench.seq, status, at: bench.now.mono, disk_full }]
    }

    fn reconnect(&mut self, first: bool) -> Vec<Event> {
        self.asked = None;
        let found = self.main().map(|attempt| (attempt, false));
        let found = found.or_else(|| self.leftover.first().map(|&attempt| (attempt, true)));
        let found = found.map(|(attempt, main_ended)| Found {
            attempt,
            process: Process { pid: 5, start: 5 },
            main_ended,
            stuck: vec![],
            log: PathBuf::from("/l"),
        });
        vec![Event::Inventory { found, first, output: OutputMatch::None }]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_rules_hold(
        list in proptest::collection::vec(acts(), 1..120),
        always in any::<bool>(),
    ) {
        let mut spec = watched("a");
        retry_mut(&mut spec).backoff.jitter = Jitter::Equal;
        if always {
            spec.restart = RestartPolicy::Always;
        }
        let mut bench = Bench::new(spec);
        let mut world = World::default();
        let mut may_start = false;
        for act in list {
            for event in world.translate(act, &mut bench) {
                let before = bench.runner.clone();
                let stale = matches!(event, Event::Timer { epoch, .. } if epoch != before.epoch);
                match event {
                    Event::Start | Event::Restart if !before.removed => may_start = true,
                    Event::Stop | Event::Kill => may_start = false,
                    Event::Removed => may_start &= before.live_attempt().is_some(),
                    _ => {}
                }
                bench.feed(event);
                world.perform(&bench);

                if stale {
                    prop_assert_eq!(&bench.runner, &before);
                    prop_assert!(bench.effects.is_empty());
                }
                prop_assert!(may_start || !bench.spawns(), "spawned after a stop, by {:?}", act);
                prop_assert!(!(bench.runner.removed && bench.spawns()), "{:?}", act);
                let count = bench.runner.retry_count;
                prop_assert!(count <= bench.spec.retry.max_retries, "{} retries, by {:?}", count, act);
                prop_assert!(count <= before.retry_count + 1);
                // What lives is known to live, so that it can be stopped.
                if let Some(main) = world.main() {
                    prop_assert_eq!(bench.runner.live_attempt(), Some(main));
                }
            }
        }
    }
}
