//! Stages of flows that cannot be started as they were ordered, or cannot be written down.

use super::guests::{STAGE, guest, no_runners};
use super::*;
use crate::ports::{SpawnFailure, SpawnFailureKind};

#[tokio::test(start_paused = true)]
async fn what_cannot_be_spawned_has_ended_and_what_cannot_be_spawned_yet_waits() {
    let world = no_runners();
    let fails = |kind, message: &str| {
        let failure = SpawnFailure { message: message.into(), kind };
        world.tell(ExecEvent::SpawnFailed { id: id(STAGE, 1), failure });
    };
    world.launch(STAGE, 1);
    world.until_spawned(&id(STAGE, 1)).await;
    fails(SpawnFailureKind::Resource, "no processes left");
    for count in 2..5 {
        world.until("another try", |_| (world.spawns().len() == count).then_some(())).await;
        fails(SpawnFailureKind::Resource, "no processes left");
    }
    world.until("another try", |_| (world.spawns().len() == 5).then_some(())).await;
    fails(SpawnFailureKind::Busy, "");
    world.until("another try", |_| (world.spawns().len() == 6).then_some(())).await;
    fails(SpawnFailureKind::Broken, "find the program render: No such file");
    let waiting = |reason: &str| format!("waiting {STAGE}: {reason}");
    world
        .until_story(&[
            "inventory []",
            &waiting("no processes left"),
            &waiting("something of an earlier attempt still lives"),
            &format!("ended {STAGE}#1: spawn failed"),
        ])
        .await;
    let end = world.end_of(STAGE);
    assert_eq!((end.attempt, end.started_at), (nth(1), None));
    assert!(end.outcome.detail.unwrap().contains("find the program"));

    let mut broken = guest(&world, STAGE);
    broken.launch.env_files = vec!["/nowhere.env".into()];
    world.launch_as(broken, 2);
    world.settled().await;
    assert!(world.end_of(STAGE).outcome.detail.unwrap().contains("/nowhere.env"));
    assert_eq!(world.end_of(STAGE).attempt, nth(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_spends_nothing_and_a_stop_ends_the_wait() {
    let world = no_runners();
    world.settled().await;
    *world.shared.no_room.lock().unwrap() = Some("the disk is full".into());
    world.launch(STAGE, 3);
    world.settled().await;
    world.launch(STAGE, 3);
    tokio::time::sleep(secs(60)).await;
    let waiting = format!("waiting {STAGE}: the disk is full");
    assert_eq!(
        world.story()[1..],
        [waiting.clone(), waiting],
        "once, and once more for the one who asked again"
    );
    world.stop(STAGE, Shutdown::Graceful);
    world.settled().await;
    assert_eq!(world.story().last().unwrap(), &format!("ended {STAGE}#3: stopped"));
    assert_eq!((world.spawns(), world.recorded(STAGE).unwrap().attempt), (vec![], Some(nth(3))));

    world.launch(STAGE, 4);
    world.settled().await;
    *world.shared.no_room.lock().unwrap() = None;
    world.until_spawned(&id(STAGE, 4)).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_on_a_full_disk_says_so() {
    let mut world = no_runners();
    world.guest_up(STAGE, 1, 7).await;
    *world.shared.no_room.lock().unwrap() = Some("the disk is full".into());
    world.exited(STAGE, 1, ExitStatus::Code(1));
    world.settled().await;
    assert!(world.end_of(STAGE).disk_full);
    assert!(world.recorded(STAGE).unwrap().disk_full);
}

#[tokio::test(start_paused = true)]
async fn a_number_whose_log_is_there_is_passed_over_and_told_beside_the_ordered_one() {
    let world = no_runners();
    std::fs::write(world.workspace.log_dir.join("video-12+render_1.log"), "of an earlier life").unwrap();
    world.launch(STAGE, 1);
    world.until_spawned(&id(STAGE, 2)).await;
    world.spawned(STAGE, 2, 7);
    world.settled().await;
    world.launch(STAGE, 1);
    let started = format!("started {STAGE}#2 7");
    world.until_story(&["inventory []", &started, &started]).await;

    // The engine goes on counting as it did, also over the end of this supervisor.
    let mut setup = Setup::new(vec![]).after(&world);
    setup.connect = Some(Inventory { live: vec![live(STAGE, 2, 7)], ..empty() });
    let mut world = setup.start();
    let inventory = format!("inventory [{STAGE}#1]");
    world.launch(STAGE, 1);
    world.until_story(&[&inventory, &started]).await;
    world.exited(STAGE, 2, ExitStatus::Code(1));
    world.settled().await;
    world.launch(STAGE, 2);
    world.until_spawned(&id(STAGE, 3)).await;
    world.spawned(STAGE, 3, 8);
    let ended = format!("ended {STAGE}#2: exit 1");
    world.until_story(&[&inventory, &started, &ended, &format!("started {STAGE}#3 8")]).await;
}
