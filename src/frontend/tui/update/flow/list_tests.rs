//! Runs on the main screen: how many of them, and that nobody's selection becomes another run's.

use super::super::super::event::{Event, LinkNews};
use super::super::super::fixture::feed;
use super::super::super::flows::fixture::{
    failed, id, only_runs, press, run, settle, view, waiting, with_runs,
};
use super::super::super::view::tests::screen;
use crate::domain::flow::ask::{EditWish, FlowReply, FlowRequest};
use crate::domain::flow::ids::{CheckpointId, StageName};
use crate::domain::flow::news::News;
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::testing::at;
use crate::domain::flow::view::{FlowNotice, FlowUpdate};
use crate::domain::json::JsonMap;
use crate::domain::view::Update;

fn ended(number: u64) -> RunRecord {
    let ago = 10_000 - i64::try_from(number).unwrap();
    run(&format!("{number} succeeded script=succeeded@1"), ago, Some(ago - 5))
}

#[test]
fn a_selected_run_stays_while_newer_ones_end() {
    let mut runs: Vec<RunRecord> = (100..110).map(ended).collect();
    let mut model = only_runs(&runs, (80, 12));
    press(&mut model, "G", &runs);
    let selected = model.list.run.clone().unwrap();
    for number in 200..230 {
        let new = ended(number);
        let update = FlowUpdate::Run(view(&new));
        feed(&mut model, Event::Link(LinkNews::Update(Update::Flow(update.into()))));
        runs.push(new);
    }
    assert_eq!(model.list.run.as_ref(), Some(&selected));
    assert!(screen(&model).contains(&format!("▌ ✔ {selected}")), "{}", screen(&model));
    // It goes once something else is selected.
    press(&mut model, "g", &runs);
    assert!(!screen(&model).contains(selected.as_str()), "{}", screen(&model));
}

#[test]
fn as_many_runs_are_listed_as_there_is_room_for() {
    let runs: Vec<RunRecord> = (100..160).map(ended).collect();
    let listed = |size| {
        let model = with_runs(&runs, size);
        assert!(screen(&model).contains("H lists older ones"));
        screen(&model).matches("✔ video-1").count()
    };
    assert_eq!(listed((200, 60)), 20);
    // Never so few that there is nothing to choose from.
    assert_eq!(model_of_small(&runs), 4);
    let mut model = with_runs(&runs, (120, 36));
    let before = screen(&model).matches("✔ video-1").count();
    assert!((5..20).contains(&before), "{}", screen(&model));
    feed(&mut model, Event::Resize { width: 120, height: 60 });
    assert_eq!(screen(&model).matches("✔ video-1").count(), 20);
}

fn model_of_small(runs: &[RunRecord]) -> usize {
    with_runs(runs, (80, 18)).flows.listed().count()
}

#[test]
fn an_edit_of_ones_own_is_told_once() {
    let runs = vec![failed(), waiting()];
    let checkpoint = CheckpointId::parse("storyboard@3").unwrap();
    let wish = EditWish {
        run: id(12),
        branch: None,
        stage: StageName::trusted("storyboard"),
        hash: None,
        set: JsonMap::new(),
        artifacts: Vec::new(),
        who: "ann".into(),
    };
    let news = || {
        let what = News::Asks { run: id(12), checkpoint: checkpoint.clone() };
        let news = FlowUpdate::News(FlowNotice { at: at(0), what });
        Event::Link(LinkNews::Update(Update::Flow(news.into())))
    };
    let answer = || {
        let reply = Box::new(FlowReply::Edited { checkpoint: Some(checkpoint.clone()) });
        Event::Link(LinkNews::Flow { what: Box::new(FlowRequest::Edit(wish.clone())), result: Ok(reply) })
    };
    // Whichever of the two comes first.
    for events in [[news(), answer()], [answer(), news()]] {
        let mut model = with_runs(&runs, (120, 36));
        settle(&mut model, &runs);
        for event in events {
            feed(&mut model, event);
        }
        let told: Vec<&str> = model.toasts.shown().iter().map(|toast| toast.text.as_str()).collect();
        assert_eq!(told, ["storyboard@3 is new, and waits to be approved"]);
    }
}
