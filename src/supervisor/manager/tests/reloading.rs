//! Another config while everything runs.

use super::*;

impl World {
    fn edit(&mut self, change: impl FnOnce(&mut WorkspaceSpec)) {
        change(&mut self.workspace);
        *self.shared.config.lock().unwrap() = Some(Ok(self.workspace.clone()));
        self.touch.send(()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_applies_and_touches_no_process() {
    let mut world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.edit(|workspace| retry_mut(&mut workspace.runners[0]).max_retries = 9);
    world.until("the limit", |snapshot| (snapshot.runners[0].max_retries == 9).then_some(())).await;
    assert_eq!((world.stops().len(), world.spawns().len()), (0, 2));
    assert!(world.lines().contains(&"config: something changed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_edits_is_read_once_it_is_over() {
    let mut world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    for limit in 4..14 {
        world.edit(|workspace| retry_mut(&mut workspace.runners[0]).max_retries = limit);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(world.snapshot().await.runners[0].max_retries, 3);
    }
    world.until("the limit", |snapshot| (snapshot.runners[0].max_retries == 13).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn runners_come_and_go_and_none_that_lives_is_forgotten() {
    let mut world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    let dir = world.workspace.log_dir.clone();
    world.edit(|workspace| {
        workspace.runners.remove(0);
        let mut c = spec("c");
        c.log.dir = dir;
        workspace.runners.insert(0, c);
    });
    world.until_spawned(&id("c", 1)).await;
    let snapshot = world.snapshot().await;
    let order: Vec<&str> = snapshot.runners.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(order, ["c", "b", "a"]);
    assert_eq!(snapshot.runners[2].note.as_deref(), Some("removed from the config"));
    world.exited("a", 1, ExitStatus::Code(1));
    world.until("a to be gone", |snapshot| (snapshot.runners.len() == 2).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_edit_is_shown_and_the_old_config_stays() {
    let mut world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    *world.shared.config.lock().unwrap() = Some(Err("config.json:3:5: expected a number".into()));
    world.touch.send(()).unwrap();
    let error = world.until("the error", |snapshot| snapshot.fleet.config_error.clone()).await;
    assert!(error.contains("3:5"));
    let refused = world.handle.ask(Request::Reload).await.unwrap_err();
    assert_eq!(refused.to_string(), "reload /w/config.json: config.json:3:5: expected a number");
    assert_eq!(world.snapshot().await.runners[0].status, RunnerStatus::Running);
    world.edit(|_| {});
    world.until("no error", |snapshot| snapshot.fleet.config_error.is_none().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_command_says_restart_to_apply() {
    let mut world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.edit(|workspace| workspace.runners[0].launch.cwd = "/tmp".into());
    let note = world.until("the note", |snapshot| snapshot.runners[0].note.clone()).await;
    assert!(note.contains("restart to apply"));
    world.ask(Request::Restart { names: vec![] }).await;
    world.exited("a", 1, ExitStatus::Signal(15));
    world.until_spawned(&id("a", 2)).await;
    assert_eq!(world.snapshot().await.runners[0].note, None);
}
