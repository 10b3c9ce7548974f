//! Edits, branches, approvals and rejections.

use super::*;

#[test]
fn what_is_behind_an_edit_is_executed_and_nothing_else() {
    let mut one = world("a: >x\n b: a <x\n c: a <q\n d: b\n z:", "d=failed");
    one.edit("a");
    assert_eq!(
        one.told(&first()),
        "from d: a: reuse a@2 (takes on the edit of ann); b: edited (a was edited); c: edited (a was edited); d: failed; \
         z: reuse z@1"
    );
    // Also of a run that succeeded, without being forced, and though the recipe is another one now.
    let mut one = world("a: >x\n b: a <x\n d: b\n z:", "");
    one.edit("a");
    one.changed_recipes.insert(name("a"));
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@2 (takes on the edit of ann); b: edited (a was edited); d: descendant (of b); z: reuse z@1"
    );
    // But not on other inputs.
    one.inputs = map(r#"{"q": 3}"#);
    assert!(one.told(&first()).contains("a: input changed (of the run: q)"), "{}", one.told(&first()));
}

#[test]
fn going_on_behind_a_checkpoint() {
    let mut one = world("a:\n b: a\n c: b\n y: a", "c=failed");
    let after = |stage| Wish { start: Start::After(name(stage)), force: false };
    assert_eq!(
        one.told(&after("a")),
        "from b: a: reuse a@1; b: descendant (of a); c: descendant (of b); y: descendant (of a)"
    );
    assert_eq!(
        one.told(&after("b")),
        "from c: a: reuse a@1; b: reuse b@1; c: descendant (of b); y: reuse y@1"
    );
    assert_eq!(
        one.told(&after("c")).split(" | ").next().unwrap(),
        "14 nothing can go on behind c, which left no usable checkpoint: it is failed: exit 1"
    );
    let mut one = world("a:\n b: a", "");
    assert_eq!(
        one.told(&after("b")),
        "2 nothing comes after b | to execute it again: restage retry f-12 --from b --force"
    );
}

#[test]
fn what_waited_for_a_person_is_not_executed_again() {
    let mut one = world("a:\n b: a\n c: b\n z:", "c=cancelled");
    let row = one.parent.stages.as_mut().unwrap().iter_mut().find(|row| row.name == name("b")).unwrap();
    row.status = StageStatus::Cancelled;
    let Some(Left::Checkpoint(checkpoint)) = one.left.get_mut(&name("b")) else { panic!() };
    checkpoint.approval = Approval::Pending;
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; b: reuse b@1 (it waits for a person); c: failed (it was cancelled); z: reuse z@1"
    );
    assert!(
        one.told(&from("b")).starts_with("from b: a: reuse a@1; b: failed (it was cancelled); c: descendant")
    );
    // As the last one it is all that there is to do.
    one.file("a:\n b: a\n z:");
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@1; b: reuse b@1 (it waits for a person); z: reuse z@1"
    );
}

#[test]
fn a_branch_may_leave_a_run_that_is_under_way() {
    let mut one = world("a:\n b: a\n c: b\n z:", "b=running c=pending z=running");
    one.parent.status = RunStatus::Running;
    assert_eq!(
        one.told(&Wish { start: Start::Fork(name("a")), force: false }),
        "from b: a: reuse a@1; b: descendant (of a); c: descendant (of b); z: never ran"
    );
    assert!(one.told(&Wish { start: Start::After(name("a")), force: false }).starts_with("10 "));
}

#[test]
fn on_a_new_branch_an_edit_stands_on_those_before_it_and_not_on_later_ones() {
    let fork = |stage: &str| Wish { start: Start::Fork(name(stage)), force: false };
    for needs in ["", " <x"] {
        let chain = format!("a: >x\n b: a >y{needs}\n c: b >z\n d: c");
        let mut one = world(&chain, "d=failed");
        one.edit_there("a");
        one.edit_there("b");
        assert_eq!(
            one.told(&fork("b")),
            "from c: a: reuse a@2 (edited by ann); b: reuse b@2 (edited by ann); c: descendant (of b); d: descendant (of c)"
        );
        one.edit_there("c");
        assert_eq!(
            one.told(&fork("c")),
            "from d: a: reuse a@2 (edited by ann); b: reuse b@2 (edited by ann); c: reuse c@2 (edited by ann); d: \
             descendant (of c)"
        );
        // Elsewhere what comes behind an edit is executed.
        assert!(one.told(&first()).contains("b: edited (a was edited); c: descendant (of b)"));
        one.edit_there("a");
        assert_eq!(
            one.told(&fork("a")),
            "from b: a: reuse a@3 (edited by ann); b: descendant (of a); c: descendant (of b); d: descendant (of c)"
        );
    }
    // What lies between two edits is made anew, and nobody has seen what the later one would stand on then.
    let mut one = world("a: >x\n b: a >y\n c: b >z\n d: c", "d=failed");
    one.edit_there("a");
    one.edit_there("c");
    assert_eq!(
        one.told(&fork("c")),
        "2 nothing can go on behind c, which has to be executed again (descendant: of b) | edit b as it is to be now: \
         restage edit f-12 b --branch main; or begin at a checkpoint before it: restage fork f-12 --at CP --branch NAME"
    );
    one.edit_there("b");
    one.edit_there("c");
    assert!(one.told(&fork("c")).starts_with("from d: "));
}

#[test]
fn a_rejected_stage_is_executed_though_it_succeeded() {
    let mut one = world("a:\n b: a\n v: !b\n c: b", "c=pending");
    let wish = Wish { start: Start::Rejected(name("b")), force: false };
    assert_eq!(
        one.told(&wish),
        "from b: a: reuse a@1; b: rejected; v: descendant (of b); c: descendant (of b)"
    );
}

#[test]
fn a_retry_begins_where_a_person_sent_the_run_back_to() {
    // After the run had ended: what was rejected is of no use any more.
    let mut one = world("a:\n b: a\n c: b\n z:", "c=failed");
    one.left.insert(name("b"), Left::Nothing);
    let sent = |to: &str, second| SentBack { to: name(to), feedback: "darker".into(), at: Some(at(second)) };
    assert!(one.told(&first()).starts_with("14 c needs b"), "{}", one.told(&first()));
    one.sent_back = vec![sent("b", 9)];
    assert_eq!(one.told(&first()), "from b: a: reuse a@1; b: rejected; c: descendant (of b); z: reuse z@1");
    one.sent_back = vec![sent("b", 9), sent("a", 8)];
    let back = "from a: a: rejected; b: descendant (of a); c: descendant (of b); z: reuse z@1";
    assert_eq!(one.told(&first()), back);
    // A retry that succeeded before that is no answer to it, one that came after it is.
    one.lineage = vec![record(13, RunStatus::Succeeded, Some(12))];
    one.lineage[0].created_at = at(7);
    assert_eq!(one.told(&first()), back);
    one.lineage[0].created_at = at(10);
    assert!(one.told(&first()).starts_with("12 a of f-12 succeeded in its retry f-13"));
    // What is not in the file any more cannot be begun with.
    one.sent_back = vec![sent("gone", 9)];
    assert!(one.told(&first()).starts_with("12 c"), "{}", one.told(&first()));
}

#[test]
fn nobody_goes_on_behind_what_would_be_made_anew() {
    let mut one = world("a:\n b: a\n c: b", "c=failed");
    let behind = Wish { start: Start::After(name("b")), force: false };
    assert_eq!(one.told(&behind), "from c: a: reuse a@1; b: reuse b@1; c: descendant (of b)");
    one.edit("a");
    assert_eq!(
        one.told(&behind),
        "2 nothing can go on behind b, which has to be executed again (edited: a was edited) | do so: restage retry f-12"
    );
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@2 (takes on the edit of ann); b: edited (a was edited); c: failed"
    );
    // Beside it, an edit waits on.
    let mut one = world("a:\n b: a\n z: a\n c: b z", "c=failed");
    one.edit("z");
    assert_eq!(
        one.told(&behind),
        "from c: a: reuse a@1; b: reuse b@1; z: reuse z@2 (edited by ann); c: descendant (of b)"
    );
}

#[test]
fn what_is_taken_on_as_the_last_one_makes_a_run_that_ends_with_it() {
    let after = |stage| Wish { start: Start::After(name(stage)), force: false };
    let fork = |stage| Wish { start: Start::Fork(name(stage)), force: false };
    let refused = "2 nothing comes after b | to execute it again: restage retry f-12 --from b --force";
    let nothing = |told: String| told.starts_with("12 ") || told == refused;
    let approve = |one: &mut World, stage: &str| {
        let Some(Left::Checkpoint(checkpoint)) = one.left.get_mut(&name(stage)) else { panic!() };
        checkpoint.approval = Approval::Approved;
    };
    let mut one = world("a:\n b: a", "");
    assert!(nothing(one.told(&after("b"))) && nothing(one.told(&first())));
    // Whether it is approved already or only will be, the plan is the same.
    one.edit("b");
    let all = "a: reuse a@1; b: reuse b@2 (edited by ann)";
    for approved in [false, true] {
        if approved {
            approve(&mut one, "b");
        }
        one.takes_on = Some(CheckpointId::parse("b@2").unwrap());
        assert!(one.told(&after("b")).ends_with(all), "{}", one.told(&after("b")));
        one.takes_on = None;
        assert!(one.told(&after("b")).ends_with(all), "{}", one.told(&after("b")));
        assert!(one.told(&first()).contains("b: reuse b@2"), "{}", one.told(&first()));
    }
    // What nobody had answered for when its run was ended, and is approved since.
    let mut one = world("a:\n b: a", "");
    one.parent.stages.as_mut().unwrap()[1].status = StageStatus::Cancelled;
    for wish in [after("b"), first()] {
        assert!(one.told(&wish).ends_with("a: reuse a@1; b: reuse b@1"), "{}", one.told(&wish));
    }
    // A branch that only just left there ends as the run has, unless what it stands on is its own or is taken on by that.
    let mut one = world("a:\n b: a", "");
    one.parent.branch = BranchName::trusted("alt");
    assert_eq!(
        one.told(&fork("b")),
        "2 nothing comes after b | edit what the branch stands on: restage edit f-12 b --branch alt --set KEY=VALUE"
    );
    one.takes_on = Some(CheckpointId::parse("b@1").unwrap());
    assert!(one.told(&fork("b")).ends_with("a: reuse a@1; b: reuse b@1"));
    one.takes_on = None;
    one.edit("b");
    approve(&mut one, "b");
    let Some(Left::Checkpoint(checkpoint)) = one.left.get_mut(&name("b")) else { panic!() };
    checkpoint.branch = BranchName::trusted("alt");
    let (id, version) = (checkpoint.id.clone(), checkpoint.id.version);
    let row = &mut one.parent.stages.as_mut().unwrap()[1];
    row.checkpoint = Some(CheckpointRef { id, version, ..row.checkpoint.clone().unwrap() });
    assert!(one.told(&fork("b")).ends_with("b: reuse b@2 (edited by ann)"), "{}", one.told(&fork("b")));
}
