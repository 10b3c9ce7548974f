//! Looking into what a stage left: which parts there are, what shows them, the way back.

use std::path::Path;

use super::super::super::super::dialog::Dialog;
use super::super::super::super::event::{Cmd, Event};
use super::super::super::super::flows::fixture::{failed, running, serve, settle, waiting, with_runs};
use super::super::super::super::flows::question::Question;
use super::super::super::super::log::{self, Told};
use super::super::super::super::model::{Focus, Model, Screen};
use super::super::super::super::view::tests::screen;
use super::super::super::update;
use crate::domain::flow::ids::Hash;
use crate::domain::flow::record::{Artifact, RunRecord};
use crate::domain::json::Json;
use crate::domain::keys::Key;

/// The run that waits, with long and strange things left by its storyboard.
fn opened(size: (u16, u16)) -> (Model, Vec<RunRecord>) {
    let mut runs = vec![failed(), waiting(), running()];
    for stage in runs[1].stages.iter_mut().flatten().filter(|one| one.name.as_str() == "storyboard") {
        let text = format!("first line\n\x1b]0;gotcha\x07{}END", "x".repeat(3000));
        stage.outputs = Some([("board".to_owned(), Json::string(&text))].into());
        let one =
            Artifact { name: "frames/1.png".into(), hash: Hash::of(["png"]), size: 9, executable: false };
        stage.artifacts = vec![one];
    }
    let mut model = with_runs(&runs, size);
    model.setup.objects = "/home/ada/film/.restage/objects".into();
    press(&mut model, ": s h o w 1 2 Enter", &runs);
    settle(&mut model, &runs);
    (model, runs)
}

/// Keys, each answered as by a supervisor; what is asked of files stays to be answered by [`read`].
fn press(model: &mut Model, keys: &str, runs: &[RunRecord]) -> Vec<Cmd> {
    let mut others = Vec::new();
    for key in keys.split(' ') {
        let now = model.now;
        let key = Event::Key(Key::parse(key).unwrap().into());
        let cmds = update(model, key, now);
        others.extend(serve(model, cmds, runs));
    }
    others
}

/// A real worker reads what is asked for.
fn read(model: &mut Model, cmds: Vec<Cmd>) {
    let (tell, told) = std::sync::mpsc::channel();
    let worker = log::start(move |news| tell.send(news).unwrap()).unwrap();
    let mut todo = cmds;
    loop {
        for cmd in std::mem::take(&mut todo) {
            if let Cmd::Log(cmd) = cmd {
                worker.perform(cmd);
            }
        }
        let news = told.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        let is_answer = matches!(news.told, Told::Lines { .. } | Told::Binary { .. } | Told::Missing);
        let now = model.now;
        todo = update(model, Event::Log(news), now);
        if is_answer && todo.is_empty() {
            return;
        }
    }
}

#[test]
fn each_part_of_what_a_stage_left_can_be_looked_into() {
    let (mut model, runs) = opened((80, 24));
    press(&mut model, "v", &runs);
    insta::assert_snapshot!(screen(&model));
    let cmds = press(&mut model, "j Enter", &runs);
    assert_eq!((model.screen, model.focus), (Screen::Run, Focus::Log));
    read(&mut model, cmds);
    let shown = screen(&model);
    assert!(shown.contains("─ board ─") && shown.contains("part 2 of 4 · top"), "{shown}");
    // Whether its lines have been counted by now is up to the worker.
    insta::assert_snapshot!(shown.lines().skip(4).collect::<Vec<_>>().join("\n"));
    assert!(!shown.contains('\x1b') && !shown.contains("gotcha"), "{shown}");
    read_all(&mut model, &runs);
    // To the next part, back to the choice, and back to the run.
    let cmds = press(&mut model, "]", &runs);
    let path = Hash::of(["png"]).path_in(Path::new("/home/ada/film/.restage/objects"));
    assert!(
        matches!(&cmds[..], [Cmd::Log(log::Cmd::Look { path: of, text: None, .. })] if *of == path),
        "{cmds:?}"
    );
    press(&mut model, "Esc", &runs);
    assert!(
        matches!(&model.dialog, Some(Dialog::Flow(question)) if matches!(**question, Question::Look { .. }))
    );
    press(&mut model, "Esc", &runs);
    assert_eq!((model.dialog.is_none(), model.screen, model.focus), (true, Screen::Run, Focus::List));
}

/// All of a long value can be read.
fn read_all(model: &mut Model, runs: &[RunRecord]) {
    for _ in 0..10 {
        if screen(model).contains("xEND") {
            return;
        }
        press(model, "PgDn", runs);
    }
    panic!("{}", screen(model));
}

#[test]
fn what_is_to_be_approved_can_be_looked_into_before() {
    let (mut model, runs) = opened((120, 36));
    let cmds = press(&mut model, "a v Enter", &runs);
    read(&mut model, cmds);
    let shown = screen(&model);
    assert!(shown.contains("\"board\": \"what storyboard@2 is about\""), "{shown}");
    assert!(shown.contains("storyboard@2"), "{shown}");
    press(&mut model, "Esc Esc", &runs);
    assert!(
        matches!(&model.dialog, Some(Dialog::Flow(question)) if matches!(**question, Question::Approve { .. }))
    );
}

#[test]
fn what_is_no_text_is_shown_as_numbers() {
    let (mut model, runs) = opened((80, 24));
    let folder = tempfile::tempdir().unwrap();
    model.setup.objects = folder.path().to_owned();
    let path = Hash::of(["png"]).path_in(folder.path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"\x89PNG\r\n\x1a\n\0").unwrap();
    let cmds = press(&mut model, "v G k Enter", &runs);
    read(&mut model, cmds);
    let shown = screen(&model);
    assert!(shown.contains("Binary, 9B:") && shown.contains("89 50 4e 47 0d 0a 1a 0a  00"), "{shown}");
    // It was longer once, or its bytes are gone.
    std::fs::write(&path, "short").unwrap();
    let cmds = press(&mut model, "[ ]", &runs);
    read(&mut model, cmds);
    assert!(screen(&model).contains("it is damaged: 5B instead of 9B"), "{}", screen(&model));
    std::fs::remove_file(&path).unwrap();
    let cmds = press(&mut model, "[ ]", &runs);
    read(&mut model, cmds);
    assert!(screen(&model).contains("Its bytes are gone"), "{}", screen(&model));
}

#[test]
fn the_help_leads_back_to_where_one_was() {
    let (mut model, runs) = opened((120, 36));
    press(&mut model, "v Enter ? Esc", &runs);
    assert!(model.flows.viewing.is_some());
    assert_eq!((model.screen, model.focus), (Screen::Run, Focus::Log));
    // What is left for another screen is looked into no more.
    press(&mut model, "H", &runs);
    assert!(model.flows.viewing.is_none());
}
