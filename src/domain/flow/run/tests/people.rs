//! What waits for a person: approvals, rejections, edits.

use super::*;

#[test]
fn what_asks_a_person_waits_and_is_passed_on_when_approved() {
    let mut world = World::new(flow("a: manual\n b: a\n beside:"));
    world.goes("a", End::Good);
    assert_eq!(world.words(), "a=waiting b=pending beside=pending");
    assert_eq!(world.record.status, RunStatus::Running);
    world.goes("beside", End::Good);
    assert_eq!(world.record.status, RunStatus::Waiting);
    assert!(world.told.iter().any(|line| line.starts_with("Waiting for you: f-12, a@1")), "{:?}", world.told);
    world.dies_and_comes_back();
    let (unit, judgement) = (world.unit("a"), judgement("a@1"));
    world.step(|run, at| run.approve(unit.stage, Some(judgement), at));
    assert_eq!((world.lives(), world.record.status), (vec!["b"], RunStatus::Running));
    world.goes("b", End::Good);
    assert_eq!(world.record.status, RunStatus::Succeeded);
}

#[test]
fn a_queued_run_hears_what_was_judged_and_begins_in_its_turn() {
    for approved in [true, false] {
        let mut world = World::new(flow("a: manual\n b: a"));
        world.goes("a", End::Good);
        // A retry that waits for another one, with what that one waits for.
        world.record.status = RunStatus::Queued;
        world.record.started_at = None;
        world.dies_and_comes_back();
        let a = world.unit("a");
        if approved {
            world.step(|run, at| run.approve(a.stage, Some(judgement("a@1")), at));
        } else {
            world.step(|run, at| run.reject(a.stage, a.stage, Some(judgement("a@1")), "darker", at));
        }
        assert_eq!((world.run.status, world.record.status), (RunStatus::Queued, RunStatus::Queued));
        assert!(world.lives().is_empty());
        world.dies_and_comes_back();
        world.step(Run::begin);
        assert_eq!(world.lives(), [if approved { "b" } else { "a" }]);
    }
}

#[test]
fn what_is_rejected_runs_again_with_what_was_said_and_new_numbers() {
    let mut world = World::new(flow("a:\n b: a manual\n c: b"));
    world.goes("a", End::Good);
    world.goes("b", End::Good);
    let (a, b) = (world.unit("a"), world.unit("b"));
    world.step(|run, at| run.reject(b.stage, a.stage, Some(judgement("b@1")), "darker", at));
    assert_eq!((world.lives(), world.words().as_str()), (vec!["a"], "a=pending b=pending c=pending"));
    assert_eq!(world.rows[&name("a")].feedback.as_deref(), Some("darker"));
    world.dies_and_comes_back();
    world.goes("a", End::Good);
    world.goes("b", End::Good);
    assert_eq!(world.launched, [(a, 1), (b, 1), (a, 2), (b, 2)]);
    assert_eq!(world.record.status, RunStatus::Waiting);
    world.step(Run::cancel);
    assert_eq!(
        (world.words().as_str(), world.record.status),
        ("a=succeeded b=cancelled c=cancelled", RunStatus::Cancelled)
    );
}

#[test]
fn what_runs_beside_a_rejection_is_ended_and_its_number_is_not_given_again() {
    let mut world = World::new(flow("a:\n b: a manual\n side: a"));
    world.goes("a", End::Good);
    world.goes("b", End::Good);
    let (a, b, side) = (world.unit("a"), world.unit("b"), world.unit("side"));
    world.step(|run, at| run.reject(b.stage, a.stage, Some(judgement("b@1")), "darker", at));
    assert_eq!(world.words(), "a=pending b=pending side=pending");
    let cut = &world.rows[&name("side")].attempts;
    assert_eq!((cut[0].number, cut[0].verdict, cut[0].blameless), (1, Some(Verdict::Stopped), true));
    // Its end comes late and concerns nobody.
    let late = world.live.remove(&side).unwrap();
    let at = world.moment();
    assert_eq!(world.run.ended(side, stopped(late), at), Turn::default());
    world.goes("a", End::Good);
    world.goes("side", End::Good);
    world.goes("b", End::Good);
    assert_eq!(world.launched, [(a, 1), (b, 1), (side, 1), (a, 2), (b, 2), (side, 2)]);
    assert_eq!(world.record.status, RunStatus::Waiting);
}

#[test]
fn what_was_interrupted_goes_on_whole_when_a_person_approves_a_part_of_it() {
    let mut world = World::new(flow("a: manual\n b: a\n beside:"));
    world.goes("a", End::Good);
    world.step(Run::interrupt);
    assert_eq!(world.record.status, RunStatus::Interrupted);
    world.dies_and_comes_back();
    let unit = world.unit("a");
    world.step(|run, at| run.approve(unit.stage, Some(judgement("a@1")), at));
    assert_eq!(world.lives(), ["b", "beside"]);
}

/// As the store does it: the rows first, then the machine.
fn edit(world: &mut World, version: &str) {
    let (new, stage) =
        (crate::domain::flow::testing::checkpoint(version), version.split('@').next().unwrap());
    let index = world.unit(stage).stage;
    for what in world.run.rewind(index) {
        if let What::Stage { stage, status, .. } = &what {
            world.rows.get_mut(stage).unwrap().status = *status;
        } else {
            world.write(what);
        }
    }
    world.rows.get_mut(&name(stage)).unwrap().checkpoint.as_mut().unwrap().id = new.id.clone();
    world.checkpoints.insert(name(stage), new.clone());
    world.step(|run, at| run.edited(new, at));
}

#[test]
fn an_edit_of_what_was_built_on_waits_there_and_what_follows_is_executed_again() {
    for dies in [false, true] {
        let mut world = World::new(flow("s:\n b: s manual\n r: b\n beside: manual\n skipped: s when:draft"));
        world.goes("s", End::Good);
        world.goes("b", End::Good);
        world.goes("beside", End::Good);
        let before = world.words();
        assert_eq!(before, "s=succeeded b=waiting r=pending beside=waiting skipped=skipped");
        // Again and again, and one beside it.
        for version in ["s@2", "s@3", "beside@2"] {
            edit(&mut world, version);
            assert_eq!(world.words(), "s=waiting b=pending r=pending beside=waiting skipped=pending");
            assert_eq!((world.record.status, world.lives()), (RunStatus::Waiting, vec![]));
        }
        assert_eq!(world.told.last().unwrap().split(';').next(), Some("Waiting for you: f-12, beside@2"));
        if dies {
            world.dies_and_comes_back();
        }
        assert_eq!(world.run.open, 5);
        let (s, beside) = (world.unit("s"), world.unit("beside"));
        world.step(|run, at| run.approve(beside.stage, Some(judgement("beside@2")), at));
        world.step(|run, at| run.approve(s.stage, Some(judgement("s@3")), at));
        assert_eq!(world.lives(), ["b"]);
        assert_eq!(world.words(), "s=succeeded b=pending r=pending beside=succeeded skipped=skipped");
        world.goes("b", End::Good);
        let b = world.unit("b");
        assert_eq!(world.launched, [(s, 1), (beside, 1), (b, 1), (b, 2)]);
        world.step(|run, at| run.approve(b.stage, Some(judgement("b@2")), at));
        world.goes("r", End::Good);
        assert_eq!(world.record.status, RunStatus::Succeeded);
    }
}

#[test]
fn an_edit_of_what_was_built_on_can_be_rejected() {
    let mut world = World::new(flow("s:\n b: s manual"));
    world.goes("s", End::Good);
    world.goes("b", End::Good);
    edit(&mut world, "s@2");
    let s = world.unit("s");
    world.step(|run, at| run.reject(s.stage, s.stage, Some(judgement("s@2")), "darker", at));
    assert_eq!((world.lives(), world.words().as_str()), (vec!["s"], "s=pending b=pending"));
    world.goes("s", End::Good);
    world.goes("b", End::Good);
    assert_eq!(world.words(), "s=succeeded b=waiting");
}

fn judgement(checkpoint: &str) -> Judgement {
    Judgement {
        checkpoint: CheckpointId::parse(checkpoint).unwrap(),
        hash: Hash::of(["it"]),
        from: Approval::Pending,
        to: Approval::Approved,
        who: "ann".into(),
        at: at(0),
        note: None,
        rewind_to: None,
    }
}

#[test]
fn while_a_run_only_waits_for_a_person_its_clock_stands_still() {
    let mut spec = flow("a: manual\n b: a\n beside:");
    spec.timeout = Some(Duration::from_secs(10));
    let mut world = World::new(spec);
    world.seconds = 2;
    world.goes("a", End::Good);
    // What runs beside it takes its time.
    assert_eq!(world.record.deadline, Some(at(10)));
    world.seconds = 3;
    world.goes("beside", End::Good);
    assert_eq!(world.record.status, RunStatus::Waiting);
    assert_eq!((world.record.deadline, world.time_left), (None, Some(Duration::from_secs(7))));
    world.seconds = 1000;
    world.step(Run::timed_out);
    world.dies_and_comes_back();
    world.step(Run::timed_out);
    assert_eq!(world.record.status, RunStatus::Waiting);
    let a = world.unit("a");
    world.step(|run, at| run.approve(a.stage, Some(judgement("a@1")), at));
    assert_eq!(world.record.deadline, Some(at(1007)));
    world.step(Run::timed_out);
    assert_eq!((world.lives(), world.record.status), (vec!["b"], RunStatus::Running));
    // An orderly end of the supervisor stops the clock, too; its death does not where something lives on.
    world.step(Run::interrupt);
    assert_eq!((world.record.deadline, world.time_left), (None, Some(Duration::from_secs(7))));
    world.seconds = 2000;
    world.dies_and_comes_back();
    world.step(Run::begin);
    world.seconds = 2006;
    world.dies_and_comes_back();
    world.step(Run::timed_out);
    assert_eq!(world.record.status, RunStatus::Running);
    world.seconds = 2007;
    world.step(Run::timed_out);
    world.goes("b", End::Cut);
    assert_eq!(world.record.error.as_deref(), Some("Flow execution timed out after 10 seconds"));
}
