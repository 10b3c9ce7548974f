//! Whatever is done, in whatever order: a file and the memory give the same answers.

use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::flow::record::{Branch, RunFilter};
use crate::ports::store::{Adopter, StoreError};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;

const STAGES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Act {
    Begin { flow: u8, parent: Option<u8>, reuse: Option<u8>, queued: bool, key: Option<u8>, wild: bool },
    Commit(Vec<(u8, bool, Happened)>),
    Edit { run: u8, stage: u8, adopt: bool, current: bool },
    Judge { run: u8, version: u8, approve: bool },
    Fork { run: u8, version: u8 },
    TakeOver(u8),
    Delete { run: u8, cascade: bool },
}

#[derive(Debug, Clone)]
enum Happened {
    Run(u8),
    Stage(u8, u8),
    Attempt(u8, u8, Option<u8>),
    Item(u8, u8),
    Checkpoint(u8),
    Adopt(u8, u8),
    Judge(u8),
    Reset(u8),
    Limit(Option<u8>),
    AskNobody,
}

fn happened() -> impl Strategy<Value = Happened> {
    let stage = 0..3_u8;
    prop_oneof![
        prop_oneof![3 => 0..3_u8, 1 => 3..8_u8].prop_map(Happened::Run),
        (stage.clone(), 0..10_u8).prop_map(|(stage, status)| Happened::Stage(stage, status)),
        (stage.clone(), 1..4_u8, proptest::option::of(0..4_u8))
            .prop_map(|(a, b, c)| Happened::Attempt(a, b, c)),
        (stage.clone(), 0..3_u8).prop_map(|(stage, item)| Happened::Item(stage, item)),
        stage.clone().prop_map(Happened::Checkpoint),
        (stage.clone(), 1..4_u8).prop_map(|(stage, version)| Happened::Adopt(stage, version)),
        (1..4_u8).prop_map(Happened::Judge),
        stage.prop_map(Happened::Reset),
        proptest::option::of(0..9_u8).prop_map(Happened::Limit),
        Just(Happened::AskNobody),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let run = prop_oneof![1 => Just(0_u8), 20 => 1..5_u8];
    let begin = (
        0..2_u8,
        proptest::option::of(run.clone()),
        proptest::option::of(1..3_u8),
        proptest::bool::weighted(0.2),
        proptest::option::weighted(0.2, 0..2_u8),
        proptest::bool::weighted(0.2),
    );
    let one = (run.clone(), proptest::bool::weighted(0.95), happened());
    prop_oneof![
        3 => begin.prop_map(|(flow, parent, reuse, queued, key, wild)| {
            Act::Begin { flow, parent, reuse, queued, key, wild }
        }),
        8 => proptest::collection::vec(one, 1..3).prop_map(Act::Commit),
        1 => (run.clone(), 0..3_u8, any::<bool>(), proptest::bool::weighted(0.9))
            .prop_map(|(run, stage, adopt, current)| Act::Edit { run, stage, adopt, current }),
        1 => (run.clone(), 1..3_u8, any::<bool>())
            .prop_map(|(run, version, approve)| Act::Judge { run, version, approve }),
        1 => (run.clone(), 1..3_u8).prop_map(|(run, version)| Act::Fork { run, version }),
        1 => run.clone().prop_map(Act::TakeOver),
        1 => (run, any::<bool>()).prop_map(|(run, cascade)| Act::Delete { run, cascade }),
    ]
}

/// One of those that are there, or, for 0, one that is not.
fn pick(store: &mut dyn Store, number: u8) -> RunId {
    let runs = store.runs(&RunFilter::default()).unwrap();
    let place = (usize::from(number) + runs.len()).checked_rem(runs.len());
    match place {
        Some(place) if number > 0 => runs[place].run_id.clone(),
        _ => RunId::trusted("z-9"),
    }
}

fn a_stage(number: u8) -> StageName {
    stage(STAGES[usize::from(number)])
}

fn what(happened: &Happened) -> What {
    match happened {
        Happened::Run(status) => run_is(RunStatus::ALL[usize::from(*status)]),
        Happened::Stage(of, status) => {
            stage_is(STAGES[usize::from(*of)], StageStatus::ALL[usize::from(*status)])
        }
        Happened::Attempt(of, number, cost) => {
            let error = (number % 2 == 0).then(|| format!("exit {number}"));
            let cost = cost.map(|cost| f64::from(cost) / 4.0);
            What::Attempt {
                stage: a_stage(*of),
                attempt: AttemptRecord { error, cost, ..attempt((*number).into()) },
            }
        }
        Happened::Item(of, number) => {
            What::Item { stage: a_stage(*of), item: item((*number).into()), all: 3 }
        }
        Happened::Checkpoint(of) => {
            let new =
                NewCheckpoint { approval: Approval::Pending, ..new_checkpoint(STAGES[usize::from(*of)]) };
            What::Checkpoint { stage: a_stage(*of), new: Box::new(new) }
        }
        Happened::Adopt(of, version) => What::Adopt {
            stage: a_stage(*of),
            checkpoint: CheckpointId { stage: a_stage(*of), version: (*version).into() },
        },
        Happened::Judge(version) => {
            What::Judge(judgement(&format!("a@{version}"), "a", Approval::Pending, Approval::Approved))
        }
        Happened::Limit(left) => What::Limit {
            deadline: left.is_none().then(|| at(7)),
            left: left.map(|left| Duration::from_secs(left.into())),
        },
        Happened::AskNobody => What::AskNobody,
        Happened::Reset(of) => {
            What::Reset { stage: a_stage(*of), reason: Reason::Rejected, feedback: Some("again".into()) }
        }
    }
}

/// What an act answers, without the words of an error, which need not be the same.
fn perform(store: &mut dyn Store, act: &Act) -> String {
    let told = |error: StoreError| {
        let broken = matches!(error, StoreError::Broken { .. });
        if broken { "broken".to_owned() } else { format!("{error:?}") }
    };
    let root_of = |store: &mut dyn Store, run: &RunId| {
        store.run(run).unwrap().map_or_else(|| run.clone(), |run| run.record.root_run_id)
    };
    match act {
        Act::Begin { flow, parent, reuse, queued, key, wild } => {
            let parent =
                parent.map(|number| pick(store, number)).filter(|run| store.run(run).unwrap().is_some());
            let root = parent.as_ref().map(|parent| root_of(store, parent));
            let mut new = match (&parent, &root) {
                (Some(parent), Some(root)) => {
                    let reuse = reuse.map(|version| format!("a@{version}"));
                    retry_of(parent, root, &reuse.iter().map(String::as_str).collect::<Vec<_>>(), &["b", "c"])
                }
                _ => new_run(&STAGES),
            };
            new.flow = FlowName::trusted(["x", "y"][usize::from(*flow)]);
            new.key = key.map(|key| format!("key {key}"));
            if *queued {
                new.status = RunStatus::Queued;
            }
            if *wild {
                new.branch = branch("wild");
            }
            store.begin(&new).map_or_else(told, |begun| format!("{begun:?}"))
        }
        Act::Commit(all) => {
            let change = |store: &mut dyn Store, (run, current, happened): &(u8, bool, Happened)| {
                let run = pick(store, *run);
                let epoch = store.run(&run).unwrap().map_or(1, |run| run.epoch);
                Change { epoch: if *current { epoch } else { epoch - 1 }, run, what: what(happened) }
            };
            let all: Vec<_> = all.iter().map(|one| change(store, one)).collect();
            store.commit(&all).map_or_else(told, |made| format!("{made:?}"))
        }
        Act::Edit { run, stage, adopt, current } => {
            let run = pick(store, *run);
            let root = root_of(store, &run);
            let new =
                NewCheckpoint { edited_from: Some(cp("a@1")), ..new_checkpoint(STAGES[usize::from(*stage)]) };
            let epoch = store.run(&run).unwrap().map_or(1, |run| run.epoch);
            let adopter = Adopter {
                run: run.clone(),
                epoch: if *current { epoch } else { epoch - 1 },
                also: Vec::new(),
            };
            let adopters = if *adopt { vec![adopter] } else { Vec::new() };
            store.add_checkpoint(&root, &run, &new, &adopters).map_or_else(told, |made| made.to_string())
        }
        Act::Judge { run, version, approve } => {
            let run = pick(store, *run);
            let root = root_of(store, &run);
            let to = if *approve { Approval::Approved } else { Approval::Rejected };
            let judged = store.judge(&root, &judgement(&format!("a@{version}"), "a", Approval::Pending, to));
            judged.map_or_else(told, |done| done.to_string())
        }
        Act::Fork { run, version } => {
            let run = pick(store, *run);
            let root = root_of(store, &run);
            let fork = Branch {
                branch_name: branch("wild"),
                forked_from: Some(cp(&format!("a@{version}"))),
                created_at: at(4),
                created_by: None,
            };
            store.add_branch(&root, &fork).map_or_else(told, |done| done.to_string())
        }
        Act::TakeOver(run) => {
            let run = pick(store, *run);
            store.take_over(&run, "pid 2").map_or_else(told, |epoch| epoch.to_string())
        }
        Act::Delete { run, cascade } => {
            let run = pick(store, *run);
            store.delete(std::slice::from_ref(&run), *cascade).map_or_else(told, |gone| format!("{gone:?}"))
        }
    }
}

/// Everything that can be asked.
fn all_of(store: &mut dyn Store) -> String {
    let mut told = String::new();
    let mut tell = |answer: &dyn std::fmt::Debug| writeln!(told, "{answer:?}").unwrap();
    let runs = store.runs(&RunFilter::default()).unwrap();
    for run in &runs {
        tell(&store.run(&run.run_id).unwrap());
        let root = &run.root_run_id;
        for name in STAGES {
            tell(&store.items(&run.run_id, &stage(name)).unwrap());
        }
        tell(&store.checkpoints(root).unwrap());
        tell(&store.branches(root).unwrap());
        for name in ["main", "wild"] {
            tell(&store.lock(root, &branch(name)).unwrap());
        }
        for version in 1..4 {
            tell(&store.retries_of(root, &BranchName::main(), &cp(&format!("a@{version}"))).unwrap());
            tell(&store.checkpoint(root, &cp(&format!("a@{version}"))).unwrap());
        }
    }
    tell(&runs);
    for search in ["x-1", "why", "exit", "1"] {
        let filter = RunFilter { search: Some(search.into()), limit: Some(2), ..RunFilter::default() };
        tell(&store.runs(&filter).unwrap());
    }
    tell(&store.unfinished().unwrap());
    tell(&store.objects().unwrap());
    tell(&store.stats(None).unwrap());
    tell(&store.stats(Some(&FlowName::trusted("x"))).unwrap());
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_file_and_the_memory_agree(acts in proptest::collection::vec(act(), 10..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SqliteStore::open(&dir.path().join("history.db")).unwrap();
        let mut memory = MemoryStore::new();
        for (number, act) in acts.iter().enumerate() {
            let before = all_of(&mut memory);
            let (of_memory, of_file) = (perform(&mut memory, act), perform(&mut file, act));
            prop_assert_eq!(&of_memory, &of_file, "{:?}", act);
            let refused = of_memory == "broken";
            if refused {
                prop_assert_eq!(before, all_of(&mut memory), "{:?}", act);
            }
            if refused || number % 4 == 0 || number + 1 == acts.len() {
                prop_assert_eq!(all_of(&mut memory), all_of(&mut file), "{:?}", act);
            }
        }
    }
}
