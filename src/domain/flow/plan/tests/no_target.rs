//! A retry that names no stage, where nothing of today's config failed.

use super::{World, first, from, name, world};
use crate::domain::flow::plan::{Start, Wish};

fn force() -> Wish {
    Wish { start: Start::FirstFailure, force: true }
}

fn told(one: &mut World, wish: &Wish) -> String {
    one.told(wish).split(" | ").next().unwrap_or_default().to_owned()
}

#[test]
fn force_does_what_has_changed_and_everything_where_nothing_has() {
    let mut one = world("a:\n b: a\n z:", "");
    assert_eq!(
        one.told(&first()),
        "12 nothing failed in f-12, so there is nothing to retry | to execute a stage again all the same, with all that \
         depends on it: restage retry f-12 --from STAGE --force; or what has changed since, and everything where nothing \
         has: restage retry f-12 --force"
    );
    assert_eq!(one.told(&force()), "from a: a: forced; b: descendant (of a); z: forced");
    one.changed_recipes.insert(name("b"));
    assert!(
        one.told(&force()).starts_with("from b: a: reuse a@1; b: recipe changed"),
        "{}",
        one.told(&force())
    );
    // Whether something has changed is not looked at unasked.
    assert_eq!(told(&mut one, &first()), "12 nothing failed in f-12, so there is nothing to retry");
}

#[test]
fn what_was_skipped_is_not_forced_and_what_rules_it_out_is_told() {
    let mut one = world("a: when:draft\n b: a", "a=skipped b=skipped");
    for wish in [first(), force()] {
        assert_eq!(
            one.told(&wish),
            "13 a never ran in f-12 | change what ruled it out: restage retry f-12 --from a --set draft=…"
        );
    }
    let mut one = world("a: when:draft\n b: a\n c:", "a=skipped b=skipped");
    assert_eq!(
        one.told(&force()),
        "from c: a: reuse nothing (skipped); b: reuse nothing (skipped); c: forced"
    );
}

#[test]
fn a_failure_that_is_gone_from_the_config_is_told() {
    let mut one = world("a:\n m: a\n z: m", "z=failed");
    one.file("a:\n m2: a");
    assert_eq!(
        one.told(&first()),
        "3 z, failed in f-12, is not in today's config any more | put it back; or execute what has changed since, and \
         everything where nothing has: restage retry f-12 --force; or begin with another: restage retry f-12 --from STAGE \
         (there are: a, m2)"
    );
    assert_eq!(told(&mut one, &from("z")), told(&mut one, &first()));
    assert_eq!(told(&mut one, &from("m")), "3 m, succeeded in f-12, is not in today's config any more");
    assert_eq!(told(&mut one, &from("x")), "3 f-12 has no stage x");
    assert_eq!(one.told(&force()), "from m2: a: reuse a@1; m2: never ran (it is new in the file)");
    // What else failed is retried.
    let mut one = world("a:\n m:\n z:", "a=failed z=failed");
    one.file("a:\n m:");
    assert!(one.told(&first()).starts_with("from a: a: failed"), "{}", one.told(&first()));
}
