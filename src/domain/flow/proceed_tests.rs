use super::super::testing::{lists, run_id};
use super::*;

const STORY: &str = "script@1\n storyboard@1 under=script@1";

struct Case {
    checkpoints: &'static str,
    branches: &'static str,
    runs: &'static str,
    branch: &'static str,
    checkpoint: Option<&'static str>,
    force: bool,
    /// A checkpoint whose bytes are gone.
    gone: &'static str,
}

struct Told<'a> {
    gone: &'static str,
    plan: &'a mut dyn FnMut(&Again) -> Result<(), Refusal>,
}

impl Ahead for Told<'_> {
    fn plan(&mut self, again: &Again) -> Result<(), Refusal> {
        (self.plan)(again)
    }

    fn look(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        if checkpoint.id.to_string() == self.gone { Err("file is gone".into()) } else { Ok(()) }
    }
}

fn case(checkpoints: &'static str, runs: &'static str) -> Case {
    Case { checkpoints, branches: "main", runs, branch: "main", checkpoint: None, force: false, gone: "" }
}

impl Case {
    fn at(self, checkpoint: &'static str) -> Self {
        Self { checkpoint: Some(checkpoint), ..self }
    }

    fn forced(self) -> Self {
        Self { force: true, ..self }
    }

    fn gone(self, gone: &'static str) -> Self {
        Self { gone, ..self }
    }

    fn forked(self, branches: &'static str, branch: &'static str) -> Self {
        Self { branches, branch, ..self }
    }

    fn ask(&self, mut plan: impl FnMut(&Again) -> Result<(), Refusal>) -> Result<Continuation, Refusal> {
        let (checkpoints, branches, runs) = lists(self.checkpoints, self.branches, self.runs);
        let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
        let from = From {
            branch: BranchName::trusted(self.branch),
            checkpoint: self.checkpoint.map(|id| CheckpointId::parse(id).unwrap()),
            force_retry: self.force,
        };
        let (gone, plan) = (self.gone, &mut plan);
        let ahead = &mut Told { gone, plan };
        let answer = may_continue(&lineage, &from, ahead);
        // What is shown is what continuing from there then does.
        for view in branch_views(&lineage, ahead) {
            for checkpoint in [None, view.latest_checkpoint_id.clone()] {
                let from = From { branch: view.branch.branch_name.clone(), checkpoint, force_retry: false };
                assert_eq!(view.can_continue, may_continue(&lineage, &from, ahead).is_ok(), "{view:?}");
            }
            assert!(!view.reason.is_empty());
        }
        answer
    }

    fn told(&self) -> String {
        match self.ask(|_| Ok(())) {
            Ok(continuation) => match &continuation {
                Continuation::Again(again) => format!("{continuation} ({} of {})", again.cause, again.run),
                Continuation::Approve { .. } | Continuation::Resume { .. } => continuation.to_string(),
            },
            Err(refusal) => format!("{} {refusal} | {}", refusal.code(), refusal.hint()),
        }
    }
}

#[test]
fn what_continuing_does_in_each_case() {
    let pending = "script@1\n storyboard@1 pending under=script@1";
    let edited =
        "script@1\n storyboard@1 under=script@1\n storyboard@2 pending under=script@1 edits=storyboard@1";
    let waits = "12 waiting script=succeeded@1 storyboard=waiting@1 render=pending";
    let failed = "12 failed script=succeeded@1 storyboard=succeeded@1 render=failed";
    let well = "12 succeeded script=succeeded@1 storyboard=succeeded@1 render=succeeded";
    let forks = "main\n draft from script@1";
    for (case, answer) in [
        (case(pending, waits), "approves storyboard@1, and f-12 goes on"),
        (case(pending, waits).at("storyboard@1"), "approves storyboard@1, and f-12 goes on"),
        (case(pending, waits).at("script@1"), "17 script@1 is approved, and f-12 waits at storyboard@1 | that is what can be judged: restage approve f-12 storyboard"),
        (case(STORY, "12 running script=succeeded@1 storyboard=succeeded@1 render=running").at("script@1"), "17 script@1 is approved, and f-12 is running | wait for it, or end it: restage cancel f-12"),
        (case(pending, waits).forced(), "17 f-12 is waiting, not failed | what it does: restage show f-12"),
        // What runs beside it does not matter.
        (case(pending, "12 running script=succeeded@1 storyboard=waiting@1 voice=running"), "approves storyboard@1, and f-12 goes on"),
        (case(STORY, "12 running script=succeeded@1 storyboard=running"), "10 f-12 is still running | wait for it, or end it: restage cancel f-12"),
        (case(STORY, "12 interrupted script=succeeded@1 storyboard=running"), "f-12 goes on where it stopped"),
        // Nobody carries it out.
        (case(STORY, "12 running left=yes script=succeeded@1 storyboard=running"), "f-12 goes on where it stopped"),
        (case(STORY, "12 queued left=yes script=pending"), "f-12 goes on where it stopped"),
        (case(STORY, "12 running left=yes script=succeeded@1 storyboard=running").at("storyboard@1"), "f-12 goes on where it stopped"),
        (case(pending, "12 running left=yes script=succeeded@1 storyboard=waiting@1 voice=running"), "approves storyboard@1, and f-12 goes on"),
        (case(STORY, "12 running left=yes script=succeeded@1 storyboard=running").forced(), "17 f-12 is running, not failed | what it does: restage show f-12"),
        // An edit has taken the place of what was looked at.
        (case("script@1\n storyboard@1 pending\n storyboard@2 pending edits=storyboard@1", "12 waiting script=succeeded@1 storyboard=waiting@2").at("storyboard@1"),
            "18 storyboard@2 (pending) stands in the place of storyboard@1 on branch main | approve it: restage approve f-12 storyboard@2; or go another way from what you named: restage fork f-12 --at storyboard@1 --branch NAME"),
        // The run was sent back to before it.
        (case("script@1\n storyboard@1 pending\n script@2 pending edits=script@1", "12 waiting script=waiting@2 storyboard=pending").at("storyboard@1"),
            "17 storyboard@1 is pending, and f-12 waits at script@2 | that is what can be judged: restage approve f-12 script"),
        (case("script@1\n storyboard@1 rejected", "12 running script=succeeded@1 storyboard=running").at("storyboard@1"),
            "17 storyboard@1 was rejected, and nothing is built on it | it is made anew: restage show f-12"),
        (case("script@1\n storyboard@1 rejected", "12 running script=succeeded@1 storyboard=running"), "10 f-12 is still running | wait for it, or end it: restage cancel f-12"),
        // Insisting on a version does not take another one on.
        (case(edited, failed).at("storyboard@1"),
            "18 storyboard@2 (pending) stands in the place of storyboard@1 on branch main | approve it: restage approve f-12 storyboard@2; or go on as it is now: restage retry f-12; or go another way from what you named: restage fork f-12 --at storyboard@1 --branch NAME"),
        (case(edited, failed).at("storyboard@1").forced(),
            "18 storyboard@2 (pending) stands in the place of storyboard@1 on branch main | approve it: restage approve f-12 storyboard@2; or go on as it is now: restage retry f-12; or go another way from what you named: restage fork f-12 --at storyboard@1 --branch NAME"),
        // What was left last on the branch waits yet, though the newest run was built on an earlier one.
        (case("script@1\n script@2 pending", "12 cancelled script=cancelled@2\n 13 failed script=succeeded@1 storyboard=failed").at("script@2"),
            "approves script@2, and starts a new run on branch main behind script (continue of f-13)"),
        // Failed, and what it is built on is approved.
        (case(STORY, failed), "17 checkpoint already approved | to run again from here: restage continue f-12 --checkpoint storyboard@1 --force-retry (or restage retry f-12)"),
        (case(STORY, failed).at("script@1"), "17 checkpoint already approved | to run again from here: restage continue f-12 --checkpoint script@1 --force-retry (or restage retry f-12)"),
        (case(STORY, failed).forced(), "starts a new run from what failed in f-12 (retry of f-12)"),
        (case(STORY, failed).at("script@1").forced(), "starts a new run on branch main behind script (retry of f-12)"),
        (case(STORY, well), "17 f-12 is succeeded, not failed | what it does: restage show f-12"),
        (case(STORY, well).forced(), "17 f-12 is succeeded, not failed | what it does: restage show f-12"),
        // An edit of an ended run, pending or approved since.
        (case(edited, failed), "approves storyboard@2, and starts a new run on branch main behind storyboard (continue of f-12)"),
        (case(edited, well), "approves storyboard@2, and starts a new run on branch main behind storyboard (continue of f-12)"),
        (case("script@1\n storyboard@1\n storyboard@2 edits=storyboard@1", well), "starts a new run on branch main behind storyboard (continue of f-12)"),
        (case("script@1\n storyboard@1\n storyboard@2 edits=storyboard@1", "12 succeeded script=succeeded@1 storyboard=succeeded@1\n 13 succeeded of=12 script=succeeded@1 storyboard=succeeded@2"),
            "17 f-13 is succeeded, not failed | what it does: restage show f-13"),
        // Cancelled while it waited.
        (case(pending, "12 cancelled script=succeeded@1 storyboard=cancelled@1"), "approves storyboard@1, and starts a new run on branch main behind storyboard (continue of f-12)"),
        // Approved since, so that nobody waits for it any more.
        (case("script@1\n storyboard@1", "12 cancelled script=succeeded@1 storyboard=cancelled@1"), "starts a new run on branch main behind storyboard (continue of f-12)"),
        (case("script@1 rejected", "12 cancelled script=cancelled@1"), "17 script@1 was rejected, and nothing is built on it | make it anew, with what was said: restage retry f-12"),
        (case("script@1 rejected", "12 failed script=succeeded@1 x=failed").forced(), "starts a new run from what failed in f-12 (retry of f-12)"),
        (case("", "12 failed script=failed"), "2 there is no checkpoint on branch main to continue from | retry it: restage retry f-12"),
        (case("", "12 failed script=failed").forced(), "starts a new run from what failed in f-12 (retry of f-12)"),
        (case(STORY, failed).at("voice@1"), "3 the lineage of f-12 has no checkpoint voice@1 | there are: script@1, storyboard@1; the tree: restage checkpoints f-12"),
        // The newest run of the branch is what it is about.
        (case(STORY, "12 failed script=succeeded@1\n 13 running of=12 script=succeeded@1"), "10 f-13 is still running | wait for it, or end it: restage cancel f-13"),
        // One that is queued waits for the one that is under way.
        (case(pending, "12 waiting script=succeeded@1 storyboard=waiting@1\n 13 queued of=12 script=succeeded@1 storyboard=waiting@1"), "approves storyboard@1, and f-12 goes on"),
        // Branches.
        (case(STORY, failed).forked(forks, "draft"), "starts a new run on branch draft behind script (continue of f-12)"),
        (case(STORY, "12 running script=succeeded@1").forked(forks, "draft"), "starts a new run on branch draft behind script (continue of f-12)"),
        (case(STORY, failed).forked(forks, "draft").forced(), "2 nothing has run on branch draft, so there is nothing to retry | begin there: restage continue f-12 --branch draft"),
        (case(STORY, failed).forked(forks, "draft").at("storyboard@1"), "2 branch draft stands at script@1, not at storyboard@1 | fork there: restage fork f-12 --at storyboard@1 --branch NAME"),
        (case(STORY, failed).forked("main", "draft"), "3 the lineage of f-12 has no branch draft | there are: main; the tree: restage checkpoints f-12"),
        (case("script@1\n storyboard@1\n storyboard@2 of=13 on=draft", "12 succeeded storyboard=succeeded@1\n 13 failed of=12 on=draft storyboard=succeeded@2 render=failed").forked(forks, "draft").forced(),
            "starts a new run from what failed in f-13 (retry of f-13)"),
    ] {
        assert_eq!(case.told(), answer, "{} / {}", case.runs, case.checkpoints);
    }
}

#[test]
fn other_branches_that_go_on_with_it_are_told() {
    let waits = "12 waiting script=waiting@1\n 13 waiting on=draft script=waiting@1\n 14 interrupted on=late script=waiting@1";
    let one =
        case("script@1 pending", waits).forked("main\n draft from script@1\n late from script@1", "main");
    let told = "approves script@1, and f-12 goes on; f-13 on branch draft goes on with it, too; f-14 on branch late goes on with it, too";
    assert_eq!(one.told(), told);
    let one = case("script@1 pending", waits).forked("main\n draft from script@1\n new from script@1", "new");
    assert_eq!(
        one.told(),
        "approves script@1, and starts a new run on branch new behind script; f-12 on branch main goes on with it, too; \
         f-13 on branch draft goes on with it, too; f-14 on branch late goes on with it, too (continue of f-12)"
    );
}

#[test]
fn at_the_limit_no_retry_is_recommended() {
    let failed = case(STORY, "12 failed script=succeeded@1 storyboard=succeeded@1 render=failed");
    let often = || Refusal::TooManyRetries {
        run: run_id(12),
        checkpoint: CheckpointId::parse("storyboard@1").unwrap(),
        count: 5,
        max: 5,
        retry: false,
    };
    assert_eq!(failed.ask(|_| Err(often())), Err(often()));
    let other = || Refusal::UnknownFlow { flow: "f".into(), known: Vec::new() };
    assert_eq!(failed.ask(|_| Err(other())), Err(other()));
    // Only what is possible is recommended.
    let hint = |behind: bool| {
        let plan = |again: &Again| match again.start {
            Start::After(_) if !behind => Err(often()),
            Start::FirstFailure if behind => Err(often()),
            Start::FirstFailure | Start::At(_) | Start::Rejected(_) | Start::After(_) | Start::Fork(_) => {
                Ok(())
            }
        };
        failed.ask(plan).unwrap_err().hint()
    };
    assert_eq!(
        hint(true),
        "to run again from here: restage continue f-12 --checkpoint storyboard@1 --force-retry"
    );
    assert_eq!(hint(false), "to run again what failed: restage retry f-12");
    // Who insists is told of it, too.
    let insists = case(STORY, failed.runs).at("storyboard@1").forced();
    let behind_only = |again: &Again| match again.start {
        Start::After(_) => Err(often()),
        Start::FirstFailure | Start::At(_) | Start::Rejected(_) | Start::Fork(_) => Ok(()),
    };
    assert!(insists.ask(behind_only).unwrap_err().hint().contains("restage retry f-12; or raise"));
}

#[test]
fn what_the_plan_refuses_is_refused() {
    let failed = "12 failed script=succeeded@1 storyboard=succeeded@1 render=failed";
    let deep = || Refusal::TooDeep { run: run_id(12), depth: 10, max: 10 };
    for case in [
        case(STORY, failed).forced(),
        case("script@1\n storyboard@1 pending", failed),
        case(STORY, failed).forked("main\n draft from script@1", "draft"),
    ] {
        assert_eq!(case.ask(|_| Err(deep())), Err(deep()));
    }
    let waits = case("script@1 pending", "12 waiting script=waiting@1");
    assert!(waits.ask(|_| Err(deep())).is_ok(), "no new run is needed");
}

#[test]
fn a_checkpoint_leads_to_a_branch() {
    let (checkpoints, branches, runs) = lists(
        "script@1\n storyboard@1 on=draft",
        "main\n draft from script@1\n fresh from script@1",
        "12 failed script=succeeded@1\n 13 failed on=draft storyboard=succeeded@1",
    );
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let of = |run: usize, checkpoint: Option<&str>| {
        let id = checkpoint.map(|id| CheckpointId::parse(id).unwrap());
        branch_of(&lineage, &runs[run], None, id.as_ref()).map(|branch| branch.to_string())
    };
    assert_eq!(of(1, None).unwrap(), "draft");
    assert_eq!(of(0, Some("storyboard@1")).unwrap(), "draft");
    // Where several stand, that of the run; or whoever asks has to say.
    assert_eq!(of(0, Some("script@1")).unwrap(), "main");
    let several = of(1, Some("script@1")).unwrap_err();
    assert_eq!(several.to_string(), "several branches stand at script@1: main, fresh");
    assert_eq!(several.hint(), "name one: restage continue f-13 --checkpoint script@1 --branch main");
    assert_eq!(of(0, Some("x@1")).unwrap_err().code(), 3);

    // The branch that is named, whatever the checkpoint.
    let script = CheckpointId::parse("script@1").unwrap();
    for (named, checkpoint) in [("draft", None), ("draft", Some(&script)), ("fresh", None), ("main", None)] {
        let branch = BranchName::trusted(named);
        let found = branch_of(&lineage, &runs[0], Some(&branch), checkpoint).unwrap();
        assert_eq!(found, branch);
    }
    let nowhere = BranchName::trusted("nowhere");
    let refused = branch_of(&lineage, &runs[0], Some(&nowhere), None).unwrap_err();
    assert_eq!(refused.to_string(), "the lineage of f-12 has no branch nowhere");
    let retried = |run: usize, branch: &str| {
        let ahead = &mut Told { gone: "", plan: &mut |_| Ok(()) };
        run_of(&lineage, &runs[run], &BranchName::trusted(branch), ahead).map(|run| run.to_string())
    };
    assert_eq!(retried(0, "main").unwrap(), "f-12");
    assert_eq!(retried(0, "draft").unwrap(), "f-13");
    assert_eq!(retried(1, "main").unwrap(), "f-12");
    assert_eq!(retried(0, "nowhere").unwrap_err().code(), 3);
    let empty = retried(0, "fresh").unwrap_err();
    assert_eq!(empty.to_string(), "nothing has run on branch fresh, so there is nothing to retry");
    assert_eq!(empty.hint(), "begin there: restage continue f-12 --branch fresh");
}

#[test]
fn what_is_gone_is_not_taken_on_and_what_a_person_made_is_not_lost() {
    let anew = "14 storyboard@2 is not what it was: file is gone | have it made anew: restage reject f-12 storyboard \
                --feedback TEXT; or give it again: restage edit f-12 storyboard --artifact NAME=FILE";
    let there = "14 storyboard@2 is not what it was: file is gone | give it again: restage edit f-12 storyboard --branch draft \
                 --artifact NAME=FILE; or leave from another: restage fork f-12 --at CP --branch NAME";
    let edited = "script@1\n storyboard@1\n storyboard@2 pending edits=storyboard@1";
    let failed = "12 failed script=succeeded@1 storyboard=succeeded@1 render=failed";
    let waits = "12 waiting script=succeeded@1 storyboard=waiting@2 render=pending";
    let forks = "main\n draft from storyboard@2";
    for (case, answer) in [
        (case(edited, waits), anew),
        (case(edited, failed), anew),
        (case(edited, failed).forked(forks, "draft"), there),
        (
            case("script@1\n storyboard@1\n storyboard@2 edits=storyboard@1", failed).forked(forks, "draft"),
            there,
        ),
        // What comes before where it left, too.
        (
            case(
                "script@1\n storyboard@1\n storyboard@2 edits=storyboard@1\n render@1 under=storyboard@2",
                "12 failed script=succeeded@1 storyboard=succeeded@2 render=succeeded@1 cut=failed",
            )
            .forked("main\n draft from render@1", "draft"),
            there,
        ),
    ] {
        assert_eq!(case.gone("storyboard@2").told(), answer);
    }
    // What a stage made can be made again.
    let made = case(STORY, failed).forked("main\n draft from storyboard@1", "draft").gone("storyboard@1");
    assert_eq!(made.told(), "starts a new run on branch draft behind storyboard (continue of f-12)");
}

#[test]
fn a_branch_at_what_was_rejected_leads_to_what_can_be_done_there() {
    let (checkpoints, branches, runs) = lists(
        "script@1\n storyboard@1 rejected",
        "main\n draft from storyboard@1",
        "12 running script=succeeded@1 storyboard=running",
    );
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let told = |refusal: &Refusal| format!("{} {refusal} | {}", refusal.code(), refusal.hint());
    let there = "17 storyboard@1 is rejected, and nothing has run on branch draft yet | put something else in its place: \
                 restage edit f-12 storyboard --branch draft --set KEY=VALUE; or leave from another: restage fork f-12 --at CP \
                 --branch NAME";
    let draft = BranchName::trusted("draft");
    let ahead = &mut Told { gone: "", plan: &mut |_| Ok(()) };
    for force_retry in [false, true] {
        for checkpoint in [None, CheckpointId::parse("storyboard@1").ok()] {
            let from = From { branch: draft.clone(), checkpoint, force_retry };
            assert_eq!(told(&may_continue(&lineage, &from, ahead).unwrap_err()), there);
        }
    }
    assert_eq!(told(&run_of(&lineage, &runs[0], &draft, ahead).unwrap_err()), there);
    // Nor is anything else recommended there that is refused.
    let (checkpoints, ..) = lists("script@1\n storyboard@1", "", "");
    let lineage = Lineage { checkpoints: &checkpoints, ..lineage };
    let other = || Refusal::UnknownFlow { flow: "f".into(), known: Vec::new() };
    let ahead = &mut Told { gone: "", plan: &mut |_| Err(other()) };
    assert_eq!(run_of(&lineage, &runs[0], &draft, ahead), Err(other()));
    let from = From { branch: draft, checkpoint: None, force_retry: true };
    assert_eq!(may_continue(&lineage, &from, ahead), Err(other()));
}
