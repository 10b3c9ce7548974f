//! Large values.

use super::*;

contract!(large_values_come_back, too_large_values_are_refused,);

fn large_values_come_back(store: &mut dyn Store) {
    let long = format!("\"{}\"", "a long tale, ".repeat(20_000));
    let big = map(&[("tale", &long), ("small", "1")]);
    let new = NewRun { inputs: big.clone(), definition: long.clone(), ..new_run(&["a"]) };
    let run = begin(store, &new);
    let checkpoint = NewCheckpoint { outputs: big.clone(), ..new_checkpoint("a") };
    let item = ItemRecord { outputs: big.clone(), ..item(0) };
    commit(
        store,
        &run,
        vec![
            What::Checkpoint { stage: stage("a"), new: Box::new(checkpoint) },
            What::Item { stage: stage("a"), item: item.clone(), all: 1 },
        ],
    );
    let stored = store.run(&run).unwrap().unwrap();
    assert_eq!(stored.record.inputs, big);
    assert_eq!(stored.stages()[0].outputs.as_ref(), Some(&big));
    assert_eq!(store.checkpoint(&run, &cp("a@1")).unwrap().unwrap().outputs, big);
    assert_eq!(store.items(&run, &stage("a")).unwrap(), [item]);
    assert_eq!(store.definition(&new.def_hash).unwrap(), Some(long));
}

fn too_large_values_are_refused(store: &mut dyn Store) {
    let part = Json::string(&"x".repeat(1 << 20));
    let big: JsonMap = (0..MAX_STATE_BYTES >> 20).map(|n| (format!("part {n}"), part.clone())).collect();
    let refused = |result: Result<(), StoreError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Broken { .. }));
        assert!(error.to_string().contains("64 MiB is the most"), "{error}");
    };
    refused(store.begin(&NewRun { inputs: big.clone(), ..new_run(&["a"]) }).map(drop));
    let run = begin(store, &new_run(&["a"]));
    let checkpoint = Box::new(NewCheckpoint { outputs: big.clone(), ..new_checkpoint("a") });
    let made = What::Checkpoint { stage: stage("a"), new: checkpoint };
    refused(store.commit(&changes(&run, vec![stage_is("a", StageStatus::Succeeded), made])).map(drop));
    let item = ItemRecord { outputs: big, ..item(0) };
    refused(store.commit(&changes(&run, vec![What::Item { stage: stage("a"), item, all: 1 }])).map(drop));
    assert_eq!(store.run(&run).unwrap().unwrap().stages()[0].status, StageStatus::Pending);
}
