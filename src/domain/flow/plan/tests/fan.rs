//! Stages that fan out: what of them is executed again, in which words, and what their list has to do with it.

use super::*;
use crate::domain::flow::spec::Foreach;

/// `a`, then `b` for each of `k`, then `c`; of `b` those of `done` were done, of as many as the list had then.
fn fan(ends: &str, b: &str, list: &str, done: &[(u32, &str)]) -> World {
    let mut one = world(&format!("a: <q\n b: a{b}\n c: b"), ends);
    one.flow.stages[1].foreach = Some(Foreach { key: "k".into(), max_parallel: None });
    one.set(list);
    one.inputs.insert("style".into(), Json::of(&"dark"));
    let mut chain = Chain::new(&one.graph, &one.inputs);
    let Some(Left::Checkpoint(a)) = one.left.get(&name("a")) else { panic!("a") };
    let (outputs, manifest) = (hashes::outputs(&a.outputs), hashes::manifest(&a.artifacts));
    chain.fill(&one.graph, 0, Ended::Good { outputs: &outputs, manifest: &manifest });
    let from = chain.made_from(&one.graph, 1, one.flow.stages[1].requires(), |key| {
        one.inputs.get(key).map(hashes::value)
    });
    let record = |(item, value): &(u32, &str)| ItemRecord {
        item: *item,
        input: items::input(&recipe(&name("b")), from.as_ref().unwrap(), &Json::of(value)),
        status: StageStatus::Succeeded,
        outputs: JsonMap::new(),
        artifacts: Vec::new(),
    };
    one.items = done.iter().map(record).collect();
    one
}

impl World {
    fn set(&mut self, list: &str) {
        self.inputs.insert("k".into(), Json::parse(list).unwrap());
    }

    fn of_b(&mut self, wish: &Wish) -> String {
        let told = self.told(wish);
        let of_b = told.split("; ").skip_while(|one| !one.starts_with("b: "));
        of_b.take_while(|one| !one.starts_with("c: ")).collect::<Vec<_>>().join("; ")
    }
}

const UNFINISHED: &str = "b=failed c=not_run";
const LIST: &str = r#"["x","y","z"]"#;

#[test]
fn items_that_are_done_are_done_again_only_where_they_are_made_otherwise() {
    let mut one = fan(UNFINISHED, "", LIST, &[(0, "x"), (2, "z")]);
    assert_eq!(one.of_b(&first()), "b: failed (1 of 3 items: 1)");
    one.damaged.insert(name("b"));
    assert_eq!(one.of_b(&first()), "b: failed (3 of 3 items: 0, 1, 2)");
    one.changed_recipes.insert(name("b"));
    assert_eq!(one.of_b(&first()), "b: recipe changed (file draw.py; all items are executed again)");
    // It may read any of the state, and some of that is another.
    let mut one = fan(UNFINISHED, "", LIST, &[(0, "x"), (2, "z")]);
    one.inputs.insert("style".into(), Json::of(&"pale"));
    assert_eq!(one.of_b(&first()), "b: failed (3 of 3 items: 0, 1, 2)");
    // One that says what it requires is made from that, and each item from itself.
    let mut one = fan(UNFINISHED, " <style", LIST, &[(0, "x"), (2, "z")]);
    one.set(r#"["z","new","x"]"#);
    assert_eq!(one.of_b(&first()), "b: failed (1 of 3 items: 1)");
    one.inputs.insert("style".into(), Json::of(&1));
    assert_eq!(one.of_b(&first()), "b: failed (3 of 3 items: 0, 1, 2)");
}

#[test]
fn what_was_found_wanting_as_a_whole_is_executed_as_a_whole() {
    let done = [(0, "x"), (1, "y"), (2, "z")];
    let mut one = fan("b=degraded", "", LIST, &done);
    assert_eq!(one.of_b(&from("b")), "b: failed (it was degraded)");
    let mut one = fan("", "", LIST, &done);
    assert_eq!(one.of_b(&forced("b")), "b: forced");
    let mut one = fan(UNFINISHED, "", LIST, &done);
    assert_eq!(one.of_b(&forced("a")), "b: descendant (of a)");
}

#[test]
fn what_comes_before_it_may_have_to_be_executed_first() {
    let mut one = fan(UNFINISHED, "", LIST, &[(0, "x")]);
    one.changed_recipes.insert(name("a"));
    assert_eq!(one.of_b(&from("b")), "b: failed (but for items that turn out the same)");
}

#[test]
fn the_list_is_part_of_what_a_stage_is_made_from_whatever_it_requires() {
    for nothing in [false, true] {
        let mut flow = flow("s: <q");
        if nothing {
            flow.stages[0].requires.clear();
            flow.stages[0].reads_nothing = true;
        }
        flow.stages[0].foreach = Some(Foreach { key: "k".into(), max_parallel: None });
        let told = |inputs: &str| {
            let mut one = world_of(flow.clone(), |_| "ok");
            one.inputs = map(inputs);
            one.told(&Wish { start: Start::FirstFailure, force: true })
        };
        assert!(told(r#"{"q": 1, "k": ["x"]}"#).contains("s: input changed (of the run: k)"), "{nothing}");
        assert!(told(r#"{"q": 1, "other": 2}"#).contains("s: forced"), "{nothing}");
    }
}
