//! Follows a run to its end: lines for people, a live tree on a terminal, or JSON lines.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::asking::{Asking, asks};
use super::ends::{Ends, end_of};
use crate::cli::args::Output;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::history::{History, unexpected};
use crate::cli::signals::Signals;
use crate::cli::workspace::Workspace;
use crate::cli::{link, output};
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::control::wire::FailureKind;
use crate::domain::flow::ask::{FlowReply, FlowRequest, Shown};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::news::News;
use crate::domain::flow::record::{RunFilter, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::flow::view::{FlowNotice, FlowUpdate};
use crate::domain::view::Update;
use crate::frontend::flow::live::Live;
use crate::frontend::text::one_line;
use crate::ports::store::Store;

/// A run that has timed out is told from one that failed in another way.
const TIMED_OUT: &str = "Flow execution timed out after ";

/// How somebody follows.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the verb, named where it is set")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    pub output: Output,
    pub no_color: bool,
    /// What a checkpoint that asks does: waited for, or exit 75.
    pub wait_for_people: bool,
    /// A degraded run counts as a good one.
    pub allow_degraded: bool,
    /// It has not ended before it was asked for: what is told of its end is yet to come.
    pub fresh: bool,
}

impl Manner {
    /// A tree on a terminal, of which the other manners know nothing.
    pub fn draws(self) -> bool {
        self.output == Output::Human && output::may_redraw()
    }
}

/// To be called before the run is asked for, so that nothing of it is missed. False: the supervisor has gone.
pub async fn listen(client: &Client, draws: bool) -> Result<bool, Failure> {
    let subscribed = if draws { client.subscribe().await } else { client.subscribe_to_words().await };
    match subscribed {
        Ok(()) => Ok(true),
        Err(error) if is_end(&error) => Ok(false),
        Err(error) => Err(Failure::of_client("follow runs", &error)),
    }
}

/// The connection by which runs are followed, and after the end of that the next one.
#[derive(Debug)]
pub struct Line<'w> {
    pub client: Client,
    pub updates: Updates,
    workspace: &'w Workspace,
}

impl<'w> Line<'w> {
    pub const fn new(workspace: &'w Workspace, client: Client, updates: Updates) -> Self {
        Self { client, updates, workspace }
    }

    /// The run as it is now; where the supervisor is ending or has gone, as it is on record.
    pub async fn look(&self, run: &RunId) -> Result<Box<Shown>, Failure> {
        let act = || format!("show {run}");
        match self.client.flow(FlowRequest::Glance { run: run.clone() }).await {
            Ok(FlowReply::Shown(shown)) => Ok(shown),
            Ok(other) => Err(unexpected(&act(), &other)),
            Err(error) if is_end(&error) => self.on_record(run),
            Err(error) => Err(Failure::of_client(act(), &error)),
        }
    }

    fn on_record(&self, run: &RunId) -> Result<Box<Shown>, Failure> {
        Ok(Box::new(History::open(self.workspace)?.recorded(run)?))
    }

    /// The run that a queued one waits for: of its lineage, or of its flow.
    fn before(&self, queued: &RunRecord) -> Option<RunId> {
        let status = vec![RunStatus::Running, RunStatus::Waiting];
        let filter = RunFilter { flow: Some(queued.flow.clone()), status, ..RunFilter::default() };
        let runs = History::open(self.workspace).ok()?.store.runs(&filter).ok()?;
        let of_lineage = runs.iter().find(|run| run.root_run_id == queued.root_run_id);
        of_lineage.or(runs.last()).map(|run| run.run_id.clone())
    }

    /// After the connection has ended: by the successor, where one comes. Where none does, it is the record that tells.
    async fn resume(&mut self, run: &RunId, manner: Manner) -> Result<Box<Shown>, Failure> {
        loop {
            let shown = self.on_record(run)?;
            if rests(&shown, manner) {
                return Ok(shown);
            }
            let Some((client, updates)) = link::reconnect(self.workspace).await? else {
                return Err(left(&shown.run));
            };
            (self.client, self.updates) = (client, updates);
            if listen(&self.client, manner.draws()).await? {
                return self.look(run).await;
            }
        }
    }
}

/// It ends, or has ended.
pub fn is_end(error: &ClientError) -> bool {
    match error {
        ClientError::Gone => true,
        ClientError::Declined(refusal) => **refusal == Refusal::Ending,
        ClientError::Failed(failure) => failure.kind == FailureKind::Ending,
        ClientError::Refused(_)
        | ClientError::Nonsense(_)
        | ClientError::Connect { .. }
        | ClientError::Silent(_)
        | ClientError::TooLong { .. } => false,
    }
}

fn left(run: &RunRecord) -> Failure {
    let (id, status) = (&run.run_id, run.status);
    let cause = format!("its supervisor has gone without a successor; on record it is {status}");
    Failure::new(Exit::Failed, format!("follow {id}"), cause)
        .hint(format!("go on with it: restage continue {id}; what it has done: restage show {id}"))
}

/// `before`: the run as it was when it was asked for, where it was there.
pub async fn follow(line: &mut Line<'_>, run: &RunId, manner: Manner, before: Option<&Shown>) -> Outcome {
    let mut shown = line.look(run).await?;
    let mut teller = Teller::new(manner);
    if let Some(before) = before.or((!manner.fresh).then_some(&*shown)) {
        teller.ends.missed(&before.run);
    }
    teller.screen.begin(&shown);
    // The end of one that ended long ago is told all the same: the last line is how it came out.
    if let Some(notice) = end_of(&shown.run).filter(|_| !manner.fresh) {
        teller.screen.news(&notice);
    }
    if shown.run.status == RunStatus::Queued {
        teller.screen.queued(&shown.run.run_id, line.before(&shown.run).as_ref());
    }
    while !rests(&shown, manner) {
        let mut next = line.updates.ready();
        if next.is_none() {
            teller.screen.flush();
            next = line.updates.next().await;
        }
        match next {
            Some(Incoming::Update(Update::Flow(update))) => match update.as_ref() {
                FlowUpdate::Run(view) if view.run_id == *run => {
                    if view.status.rests() {
                        shown = line.look(run).await?;
                    }
                    teller.screen.run(view);
                }
                FlowUpdate::Stage(view) if view.run_id == *run => teller.screen.stage(view),
                FlowUpdate::News(notice) if notice.what.run() == run => {
                    if is_last(&notice.what) {
                        shown = line.look(run).await?;
                    }
                    teller.news(notice, &shown);
                }
                FlowUpdate::Run(_) | FlowUpdate::Stage(_) | FlowUpdate::News(_) => {}
            },
            Some(Incoming::Update(_)) => {}
            Some(Incoming::Lagged) => {
                shown = line.look(run).await?;
                teller.catch_up(&shown);
            }
            None => {
                shown = line.resume(run, manner).await?;
                teller.catch_up(&shown);
            }
        }
    }
    // What is told of the end may come behind the answer to a question.
    while !teller.told_end {
        let Ok(Some(next)) = tokio::time::timeout(LAST_NEWS, line.updates.next()).await else { break };
        if let Incoming::Update(Update::Flow(update)) = next
            && let FlowUpdate::News(notice) = update.as_ref()
            && notice.what.run() == run
        {
            teller.news(notice, &shown);
        }
    }
    teller.end(&shown);
    Ok(exit(&shown, manner))
}

/// Asks for a run and follows it, for somebody whose leaving ends nothing, which they are told: unless the supervisor is
/// this process, it and its runs go on. `run`: which one it is, as soon as that is known.
pub async fn until_left(
    hosted: bool,
    manner: Manner,
    run: &OnceCell<RunId>,
    following: impl Future<Output = Result<Option<Exit>, Failure>>,
) -> Result<Option<Exit>, Failure> {
    if hosted {
        return following.await;
    }
    let mut signals =
        Signals::listen().map_err(|error| Failure::io("listen for the signals that end it", &error))?;
    let mut following = pin!(following);
    tokio::select! {
        biased;
        ended = &mut following => ended,
        signal = signals.next() => {
            // The name of the run may be on its way, or why there is none.
            let answered = poll_fn(|context| match run.get() {
                Some(_) => Poll::Ready(None),
                None => match following.as_mut().poll(context) {
                    Poll::Pending if run.get().is_none() => Poll::Pending,
                    Poll::Pending => Poll::Ready(None),
                    Poll::Ready(ended) => Poll::Ready(Some(ended)),
                },
            });
            if let Ok(Some(ended)) = tokio::time::timeout(LAST_ANSWER, answered).await {
                return ended;
            }
            if manner.draws() {
                // The terminal has shown the key that was pressed.
                output::draw("\n");
            }
            output::remark(&match run.get() {
                Some(run) => format!(
                    "restage: {run} goes on; to follow it again: restage show {run} --watch; to end it: restage cancel {run}"
                ),
                None => "restage: left before the supervisor has answered; what it has begun: restage runs".to_owned(),
            });
            Ok(Some(Exit::Signal(signal)))
        }
    }
}

/// How a run came out, or came to a halt, for somebody who has followed nothing of it.
pub fn told(shown: &Shown, manner: Manner) -> Outcome {
    let run = &shown.run;
    if run.left {
        return Err(left(run));
    }
    let mut screen = Screen::new(manner);
    if let (Some(notice), Output::Json) = (end_of(run), manner.output) {
        screen.news(&notice);
    } else if manner.output == Output::Human && !manner.draws() {
        tell_end(run);
    }
    screen.end(shown);
    Ok(exit(shown, manner))
}

/// The same, and nothing is told.
pub async fn until_rest(line: &mut Line<'_>, run: &RunId, manner: Manner) -> Result<Box<Shown>, Failure> {
    let mut shown = line.look(run).await?;
    while !rests(&shown, manner) {
        match line.updates.next().await {
            Some(Incoming::Update(Update::Flow(update))) => {
                if matches!(update.as_ref(), FlowUpdate::Run(view) if view.run_id == *run) {
                    shown = line.look(run).await?;
                }
            }
            Some(Incoming::Update(_)) => {}
            Some(Incoming::Lagged) => shown = line.look(run).await?,
            None => shown = line.resume(run, manner).await?,
        }
    }
    Ok(shown)
}

/// For a run whose end nobody has followed: what would have been told of it.
pub fn tell_end(run: &RunRecord) {
    if let Some(notice) = end_of(run) {
        output::remark(&one_line(&notice.what.to_string()));
    }
}

/// What is told, and what has been.
struct Teller {
    screen: Screen,
    ends: Ends,
    /// Nothing follows before somebody does something, or nothing is to be told of the end.
    told_end: bool,
}

impl Teller {
    fn new(manner: Manner) -> Self {
        Self { screen: Screen::new(manner), ends: Ends::default(), told_end: !manner.fresh }
    }

    fn news(&mut self, notice: &FlowNotice, shown: &Shown) {
        if is_last(&notice.what) {
            // What was lost on the way comes before it.
            self.missed(shown);
            self.told_end = true;
        }
        if self.ends.is_new(&notice.what) {
            self.screen.news(notice);
        }
    }

    fn missed(&mut self, shown: &Shown) {
        self.ends.missed(&shown.run).iter().for_each(|notice| self.screen.news(notice));
    }

    /// Whoever could not keep up has missed something; the record has it, too.
    fn catch_up(&mut self, shown: &Shown) {
        self.screen.begin(shown);
        self.missed(shown);
    }

    fn end(&mut self, shown: &Shown) {
        if !self.told_end {
            self.missed(shown);
            if let Some(notice) = end_of(&shown.run) {
                self.screen.news(&notice);
            }
        }
        self.screen.end(shown);
    }
}

/// Nothing follows it before somebody does something.
fn is_last(news: &News) -> bool {
    matches!(news, News::RunEnded { .. } | News::Asks { .. })
}

fn rests(shown: &Shown, manner: Manner) -> bool {
    match shown.run.status {
        RunStatus::Succeeded
        | RunStatus::Degraded
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::Interrupted => true,
        RunStatus::Waiting => !manner.wait_for_people,
        RunStatus::Queued | RunStatus::Running => false,
    }
}

fn exit(shown: &Shown, manner: Manner) -> Exit {
    let timed_out = shown.run.error.as_ref().is_some_and(|error| error.starts_with(TIMED_OUT));
    match shown.run.status {
        RunStatus::Succeeded => Exit::Completed,
        RunStatus::Degraded if manner.allow_degraded => Exit::Completed,
        RunStatus::Degraded => Exit::Code(4),
        RunStatus::Waiting => Exit::Code(75),
        RunStatus::Failed if timed_out => Exit::Code(124),
        RunStatus::Cancelled if shown.run.was_not_needed() => Exit::Completed,
        RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::Interrupted
        | RunStatus::Queued
        | RunStatus::Running => Exit::Failed,
    }
}

/// Where it is told.
enum Screen {
    /// JSON lines on stdout. What comes in one moment is written as one, here and below.
    Json(String),
    /// Lines on stderr.
    Lines(String),
    /// A tree that is drawn anew, on stderr.
    Tree(Live, Asking),
}

impl Screen {
    fn new(manner: Manner) -> Self {
        match manner.output {
            Output::Json => Self::Json(String::new()),
            Output::Human if manner.draws() => {
                let colour = output::colours(&std::io::stderr(), manner.no_color);
                let asking = Asking::new(manner.wait_for_people);
                Self::Tree(Live::new(output::look(manner.no_color).width, colour), asking)
            }
            Output::Human => Self::Lines(String::new()),
        }
    }

    fn begin(&mut self, shown: &Shown) {
        if let Self::Tree(live, asking) = self {
            output::draw(&live.begin(&shown.run));
            for stage in shown.run.stages.iter().flatten() {
                if stage.status == StageStatus::Waiting {
                    asking.ask(live, &shown.run.run_id, &stage.name);
                }
            }
        }
    }

    /// It waits for its turn, which may take long.
    fn queued(&mut self, run: &RunId, before: Option<&RunId>) {
        let behind = before.map(|before| format!(" behind {before}")).unwrap_or_default();
        let told = format!("{run} is queued{behind}");
        match self {
            Self::Json(lines) => {
                let line =
                    serde_json::json!({ "run_id": run, "status": RunStatus::Queued, "behind": before });
                lines.push_str(&output::json_line(&line).unwrap_or_default());
            }
            Self::Lines(lines) => lines.push_str(&(told + "\n")),
            Self::Tree(live, _) => output::draw(&live.above(&told)),
        }
    }

    fn run(&mut self, view: &crate::domain::flow::view::RunView) {
        if let Self::Tree(live, _) = self {
            output::draw(&live.run(view));
        }
    }

    fn stage(&mut self, view: &crate::domain::flow::view::StageView) {
        if let Self::Tree(live, _) = self {
            output::draw(&live.stage(view));
        }
    }

    fn news(&mut self, notice: &FlowNotice) {
        match self {
            Self::Json(lines) => lines.push_str(&output::json_line(notice).unwrap_or_default()),
            Self::Lines(lines) => {
                lines.push_str(&one_line(&notice.what.to_string()));
                lines.push('\n');
            }
            Self::Tree(live, asking) => match &notice.what {
                News::HookFailed { .. } | News::Held { .. } => {
                    output::draw(&live.above(&one_line(&notice.what.to_string())));
                }
                News::Asks { run, checkpoint } => asking.ask(live, run, &checkpoint.stage),
                News::StageStarted { stage, .. } | News::StageEnded { stage, .. } => {
                    asking.forget(stage);
                }
                News::RunStarted { .. } | News::StageRetrying { .. } | News::RunEnded { .. } => {}
            },
        }
    }

    fn flush(&mut self) {
        match self {
            // A reader that is gone does not end the run.
            Self::Json(lines) => drop(output::print(&std::mem::take(lines))),
            Self::Lines(lines) => output::draw(&std::mem::take(lines)),
            Self::Tree(..) => {}
        }
    }

    fn end(&mut self, shown: &Shown) {
        self.flush();
        match self {
            Self::Json(_) => {}
            Self::Lines(_) | Self::Tree(..) => {
                if let Self::Tree(live, _) = self {
                    output::draw(&live.begin(&shown.run));
                }
                let run = &shown.run.run_id;
                if shown.run.status == RunStatus::Interrupted {
                    output::remark(&format!(
                        "{run} was interrupted, because its supervisor was told to end; to go on with it: restage continue {run}"
                    ));
                }
                if shown.run.status == RunStatus::Waiting {
                    let stages = shown.run.stages.iter().flatten();
                    for stage in stages.filter(|stage| stage.status == StageStatus::Waiting) {
                        output::remark(&asks(run, &stage.name));
                    }
                }
            }
        }
    }
}

/// So long is waited, at most, for the answer to what has just been asked for.
const LAST_ANSWER: std::time::Duration = std::time::Duration::from_secs(1);

/// It is under way.
const LAST_NEWS: std::time::Duration = std::time::Duration::from_millis(200);
