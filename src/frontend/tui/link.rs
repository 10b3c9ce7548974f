//! The connection to the supervisor: one task that finds it, listens to it, asks it, and finds the next one when it is
//! gone. Whoever asks never waits; what comes of anything goes back as an event. It has a thread of its own: a snapshot
//! of a thousand runners takes its time to be read, and a key does not wait for that.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::event::{Asked, Declined, Event, LinkNews, Order};
use super::run::Host;
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::flow::ask::FlowRequest;
use crate::domain::view::Snapshot;

/// Between two looks for a supervisor; a successor is there in a moment, or it takes longer.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN_LATER: Duration = Duration::from_secs(1);
/// A successor that has not come by then is not being started.
const NOBODY_AFTER: Duration = Duration::from_secs(5);

/// The way to the task; its thread ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    asks: mpsc::UnboundedSender<Asked>,
}

impl Link {
    /// Begins to look for a supervisor.
    pub fn start(host: Arc<dyn Host>, tell: mpsc::Sender<Event>) -> io::Result<Self> {
        let (asks, inbox) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let task = Task { host, tell };
        let work = move || {
            let mut inbox = inbox;
            while catch_unwind(AssertUnwindSafe(|| runtime.block_on(task.run(&mut inbox)))).is_err() {
                // A connection is begun anew with nothing of the old one, so nothing half-done is met again.
                let why = "the part of the dashboard that listens to the supervisor failed".to_owned();
                runtime.block_on(async {
                    task.news(LinkNews::Lost { why }).await;
                    sleep(LOOK_AGAIN_LATER).await;
                });
            }
            // What is still under way for a dashboard that has been left is waited for by nobody.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("restage-link".into()).spawn(work)?;
        Ok(Self { asks })
    }

    /// As long as there is no connection the answer is that there is none.
    pub fn ask(&self, what: Asked) {
        // The task ends with this handle, or with the program.
        self.asks.send(what).ok();
    }
}

struct Task {
    host: Arc<dyn Host>,
    tell: mpsc::Sender<Event>,
}

type Asks = mpsc::UnboundedReceiver<Asked>;
type Asking = Pin<Box<dyn Future<Output = Result<Box<Snapshot>, ClientError>> + Send>>;

impl Task {
    async fn run(&self, asks: &mut Asks) {
        while let Some((client, updates)) = self.find(asks).await {
            let client = Arc::new(client);
            let Some(why) = self.listen(&client, updates, asks).await else { return };
            self.news(LinkNews::Lost { why }).await;
        }
    }

    /// Until there is one; `None` once nobody waits for it any more.
    async fn find(&self, asks: &mut Asks) -> Option<(Client, Updates)> {
        let began = Instant::now();
        let mut told = String::new();
        loop {
            let dial = self.host.dial();
            let answer = self.meanwhile(asks, dial).await?;
            let (why, nobody) = match answer {
                Ok(Some(connected)) => return Some(connected),
                Ok(None) => ("nobody supervises here".to_owned(), began.elapsed() > NOBODY_AFTER),
                Err(why) => (why, false),
            };
            // The first look may come too early for a successor.
            if told != format!("{why}{nobody}") && (nobody || began.elapsed() > LOOK_AGAIN) {
                told = format!("{why}{nobody}");
                self.news(LinkNews::Waiting { why, nobody }).await;
            }
            let pause = if nobody { LOOK_AGAIN_LATER } else { LOOK_AGAIN };
            self.meanwhile(asks, sleep(pause)).await?;
        }
    }

    /// Waits for something, and refuses what is asked in the meantime.
    async fn meanwhile<T>(&self, asks: &mut Asks, waited_for: impl Future<Output = T>) -> Option<T> {
        let mut waited_for = std::pin::pin!(waited_for);
        loop {
            tokio::select! {
                done = &mut waited_for => return Some(done),
                ask = asks.recv() => match ask? {
                    Asked::Summon => self.summon(),
                    Asked::Flow(what) => {
                        let why = "there is no connection to a supervisor now".to_owned();
                        let hint = "it is being looked for; try again in a moment".into();
                        let declined = Declined { why, hint, refusal: None };
                        self.news(LinkNews::Flow { what, result: Err(declined) }).await;
                    }
                    what @ (Asked::Order(..)
                    | Asked::Figures
                    | Asked::Reload
                    | Asked::Shutdown(_)
                    | Asked::Input { .. }
                    | Asked::Resize { .. }) => {
                        let text = "there is no connection to a supervisor now; it is being looked for";
                        let result = Err(format!("{}: {text}", act(&what)));
                        self.news(LinkNews::Answered { what, result }).await;
                    }
                },
            }
        }
    }

    fn summon(&self) {
        let (summoned, tell) = (self.host.summon(), self.tell.clone());
        tokio::spawn(async move {
            let news = LinkNews::Answered { what: Asked::Summon, result: summoned.await };
            // The dashboard has been left.
            tell.send(Event::Link(news)).await.ok();
        });
    }

    /// Until the connection ends; the answer is why, or `None` once nobody listens.
    async fn listen(&self, client: &Arc<Client>, mut updates: Updates, asks: &mut Asks) -> Option<String> {
        self.news(LinkNews::Connected { supervisor_pid: client.welcome.supervisor_pid }).await;
        if let Err(error) = client.subscribe().await {
            return Some(error.to_string());
        }
        let mut snapshot = Some((ask_snapshot(client, false), false));
        loop {
            tokio::select! {
                // A snapshot comes before the updates that follow it, so that none of these is undone.
                biased;
                answer = answered(&mut snapshot), if snapshot.is_some() => {
                    let figures = snapshot.take().is_some_and(|(_, figures)| figures);
                    self.took(answer, figures).await;
                }
                incoming = updates.next() => match incoming {
                    Some(Incoming::Update(update)) => self.news(LinkNews::Update(update)).await,
                    Some(Incoming::Lagged) => {
                        // One with figures that was on its way is asked for anew, for somebody waits for these.
                        self.news(LinkNews::Missed).await;
                        let figures = snapshot.is_some_and(|(_, figures)| figures);
                        snapshot = Some((ask_snapshot(client, figures), figures));
                    }
                    None => return Some("the connection to the supervisor ended".to_owned()),
                },
                ask = asks.recv() => match ask? {
                    Asked::Figures => snapshot = Some((ask_snapshot(client, true), true)),
                    Asked::Flow(what) => self.ask_flow(client, what),
                    what @ (Asked::Order(..)
                    | Asked::Reload
                    | Asked::Shutdown(_)
                    | Asked::Summon
                    | Asked::Input { .. }
                    | Asked::Resize { .. }) => {
                        self.ask(client, what);
                    }
                },
            }
            if self.tell.is_closed() {
                return None;
            }
        }
    }

    async fn took(&self, answer: Result<Box<Snapshot>, ClientError>, figures: bool) {
        let result = match answer {
            Ok(snapshot) => {
                self.news(LinkNews::Snapshot(snapshot)).await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        // Also where a newer snapshot took the place of the one with figures: the next one is due then.
        if figures || result.is_err() {
            self.news(LinkNews::Answered { what: Asked::Figures, result }).await;
        }
    }

    /// On the side: a supervisor that takes its time holds up nothing else. Requests are still written in the order in
    /// which they were asked for, as tasks of one thread begin in their order and wait for their turn to write in it.
    fn ask(&self, client: &Arc<Client>, what: Asked) {
        let (client, tell) = (Arc::clone(client), self.tell.clone());
        let summoned = matches!(what, Asked::Summon).then(|| self.host.summon());
        tokio::spawn(async move {
            let result = match (&what, summoned) {
                (Asked::Order(order, names), _) => {
                    let names = names.clone();
                    match order {
                        Order::Start => client.start(names).await.map(drop),
                        Order::Stop => client.stop(names).await.map(drop),
                        Order::Restart => client.restart(names).await.map(drop),
                        Order::Kill => client.kill(names).await.map(drop),
                    }
                }
                (Asked::Input { runner, text }, _) => client.input(runner.clone(), text.clone()).await,
                (Asked::Resize { runner, rows, cols }, _) => {
                    client.resize(runner.clone(), *rows, *cols).await
                }
                (Asked::Reload, _) => client.reload().await,
                // The end of the connection may overtake the answer, and means the same.
                (Asked::Shutdown(how), _) => match client.shutdown(*how).await {
                    Ok(()) | Err(ClientError::Gone) => Ok(()),
                    Err(error) => Err(error),
                },
                // These two have their own ways.
                (Asked::Figures | Asked::Flow(_), _) | (Asked::Summon, None) => Ok(()),
                (Asked::Summon, Some(summoned)) => {
                    let news = LinkNews::Answered { what, result: summoned.await };
                    tell.send(Event::Link(news)).await.ok();
                    return;
                }
            };
            let result = match (&what, result) {
                // The refusal names both already.
                (Asked::Input { .. } | Asked::Resize { .. }, Err(ClientError::Failed(failure))) => {
                    Err(failure.to_string())
                }
                (_, result) => result.map_err(|error| format!("{}: {error}", act(&what))),
            };
            // The dashboard has been left.
            tell.send(Event::Link(LinkNews::Answered { what, result })).await.ok();
        });
    }

    /// Also on the side.
    fn ask_flow(&self, client: &Arc<Client>, what: Box<FlowRequest>) {
        let (client, tell) = (Arc::clone(client), self.tell.clone());
        tokio::spawn(async move {
            let result =
                client.flow(FlowRequest::clone(&what)).await.map(Box::new).map_err(|error| match error {
                    ClientError::Declined(refusal) => Declined::from(*refusal),
                    other @ (ClientError::Connect { .. }
                    | ClientError::Silent(_)
                    | ClientError::TooLong { .. }
                    | ClientError::Refused(_)
                    | ClientError::Gone
                    | ClientError::Nonsense(_)
                    | ClientError::Failed(_)) => {
                        Declined { why: other.to_string(), hint: String::new(), refusal: None }
                    }
                });
            // The dashboard has been left.
            tell.send(Event::Link(LinkNews::Flow { what, result })).await.ok();
        });
    }

    async fn news(&self, news: LinkNews) {
        // The dashboard has been left.
        self.tell.send(Event::Link(news)).await.ok();
    }
}

async fn answered(asked: &mut Option<(Asking, bool)>) -> Result<Box<Snapshot>, ClientError> {
    match asked {
        Some((asking, _)) => asking.await,
        None => std::future::pending().await,
    }
}

fn ask_snapshot(client: &Arc<Client>, figures: bool) -> Asking {
    let client = Arc::clone(client);
    Box::pin(async move { client.snapshot(figures).await })
}

/// The act and the thing, for an error.
fn act(what: &Asked) -> String {
    match what {
        Asked::Order(order, names) => match &names[..] {
            [one] => format!("{} {one}", order.word()),
            more => format!("{} {} runners", order.word(), more.len()),
        },
        Asked::Input { runner, .. } => format!("type into {runner}"),
        Asked::Resize { runner, .. } => format!("tell {runner} the size of its terminal"),
        Asked::Figures => "read the figures".to_owned(),
        Asked::Flow(_) => "ask about a run".to_owned(),
        Asked::Reload => "reload the config".to_owned(),
        Asked::Shutdown(_) => "stop all runners".to_owned(),
        Asked::Summon => "start a supervisor".to_owned(),
    }
}
