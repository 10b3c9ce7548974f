//! Headless mode: one line an event, for a person on stderr or as JSON on stdout. A terminal that is stopped, slow or
//! gone costs lines (they are counted), never time: the lines are written by a thread of their own, from a bounded
//! queue. A reader that went away ends nothing; unattended work goes on without its audience.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::text::{Tone, one_line};
use crate::domain::ids::RunnerName;
use crate::domain::verdict::Verdict;
use crate::domain::view::{Notice, NoticeKind};
use crate::supervisor::handle::Notices;

/// Lines that may wait for a terminal.
const WAITING_LINES: usize = 4096;

/// How a notice becomes a line.
#[derive(Debug, Clone)]
pub enum Format {
    /// `12:41:07 agent    Retrying runner agent (retry 2/3) in 10s`
    Human {
        zone: TimeZone,
        colour: bool,
        /// The names start their sentences in one column.
        name_width: usize,
    },
    /// One JSON object.
    Json,
}

impl Format {
    /// One line with its newline.
    pub fn line(&self, notice: &Notice) -> String {
        match self {
            Self::Human { zone, colour, name_width } => {
                let time = notice.at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
                let name = one_line(notice.runner.as_ref().map_or("restage", RunnerName::as_str));
                format!(
                    "{} {name:name_width$} {}\n",
                    Tone::Quiet.paint(&time, *colour),
                    tone(&notice.what).paint(&one_line(&notice.to_string()), *colour),
                )
            }
            Self::Json => match serde_json::to_string(notice) {
                Ok(line) => format!("{line}\n"),
                // A notice is strings and finite numbers; one that is not is left to the log of restage.
                Err(_) => String::new(),
            },
        }
    }
}

/// The width of the name column for these runners: no name that is much longer than the others moves all of them.
pub fn name_width<'a>(names: impl Iterator<Item = &'a RunnerName>) -> usize {
    names.map(|name| name.as_str().len()).max().unwrap_or_default().clamp("restage".len(), 24)
}

fn tone(what: &NoticeKind) -> Tone {
    match what {
        NoticeKind::Ready | NoticeKind::Recovered { .. } => Tone::Good,
        NoticeKind::Ended { outcome, .. } => match outcome.verdict {
            Verdict::Completed => Tone::Good,
            Verdict::Stopped => Tone::Plain,
            Verdict::Exit
            | Verdict::Signal
            | Verdict::Inactive
            | Verdict::TimedOut
            | Verdict::Unhealthy
            | Verdict::SpawnFailed
            | Verdict::Lost => Tone::Waiting,
        },
        NoticeKind::Retrying { .. } | NoticeKind::Waiting { .. } => Tone::Waiting,
        NoticeKind::Exhausted { .. }
        | NoticeKind::GaveUp { .. }
        | NoticeKind::Stuck { .. }
        | NoticeKind::Warning { .. } => Tone::Bad,
        NoticeKind::Started { .. }
        | NoticeKind::Adopted { .. }
        | NoticeKind::Ending { .. }
        | NoticeKind::RetryCancelled
        | NoticeKind::Removed
        | NoticeKind::Info { .. } => Tone::Plain,
    }
}

/// Writes lines to a place that may block for ever, without ever blocking whoever prints.
#[derive(Debug)]
pub struct Printer {
    lines: Sender<String>,
    /// How many wait; the queue takes no memory for those that do not.
    waiting: Arc<AtomicUsize>,
    room: usize,
    done: Receiver<()>,
}

impl Printer {
    pub fn new(sink: impl Write + Send + 'static) -> Self {
        Self::with_room(sink, WAITING_LINES)
    }

    fn with_room(mut sink: impl Write + Send + 'static, room: usize) -> Self {
        let (lines, queue) = channel::<String>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        let (finished, done) = sync_channel(1);
        std::thread::spawn(move || {
            let mut open = true;
            for line in queue {
                taken.fetch_sub(1, Ordering::Relaxed);
                // With nobody left to read, lines are still taken, so that none of them counts as dropped.
                open = open && sink.write_all(line.as_bytes()).and_then(|()| sink.flush()).is_ok();
            }
            // Whoever waited for the end may have lost patience.
            finished.send(()).ok();
        });
        Self { lines, waiting, room, done }
    }

    /// Says whether there was room for it.
    pub fn print(&self, line: String) -> bool {
        // Nobody else adds lines, so the count can only fall in between.
        if self.waiting.load(Ordering::Relaxed) >= self.room {
            return false;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.lines.send(line).is_ok()
    }

    /// Lets what waits go out, for as long as there is patience. A thread that is stuck in a write ends with the
    /// process.
    pub fn close(self, patience: Duration) {
        drop(self.lines);
        self.done.recv_timeout(patience).ok();
    }
}

/// Prints notices and remembers how many did not get through.
#[derive(Debug)]
pub struct Headless {
    printer: Printer,
    format: Format,
    missed: u64,
}

impl Headless {
    pub fn new(printer: Printer, format: Format) -> Self {
        Self { printer, format, missed: 0 }
    }

    pub fn tell(&mut self, notice: &Notice) {
        if self.missed > 0 {
            let text = match self.missed {
                1 => "a line is missing here: nobody took it in time".to_owned(),
                many => format!("{many} lines are missing here: nobody took them in time"),
            };
            let gap = Notice { at: notice.at, runner: None, what: NoticeKind::Warning { text } };
            if !self.printer.print(self.format.line(&gap)) {
                self.missed += 1;
                return;
            }
            self.missed = 0;
        }
        if !self.printer.print(self.format.line(notice)) {
            self.missed += 1;
        }
    }

    /// Tells every notice until the end, and what was told before it.
    pub async fn run(&mut self, notices: Notices, ending: impl Future<Output = ()>) {
        let tell = |told: Result<Arc<Notice>, u64>| match told {
            Ok(notice) => self.tell(&notice),
            Err(missed) => self.missed += missed,
        };
        notices.each(ending, tell).await;
    }

    pub fn close(self, patience: Duration) {
        self.printer.close(patience);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::domain::ids::Attempt;
    use crate::domain::time::Timestamp;
    use crate::domain::verdict::Outcome;
    use crate::domain::view::Update;
    use crate::supervisor::handle::Handle;

    const SOON: Duration = Duration::from_secs(10);

    fn notice(runner: Option<&str>, what: NoticeKind) -> Notice {
        let runner = runner.map(RunnerName::trusted);
        Notice { at: Timestamp::from_second(45_667).unwrap(), runner, what }
    }

    fn info(text: &str) -> Notice {
        notice(None, NoticeKind::Info { text: text.into() })
    }

    fn human(colour: bool) -> Format {
        Format::Human { zone: TimeZone::UTC, colour, name_width: 8 }
    }

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_to_grep() {
        let retry = NoticeKind::Retrying { retry: 2, max_retries: 3, delay_seconds: 10.0 };
        let full = NoticeKind::Exhausted { max_retries: 3 };
        let detail = Some("silent\x1b[2J\nfor 5m".to_owned());
        let outcome = Outcome { verdict: Verdict::Inactive, exit_code: None, signal: None, detail };
        let table = [
            (notice(Some("agent"), retry), "12:41:07 agent    Retrying runner agent (retry 2/3) in 10s\n"),
            (notice(Some("agent"), full), "12:41:07 agent    Max retries (3) reached for agent\n"),
            (info("hello"), "12:41:07 restage  hello\n"),
            (
                notice(Some("a"), NoticeKind::Ended { attempt: Attempt::FIRST, outcome }),
                "12:41:07 a        Ended a (attempt 1): inactive: silent [2J for 5m\n",
            ),
        ];
        for (notice, line) in table {
            assert_eq!(human(false).line(&notice), line);
        }
        assert_eq!(human(true).line(&info("hello")), "\x1b[2m12:41:07\x1b[0m restage  hello\n");
    }

    #[test]
    fn json_lines_can_be_read_again() {
        let notice = notice(Some("agent"), NoticeKind::Started { attempt: Attempt::FIRST, pid: 7 });
        let line = Format::Json.line(&notice);
        assert_eq!(
            line,
            "{\"at\":\"1970-01-01T12:41:07Z\",\"runner\":\"agent\",\"event\":\"started\",\"attempt\":1,\"pid\":7}\n"
        );
        assert_eq!(serde_json::from_str::<Notice>(&line).unwrap(), notice);
    }

    #[test]
    fn names_share_a_column_unless_one_is_out_of_hand() {
        let names = ["a", "a-name-of-twenty-chars"].map(RunnerName::trusted);
        assert_eq!(name_width(names.iter()), 22);
        assert_eq!(name_width(names[..1].iter()), 7);
        assert_eq!(name_width([RunnerName::trusted("x".repeat(90))].iter()), 24);
    }

    /// Says that a write has come, and takes it only when told to.
    struct Gate(mpsc::Receiver<()>, mpsc::Sender<()>, Page);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.send(()).ok();
            self.0.recv().ok();
            self.2.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stopped_terminal_costs_lines_and_no_time() {
        let page = Page::default();
        let (open, gate) = mpsc::channel();
        let (knock, knocked) = mpsc::channel();
        let printer = Printer::with_room(Gate(gate, knock, page.clone()), 2);
        let mut headless = Headless::new(printer, human(false));
        headless.tell(&info("line 0"));
        // The thread stands at the gate with the first line; two more wait, and the rest is lost.
        knocked.recv_timeout(SOON).unwrap();
        for i in 1..10 {
            headless.tell(&info(&format!("line {i}")));
        }
        assert_eq!(headless.missed, 7);
        drop(open);
        while headless.missed > 0 {
            headless.tell(&info("again"));
        }
        headless.close(SOON);
        let text = page.text();
        assert!(text.contains("line 1") && !text.contains("line 9"), "{text}");
        assert!(text.contains("lines are missing here"), "{text}");
    }

    /// A reader that went away.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn tells_everything_up_to_the_end() {
        let page = Page::default();
        for printer in [Printer::new(page.clone()), Printer::new(Gone)] {
            let (sender, _) = tokio::sync::broadcast::channel(8);
            let handle = Handle::new(tokio::sync::mpsc::channel(1).0, sender.clone());
            let notices = handle.subscribe_to_notices();
            for text in ["one", "two"] {
                sender.send(Update::Notice(Arc::new(info(text)))).unwrap();
            }
            let mut headless = Headless::new(printer, human(false));
            headless.run(notices, async {}).await;
            headless.close(SOON);
        }
        assert_eq!(page.text(), "12:41:07 restage  one\n12:41:07 restage  two\n");
    }
}
