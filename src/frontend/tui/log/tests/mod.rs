//! The pane with its real worker on real files, drawn on test backends.

mod speed;
mod terminal;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;

use super::*;
use crate::domain::keys::{Action, Code, Key};
use crate::frontend::tui::event::{Mouse, MouseKind, Pressed};
use crate::frontend::tui::theme::{Depth, Theme};
pub(crate) use terminal::{assert_stays_in, bytes_of};

fn theme() -> Theme {
    Theme::built_in("dark", Depth::True, false).unwrap()
}

/// What the worker says of a log with this content, at once.
pub(crate) fn answered(cmd: &Cmd, content: &[u8]) -> Vec<News> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let told = match cmd.clone() {
        Cmd::Open { epoch, .. } => {
            let lines = content.split_inclusive(|byte| *byte == b'\n').count() as u64;
            let told = [Told::Opened { len: content.len() as u64 }, Told::Counted { lines }];
            return told.map(|told| News { epoch, told }).to_vec();
        }
        Cmd::Read { view, read, filter, want, .. } => {
            let mut job = reading::Job::read(&file, view, read, filter, want).unwrap();
            std::iter::repeat_with(|| job.step(&file).unwrap()).find_map(|(told, over)| told.filter(|_| over))
        }
        Cmd::Find { pattern, filter, from, way, .. } => {
            let mut finding = reading::Finding::begin(&file, pattern, filter, from, way).unwrap();
            std::iter::repeat_with(|| finding.step(&file).unwrap())
                .find_map(|(told, over)| told.filter(|_| over))
        }
        Cmd::Look { .. } | Cmd::Close | Cmd::StopFinding { .. } | Cmd::Text { .. } | Cmd::Save { .. } => None,
    };
    let epoch = cmd.epoch().unwrap_or(0);
    told.into_iter().map(|told| News { epoch, told }).collect()
}

/// A pane, its worker and a folder of logs.
struct Desk {
    pane: LogPane,
    worker: Worker,
    news: mpsc::Receiver<News>,
    dir: tempfile::TempDir,
    width: u16,
    height: u16,
    out: Vec<event::Cmd>,
}

impl Desk {
    fn new(width: u16, height: u16) -> Self {
        let (tell, news) = mpsc::channel();
        let worker = start(move |news| tell.send(news).unwrap_or_default()).unwrap();
        let mut pane = LogPane::default();
        assert!(pane.resize(width, height).is_empty());
        let dir = tempfile::tempdir().unwrap();
        Self { pane, worker, news, dir, width, height, out: Vec::new() }
    }

    fn with(content: &[u8]) -> Self {
        let mut desk = Self::new(40, 8);
        std::fs::write(desk.path(1), content).unwrap();
        desk.show(1);
        desk.settle();
        desk
    }

    fn path(&self, attempt: u32) -> PathBuf {
        self.dir.path().join(format!("agent_{attempt}.log"))
    }

    fn show(&mut self, attempts: u32) {
        let file = |number: u32| LogFile {
            attempt: Attempt::new(number).unwrap(),
            path: self.path(number),
            live: number == attempts,
            started_at: None,
            outcome: None,
            content: None,
        };
        let source = LogSource {
            runner: RunnerName::parse("agent").unwrap(),
            attempts: (1..=attempts).map(file).collect(),
            first: None,
        };
        let commands = self.pane.show(Some(&source));
        self.perform(commands);
    }

    fn perform(&mut self, commands: Vec<event::Cmd>) {
        for command in commands {
            if let event::Cmd::Log(cmd) = command {
                self.worker.perform(cmd);
            } else {
                self.out.push(command);
            }
        }
    }

    fn act(&mut self, action: Action) {
        let commands = self.pane.act(action).unwrap();
        self.perform(commands);
    }

    fn keys(&mut self, text: &str) {
        for c in text.chars() {
            self.key(Key::char(c));
        }
    }

    fn key(&mut self, key: Key) {
        let commands = self.pane.press(Pressed::from(key));
        self.perform(commands);
    }

    /// Until nothing is on its way any more.
    fn settle(&mut self) {
        self.until("the worker answers", |desk| {
            desk.pane.asked.is_none() && desk.pane.finding.is_none() && desk.pane.file != FileState::Opening
        });
    }

    #[track_caller]
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let news = self.news.recv_timeout(Duration::from_secs(20));
            let news =
                news.unwrap_or_else(|_| panic!("waited in vain: {what}\n{}", self.screen().join("\n")));
            let commands = self.pane.news(&news);
            self.perform(commands);
        }
    }

    fn screen(&self) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(self.width, self.height)).unwrap();
        let area = Rect::new(0, 0, self.width, self.height);
        terminal.draw(|frame| draw(frame, area, &self.pane, &theme(), true)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..self.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..self.height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn body(&self) -> Vec<String> {
        self.screen().into_iter().skip(1).collect()
    }

    fn title(&self) -> String {
        self.screen().remove(0)
    }
}

fn numbered(count: usize) -> Vec<u8> {
    (1..=count).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
}

#[test]
fn a_log_that_stands_still_says_so_and_opens_again() {
    let mut desk = Desk::with(&numbered(100));
    desk.pane.configure(Some(Key::char('f')), 0);
    let epoch = desk.pane.epoch;
    assert!(!desk.pane.can(Action::Follow));
    desk.pane.news(&News { epoch, told: Told::Broke });
    desk.width = 70;
    let foot = |desk: &Desk| desk.screen().pop().unwrap();
    assert_eq!(foot(&desk), "f opens this log again: reading it failed, what is shown stands still");
    assert!(desk.pane.can(Action::Follow));
    // Nothing else makes it move, and nothing is asked of nobody.
    for action in [Action::Top, Action::PageUp, Action::Up] {
        assert_eq!(desk.pane.act(action), Some(Vec::new()));
    }
    let mut log = OpenOptions::new().append(true).open(desk.path(1)).unwrap();
    log.write_all(b"and on\n").unwrap();
    desk.act(Action::Follow);
    desk.until("the end of it", |desk| desk.screen().pop().unwrap() == "and on");
}

#[test]
fn it_opens_at_the_end_and_follows() {
    let mut desk = Desk::with(&numbered(100));
    assert_eq!(desk.body(), ["line 94", "line 95", "line 96", "line 97", "line 98", "line 99", "line 100"]);
    desk.until("the count", |desk| desk.pane.count == Some(100));
    assert_eq!(desk.title(), "─ agent_1.log ───── follow · 100 lines ─");
    let mut log = OpenOptions::new().append(true).open(desk.path(1)).unwrap();
    log.write_all(b"more").unwrap();
    desk.until("what was added", |desk| desk.body()[6] == "more");
    log.write_all(b" of it\nand on").unwrap();
    desk.until("the rest of the line", |desk| desk.body()[5..] == ["more of it", "and on"]);
    assert_eq!(desk.body()[4], "line 100");
}

#[test]
fn scrolling_up_stays_while_it_grows_and_the_end_follows_again() {
    let mut desk = Desk::with(&numbered(5000));
    desk.act(Action::PageUp);
    desk.act(Action::Up);
    desk.settle();
    assert_eq!(desk.body()[0], "line 4987");
    let mut log = OpenOptions::new().append(true).open(desk.path(1)).unwrap();
    log.write_all(b"more\n").unwrap();
    desk.until("the growth", |desk| desk.pane.len > numbered(5000).len() as u64);
    desk.settle();
    assert_eq!(desk.body()[0], "line 4987");
    assert!(desk.title().contains(" %"), "{}", desk.title());
    for _ in 0..4 {
        desk.act(Action::PageDown);
        desk.settle();
    }
    assert_eq!(desk.body()[6], "more");
    assert!(desk.title().contains("follow"));
    desk.act(Action::Top);
    desk.settle();
    assert_eq!(desk.body()[0], "line 1");
    assert!(desk.title().contains("top"));
    for _ in 0..200 {
        desk.act(Action::PageDown);
        desk.settle();
    }
    assert_eq!(desk.body()[0], "line 1201");
    for _ in 0..199 {
        desk.act(Action::PageUp);
        desk.settle();
    }
    assert_eq!(desk.body()[0], "line 7");
    desk.act(Action::Bottom);
    desk.settle();
    assert_eq!(desk.body()[6], "more");
}

#[test]
fn search_goes_to_matches_and_around() {
    let mut content = numbered(5000);
    content.extend_from_slice(b"the end\n");
    let mut desk = Desk::with(&content);
    desk.act(Action::Search);
    desk.keys("line 12");
    assert!(desk.pane.is_typing());
    assert_eq!(desk.body()[6], "search: line 12");
    desk.key(Key::plain(Code::Enter));
    desk.settle();
    // At the end, upwards: the last line that holds it.
    assert_eq!(desk.body().iter().filter(|line| *line == "line 1299").count(), 1);
    desk.act(Action::SearchNext);
    desk.settle();
    assert!(desk.body().contains(&"searched on from the other end".to_owned()));
    assert!(desk.body().contains(&"line 12".to_owned()));
    desk.act(Action::SearchNext);
    desk.settle();
    assert!(desk.body().contains(&"line 120".to_owned()));
    desk.act(Action::SearchPrev);
    desk.settle();
    assert!(desk.body().contains(&"line 12".to_owned()));
    desk.act(Action::Search);
    desk.keys("nowhere");
    desk.key(Key::plain(Code::Enter));
    desk.settle();
    assert!(desk.body().contains(&"no line matches \"nowhere\"".to_owned()));
    assert_eq!(desk.pane.act(Action::Back), Some(Vec::new()));
    assert_eq!(desk.pane.act(Action::Back), None);
}

#[test]
fn a_regex_is_read_as_one_where_asked_and_its_fault_is_told() {
    let mut desk = Desk::with(&numbered(300));
    desk.act(Action::Search);
    desk.key(Key::ctrl('r'));
    desk.keys("^line 2.4$(");
    assert!(desk.body()[6].starts_with("search regex: ^line 2.4$(  unclosed"), "{:?}", desk.body()[6]);
    desk.key(Key::plain(Code::Enter));
    assert!(desk.pane.is_typing());
    desk.key(Key::plain(Code::Backspace));
    desk.key(Key::plain(Code::Enter));
    desk.settle();
    assert!(desk.body().contains(&"line 294".to_owned()));
}

#[test]
fn a_filter_shows_matching_lines_only_and_follows() {
    let mut desk = Desk::with(&numbered(5000));
    desk.act(Action::FilterLines);
    desk.keys("77");
    desk.key(Key::plain(Code::Enter));
    desk.settle();
    assert_eq!(desk.body()[5..], ["line 4877", "line 4977"]);
    assert!(desk.title().contains("only \"77\""), "{}", desk.title());
    let mut log = OpenOptions::new().append(true).open(desk.path(1)).unwrap();
    log.write_all(b"no\nyes 77\nno\n77 open").unwrap();
    desk.until("what matches", |desk| desk.body()[6] == "77 open");
    assert_eq!(desk.body()[4..6], ["line 4977", "yes 77"]);
    log.write_all(b" end\n").unwrap();
    desk.until("the rest of it", |desk| desk.body()[6] == "77 open end");
    desk.act(Action::Top);
    desk.settle();
    assert_eq!(desk.body()[..3], ["line 77", "line 177", "line 277"]);
    desk.act(Action::PageDown);
    desk.settle();
    assert_eq!(desk.body()[0], "line 677");
    desk.act(Action::Copy);
    let event::Cmd::Copy(text) = &desk.out[0] else { panic!("{:?}", desk.out) };
    assert!(text.starts_with("line 677\nline 770\n"), "{text}");
    assert!(desk.pane.act(Action::Back).is_some());
    let asked = desk.pane.again();
    desk.perform(asked);
    desk.settle();
    assert_eq!(desk.body()[..2], ["line 677", "line 678"]);
}

#[test]
fn attempts_are_stepped_through_and_a_new_one_is_followed() {
    let mut desk = Desk::new(60, 4);
    for attempt in 1..=3 {
        std::fs::write(desk.path(attempt), format!("attempt {attempt}\n")).unwrap();
    }
    desk.show(3);
    desk.settle();
    assert_eq!(desk.body()[0], "attempt 3");
    assert!(!desk.pane.can(Action::NextAttempt));
    desk.act(Action::PrevAttempt);
    desk.act(Action::PrevAttempt);
    desk.settle();
    assert_eq!(desk.body()[0], "attempt 1");
    assert!(desk.title().contains("attempt 1 of 3"));
    // Who looks at an old one is not torn away from it.
    desk.show(4);
    desk.settle();
    assert_eq!(desk.body()[0], "attempt 1");
    for _ in 0..3 {
        desk.act(Action::NextAttempt);
        desk.until("an answer", |desk| desk.pane.file != FileState::Opening);
    }
    assert_eq!(desk.body()[0], "There is no log of this attempt (yet).");
    std::fs::write(desk.path(4), "it has come\n").unwrap();
    desk.until("the file", |desk| desk.body()[0] == "it has come");
    std::fs::write(desk.path(5), "the newest\n").unwrap();
    desk.show(5);
    desk.settle();
    assert_eq!(desk.body()[0], "the newest");
}

#[test]
fn a_log_in_a_folder_that_is_not_there_yet_is_seen_when_it_comes() {
    let mut desk = Desk::new(40, 4);
    let path = desk.dir.path().join("a/b/agent_1.log");
    let source = LogSource {
        runner: RunnerName::parse("agent").unwrap(),
        attempts: vec![LogFile {
            attempt: Attempt::FIRST,
            path: path.clone(),
            live: true,
            started_at: None,
            outcome: None,
            content: None,
        }],
        first: None,
    };
    let commands = desk.pane.show(Some(&source));
    desk.perform(commands);
    desk.until("an answer", |desk| desk.pane.file == FileState::Missing);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "here\n").unwrap();
    desk.until("the file", |desk| desk.body()[0] == "here");
}

#[test]
fn a_truncated_log_is_told_and_read_anew() {
    let mut desk = Desk::with(&numbered(100));
    let log = OpenOptions::new().write(true).open(desk.path(1)).unwrap();
    log.set_len(7).unwrap();
    desk.until("the remark", |desk| desk.screen()[7].contains("truncated"));
    desk.settle();
    assert_eq!(desk.body()[0], "line 1");
}

#[test]
fn long_lines_wrap_or_are_cut_with_a_sign() {
    let mut content = b"short\n".to_vec();
    content.extend(std::iter::repeat_n("0123456789", 10).flat_map(str::bytes));
    content.push(b'\n');
    let mut desk = Desk::with(&content);
    assert_eq!(
        desk.body()[..4],
        ["short", &"0123456789".repeat(4), &"0123456789".repeat(4), &"0123456789".repeat(2)]
    );
    desk.act(Action::Wrap);
    assert_eq!(desk.body()[1], format!("{}012345678›", "0123456789".repeat(3)));
    desk.act(Action::Right);
    assert_eq!(desk.body()[1], format!("‹789{}01234›", "0123456789".repeat(3)));
    assert_eq!(desk.body()[0], "‹");
    desk.act(Action::Left);
    assert_eq!(desk.body()[0], "short");
}

#[test]
fn a_line_of_a_megabyte_is_scrolled_through_row_by_row() {
    let mut content: Vec<u8> =
        (0..1_048_576_u32).map(|at| b'a' + u8::try_from(at / 40 % 26).unwrap()).collect();
    content.extend_from_slice(b"\nafter\n");
    let mut desk = Desk::with(&content);
    assert_eq!(desk.body()[6], "after");
    for _ in 0..300 {
        desk.act(Action::PageUp);
        desk.settle();
        let body = desk.body();
        assert!(body.iter().all(|row| !row.is_empty()), "{body:?}");
    }
    desk.act(Action::Top);
    desk.settle();
    assert_eq!(desk.body()[0], "a".repeat(40));
    assert_eq!(desk.body()[1], "b".repeat(40));
}

#[test]
fn what_was_not_kept_is_said() {
    let mut desk = Desk::new(40, 6);
    let file = File::create(desk.path(1)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &b"head\n...".repeat(512), 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"tail\n", 40960).unwrap();
    desk.show(1);
    desk.settle();
    let body = desk.body();
    // A filesystem without holes shows what it makes of them.
    let holes = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) < 40;
    assert!(!holes || body[3] == "… 36864 bytes not kept …", "{body:?}");
    assert!(body[4].ends_with("tail"), "{body:?}");
}

#[test]
fn selections_are_copied_and_saved() {
    let mut desk = Desk::with(b"one\n\x1b[31mtwo\x1b[0m\nthree\n");
    desk.act(Action::Select);
    desk.act(Action::Up);
    desk.act(Action::Copy);
    desk.until("the text", |desk| !desk.out.is_empty());
    assert_eq!(desk.out.remove(0), event::Cmd::Copy("two\nthree\n".into()));
    for (kind, row) in [(MouseKind::Click, 2), (MouseKind::Drag, 2), (MouseKind::Release, 2)] {
        let commands = desk.pane.mouse(Mouse { kind, column: 3, row });
        desk.perform(commands);
    }
    desk.act(Action::Save);
    desk.key(Key::ctrl('u'));
    let to = desk.dir.path().join("saved");
    desk.keys(to.to_str().unwrap());
    desk.key(Key::plain(Code::Enter));
    desk.until("the file", |desk| desk.pane.note.is_some());
    assert_eq!(std::fs::read(&to).unwrap(), b"\x1b[31mtwo\x1b[0m\n");
    desk.act(Action::Save);
    desk.key(Key::ctrl('u'));
    desk.keys(to.to_str().unwrap());
    desk.key(Key::plain(Code::Enter));
    desk.until("a refusal", |desk| desk.pane.note.is_some());
    assert!(desk.pane.note.as_ref().unwrap().contains("exists"), "{:?}", desk.pane.note);
    assert_eq!(std::fs::read(&to).unwrap(), b"\x1b[31mtwo\x1b[0m\n");
}

#[test]
fn times_can_be_left_out() {
    let mut desk = Desk::with(b"2026-11-09T12:40:51Z reading\nno time\n");
    assert_eq!(desk.body()[0], "2026-11-09T12:40:51Z reading");
    desk.act(Action::Timestamps);
    assert_eq!(desk.body()[..2], ["reading", "no time"]);
}

#[test]
fn off_the_screen_nothing_is_read() {
    let mut desk = Desk::with(&numbered(100));
    assert_eq!(desk.pane.resize(0, 0), [event::Cmd::Log(Cmd::Close)]);
    assert!(desk.pane.act(Action::Up).is_some_and(|commands| commands.is_empty()));
    let commands = desk.pane.resize(40, 8);
    desk.perform(commands);
    desk.settle();
    assert_eq!(desk.body()[6], "line 100");
}

#[test]
fn nothing_to_show_is_said() {
    let mut desk = Desk::new(60, 4);
    assert_eq!(desk.body()[0], "There is no log: nothing has run yet.");
    std::fs::write(desk.path(1), "").unwrap();
    desk.show(1);
    desk.settle();
    assert_eq!(desk.body()[0], "Nothing was printed so far.");
}
