//! The loop between the model and the world. It waits for the terminal, the supervisor, the workers and the clock, all
//! at once; turns what comes into events; draws when something has changed, at most 60 times a second; and performs what
//! the model asks for, without waiting for any of it.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crossterm::event::{Event as Sent, EventStream};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::attach;
use super::event::{Asked, Cmd, ConfigNews, EditOrder, Edited, Event};
use super::link::Link;
use super::log;
use super::model::{Model, Setup};
use super::term::Term;
use super::theme::Ink;
use super::translate::translate;
use super::update::update;
use crate::control::client::{Client, Updates};
use crate::domain::ids::RunnerName;
use crate::domain::spec::{Clipboard, Notifications};
use crate::domain::view::AttemptView;

/// No more than 60 frames a second. The answer to a key may come one frame early, and then the next one waits longer:
/// whoever types waits for no log that was drawn a moment ago.
const FRAME: Duration = Duration::from_micros(16_600);
/// Events that wait for their turn; who sends more waits, and the supervisor does not notice.
const WAITING_EVENTS: usize = 1024;
/// After so many events in one go the screen is due again.
const AT_ONCE: usize = 4096;

pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the dashboard needs from its surroundings, beside a terminal.
pub trait Host: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// A connection; `None` where nobody supervises.
    fn dial(&self) -> Later<Result<Option<(Client, Updates)>, String>>;
    /// Starts a supervisor in the background.
    fn summon(&self) -> Later<Result<(), String>>;
    /// The config as it is now. May take its time.
    fn config(&self) -> ConfigNews;
    /// What the retry logs know. May take its time.
    fn history(&self) -> Vec<(RunnerName, Vec<AttemptView>)>;
    /// The program that shows a file.
    fn pager(&self, file: &Path) -> std::process::Command;
    /// Has a person edit something in a program that has the terminal meanwhile; `None` where nothing was changed.
    ///
    /// The file in which it was edited stays at least until the dashboard is left.
    fn edit(&self, order: EditOrder) -> Later<Result<Option<Edited>, String>>;
    /// That file stays for good.
    fn keep_edited(&self, file: &Path);
}

/// Why the dashboard was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody asked for it.
    Quit,
    Signal(i32),
    /// There is no terminal any more.
    NoTerminal,
}

/// How the dashboard was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub end: End,
    /// Runners that were live then, as far as was known.
    pub live: usize,
    pub runs: usize,
}

/// Until it is left. The terminal is given back before this returns.
pub async fn run(setup: Setup, host: Arc<dyn Host>) -> io::Result<Left> {
    let signals = Signals::listen()?;
    let (tell, inbox) = mpsc::channel(WAITING_EVENTS);
    let log_tell = tell.clone();
    let log = log::start(move |news| {
        // The dashboard has been left.
        log_tell.blocking_send(Event::Log(news)).ok();
    })?;
    let attach_tell = tell.clone();
    let attach = attach::start(move |news| {
        attach_tell.blocking_send(Event::Attach(news)).ok();
    })?;
    let link = Link::start(Arc::clone(&host), tell.clone())?;
    let term = Term::enter()?;
    let mut setup = setup;
    setup.size = term.size()?;
    setup.now = host.now();
    let mut looping = Loop {
        model: Model::new(setup),
        term,
        keys: Some(EventStream::new()),
        host,
        tell,
        link,
        log,
        attach,
        pressed: false,
        next_frame: Instant::now(),
        end: None,
    };
    let end = looping.run(inbox, signals).await?;
    Ok(Left { end, live: looping.model.live_after(), runs: looping.model.runs_after() })
}

struct Loop {
    model: Model,
    term: Term,
    /// `None` while another program has the terminal.
    keys: Option<EventStream>,
    host: Arc<dyn Host>,
    tell: mpsc::Sender<Event>,
    link: Link,
    log: log::Worker,
    attach: attach::Worker,
    /// A key has come since the last frame.
    pressed: bool,
    /// When the next frame may come.
    next_frame: Instant,
    end: Option<End>,
}

/// What the loop woke up for.
enum Woken {
    Happened(Event),
    /// Something that asks for nothing but a frame, such as the end of a pause between two of them.
    Nothing,
    Signal(i32),
    /// The process had been stopped, and a shell has had the terminal since.
    Continued,
    NoTerminal,
}

impl Loop {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Event>, mut signals: Signals) -> io::Result<End> {
        let first = self.model.setup.trouble.take().map_or(Event::Tick, Event::Trouble);
        self.happen(first).await?;
        loop {
            if let Some(end) = self.end {
                return Ok(end);
            }
            if self.model.dirty && self.term.is_free() && Instant::now() >= self.due() {
                (self.model.dirty, self.pressed) = (false, false);
                self.term.draw(&self.model)?;
                self.next_frame = self.next_frame.max(Instant::now()) + FRAME;
            }
            match self.wait(&mut inbox, &mut signals).await {
                Woken::Happened(event) => self.happen(event).await?,
                Woken::Nothing => {}
                Woken::Signal(signal) => return Ok(End::Signal(signal)),
                Woken::Continued => {
                    self.term.resume()?;
                    self.model.dirty = true;
                }
                Woken::NoTerminal => return Ok(End::NoTerminal),
            }
            self.take_what_is_there(&mut inbox).await?;
        }
    }

    fn due(&self) -> Instant {
        let early = if self.pressed { FRAME } else { Duration::ZERO };
        self.next_frame.checked_sub(early).unwrap_or(self.next_frame)
    }

    /// Keys before everything else: they are what somebody waits for.
    async fn wait(&mut self, inbox: &mut mpsc::Receiver<Event>, signals: &mut Signals) -> Woken {
        let due = self.due();
        let wake = self.model.wake.map(|at| {
            let left = at.duration_since(self.host.now());
            Duration::try_from(left).unwrap_or_default()
        });
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                libc::SIGCONT => Woken::Continued,
                ending => Woken::Signal(ending),
            },
            key = next_key(&mut self.keys) => key,
            Some(event) = inbox.recv() => Woken::Happened(event),
            () = sleep_until(due), if self.model.dirty && self.term.is_free() => Woken::Nothing,
            () = self.term.freed(), if self.model.dirty && !self.term.is_free() => Woken::Nothing,
            () = sleep(wake.unwrap_or_default()), if wake.is_some() => Woken::Happened(Event::Tick),
        }
    }

    /// What has come together is shown together.
    async fn take_what_is_there(&mut self, inbox: &mut mpsc::Receiver<Event>) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            if self.end.is_some() {
                break;
            }
            let event = match key_that_is_there(&mut self.keys).await {
                Some(Ok(sent)) => translate(sent),
                Some(Err(_)) => {
                    self.end = Some(End::NoTerminal);
                    None
                }
                None => match inbox.try_recv() {
                    Ok(event) => Some(event),
                    Err(_) => break,
                },
            };
            if let Some(event) = event {
                self.happen(event).await?;
            }
        }
        Ok(())
    }

    async fn happen(&mut self, event: Event) -> io::Result<()> {
        self.pressed |= matches!(event, Event::Key(_) | Event::Mouse(_) | Event::Paste(_));
        let cmds = update(&mut self.model, event, self.host.now());
        for cmd in cmds {
            self.perform(cmd).await?;
        }
        Ok(())
    }

    /// Only pager and editor are waited for: they have the terminal.
    async fn perform(&mut self, cmd: Cmd) -> io::Result<()> {
        match cmd {
            Cmd::Order(order, names) => self.link.ask(Asked::Order(order, names)),
            Cmd::Figures => self.link.ask(Asked::Figures),
            Cmd::Reload => self.link.ask(Asked::Reload),
            Cmd::Shutdown(how) => self.link.ask(Asked::Shutdown(how)),
            Cmd::Summon => self.link.ask(Asked::Summon),
            Cmd::LoadConfig => self.fetch(|host| Event::Config(Box::new(host.config()))),
            Cmd::LoadHistory => self.fetch(|host| Event::History(host.history())),
            Cmd::Log(cmd) => self.log.perform(cmd),
            Cmd::Attach(attach::Cmd::Watch(order)) => self.attach.perform(order),
            Cmd::Attach(attach::Cmd::Input { runner, text }) => self.link.ask(Asked::Input { runner, text }),
            Cmd::Attach(attach::Cmd::Resize { runner, rows, cols }) => {
                self.link.ask(Asked::Resize { runner, rows, cols });
            }
            Cmd::Flow(request) => self.link.ask(Asked::Flow(request)),
            Cmd::Edit(order) => self.edit(*order).await?,
            Cmd::KeepEdited(file) => self.host.keep_edited(&file),
            Cmd::Copy(text) => self.copy(&text)?,
            Cmd::Pager(file) => self.page(&file).await?,
            Cmd::Notify(text) => self.notify(&text)?,
            Cmd::Redraw => {
                self.term.redraw()?;
                self.model.dirty = true;
            }
            Cmd::Quit => self.end = Some(End::Quit),
        }
        Ok(())
    }

    fn fetch(&self, fetch: impl FnOnce(&dyn Host) -> Event + Send + 'static) {
        let (host, tell) = (Arc::clone(&self.host), self.tell.clone());
        tokio::task::spawn_blocking(move || {
            // The dashboard has been left.
            tell.blocking_send(fetch(&*host)).ok();
        });
    }

    fn copy(&mut self, text: &str) -> io::Result<()> {
        let (ink, told) = if self.model.setup.manners.clipboard == Clipboard::Off {
            (
                Ink::Waiting,
                "Copy: the config says \"clipboard\": \"off\"; save it as a file instead".to_owned(),
            )
        } else if self.term.copy(text)? {
            let told = match text.lines().count() {
                1 => "Copied 1 line".to_owned(),
                lines => format!("Copied {lines} lines"),
            };
            (Ink::Good, told)
        } else {
            (Ink::Bad, "Copy: this is too much for a clipboard; save it as a file instead".to_owned())
        };
        self.model.toasts.push(ink, told, self.host.now());
        self.model.dirty = true;
        Ok(())
    }

    fn notify(&mut self, text: &str) -> io::Result<()> {
        match self.model.setup.manners.notifications {
            Notifications::Off => Ok(()),
            Notifications::Bell => self.term.bell(),
            Notifications::Osc9 => self.term.message(text),
            Notifications::Both => self.term.bell().and_then(|()| self.term.message(text)),
        }
    }

    async fn edit(&mut self, order: EditOrder) -> io::Result<()> {
        // It must not read the editor's keys.
        self.keys = None;
        self.term.suspend();
        let outcome = self.host.edit(order).await;
        self.term.resume()?;
        self.keys = Some(EventStream::new());
        self.model.dirty = true;
        let (event, tell) = (Event::Edited(outcome.map(|edited| edited.map(Box::new))), self.tell.clone());
        // The channel may be full of what came meanwhile.
        tokio::spawn(async move { tell.send(event).await.ok() });
        Ok(())
    }

    async fn page(&mut self, file: &Path) -> io::Result<()> {
        // It must not read the pager's keys.
        self.keys = None;
        self.term.suspend();
        let outcome = Command::from(self.host.pager(file)).status().await;
        self.term.resume()?;
        self.keys = Some(EventStream::new());
        self.model.dirty = true;
        if let Err(error) = outcome {
            let told =
                format!("Open {} in a pager: {error}; set $PAGER to one that is there", file.display());
            self.model.toasts.push(Ink::Bad, crate::frontend::text::one_line(&told), self.host.now());
        }
        Ok(())
    }
}

async fn next_key(keys: &mut Option<EventStream>) -> Woken {
    let Some(keys) = keys else { return std::future::pending().await };
    match keys.next().await {
        Some(Ok(sent)) => translate(sent).map_or(Woken::Nothing, Woken::Happened),
        Some(Err(_)) | None => Woken::NoTerminal,
    }
}

/// Looks without waiting; but as this task, for the stream remembers whom to wake.
async fn key_that_is_there(keys: &mut Option<EventStream>) -> Option<io::Result<Sent>> {
    let keys = keys.as_mut()?;
    poll_fn(|context| match keys.poll_next_unpin(context) {
        Poll::Ready(sent) => Poll::Ready(sent),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Those that end us, and the one that says that we go on.
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    fn listen() -> io::Result<Self> {
        let numbers = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGCONT];
        let listen = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        numbers.into_iter().map(listen).collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            let mut heard = self.0.iter_mut();
            match heard.find_map(|(number, signal)| signal.poll_recv(context).is_ready().then_some(*number)) {
                Some(number) => Poll::Ready(number),
                None => Poll::Pending,
            }
        })
        .await
    }
}
