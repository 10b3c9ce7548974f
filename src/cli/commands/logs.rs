//! `restage logs NAME`: from the disk, so it works with no supervisor, too. Of a stage, [`stage_logs`] tells which one.

use std::fs::File;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::stage_logs;
use crate::cli::args::Lines;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::workspace::Workspace;
use crate::cli::{link, output};
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::control::watch::{self, Watch};
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::spec::LogSpec;
use crate::domain::view::Update;
use crate::frontend::text::word;
use crate::logs::blocks::{Piece, open_log};
use crate::logs::lines::{GapNote, LogLine};
use crate::logs::names::{attempt_log, attempts_of};
use crate::logs::sanitize::{Keep, Sanitizer};
use crate::logs::tail::{Follow, News, tail};

/// More is not read for the last lines, however long they are.
const MAX_TAIL_BYTES: u64 = 256 << 20;

/// Whose log it is.
#[derive(Debug, Clone)]
pub enum Whose {
    Runner,
    Stage { run: RunId, stage: StageName },
}

#[derive(Debug, Clone)]
pub struct Options {
    /// As the log is named.
    pub name: RunnerName,
    /// Whether the config knows it; otherwise it may have been removed and its logs are still there.
    pub known: bool,
    pub of: Whose,
    pub attempt: Option<u32>,
    pub lines: Lines,
    pub follow: bool,
    pub no_color: bool,
    /// As objects, one a line, with this name.
    pub json: Option<String>,
}

pub async fn run(workspace: &Workspace, log: LogSpec, options: Options) -> Outcome {
    let mut reader = Reader::open(log, &options)?;
    if !reader.print_end(options.lines)? || !options.follow {
        reader.page.end_line()?;
        return Ok(Exit::Completed);
    }
    let end = match &options.of {
        Whose::Runner => reader.follow(rested(workspace, &options.name)).await?,
        Whose::Stage { run, stage } => reader.follow(stage_logs::rested(workspace, run, stage)).await?,
    };
    let Some(end) = end else { return Ok(Exit::Completed) };
    // What was written before it rested may have come after the last look.
    if reader.print_news()? {
        while reader.turn_over()? {
            reader.print_news()?;
        }
        reader.page.end_line()?;
        output::remark(&format!("==> {end} <=="));
    }
    Ok(Exit::Completed)
}

/// Resolves with the reason when nothing more will be written: the runner rests, or nobody supervises any more.
async fn rested(workspace: &Workspace, name: &RunnerName) -> Result<String, Failure> {
    let mut connected = link::connect(workspace).await?;
    while let Some((client, mut updates)) = connected {
        match rested_one(&client, &mut updates, name).await {
            Ok(word) => return Ok(format!("{name} is {word}; `restage start {name}` starts it again")),
            Err(ClientError::Gone) => connected = link::reconnect(workspace).await?,
            Err(error) => return Err(Failure::of_client(format!("follow {name}"), &error)),
        }
    }
    Ok(format!("no supervisor runs, so {name} writes nothing more; `restage up` starts one"))
}

async fn rested_one(
    client: &Client,
    updates: &mut Updates,
    name: &RunnerName,
) -> Result<&'static str, ClientError> {
    client.subscribe().await?;
    loop {
        let snapshot = client.snapshot(false).await?;
        // Before the keeper has answered, nothing has been started that will be.
        let begun = snapshot.fleet.keeper_trouble.is_none();
        match snapshot.runners.iter().find(|runner| runner.name == *name) {
            Some(runner) if begun && !runner.status.is_live() => return Ok(word(runner)),
            None if begun => return Ok("no longer in the config"),
            Some(_) | None => {}
        }
        loop {
            match updates.next().await {
                Some(Incoming::Update(Update::Runner(changed)))
                    if changed.name != *name || changed.status.is_live() => {}
                Some(Incoming::Update(Update::Notice(_))) => {}
                Some(Incoming::Update(_) | Incoming::Lagged) => break,
                None => return Err(ClientError::Gone),
            }
        }
    }
}

struct Reader {
    log: LogSpec,
    name: RunnerName,
    attempt: Attempt,
    path: PathBuf,
    follow: Follow,
    page: Page,
}

impl Reader {
    fn open(log: LogSpec, options: &Options) -> Result<Self, Failure> {
        let act = match &options.of {
            Whose::Runner => format!("read the log of {}", options.name),
            Whose::Stage { run, .. } => format!("read the log of {run}/{}", options.name),
        };
        let attempts = attempts_of(&log.dir, &log.template, &options.name)
            .map_err(|error| Failure::io(format!("list the logs in {}", log.dir.display()), &error))?;
        let nothing = |cause: String, hint: String| Err(Failure::new(Exit::Nothing, &act, cause).hint(hint));
        let attempt = match (options.attempt, attempts.last()) {
            (_, None) if options.known => {
                let hint = match &options.of {
                    Whose::Runner => format!("`restage start {}` starts it", options.name),
                    Whose::Stage { run, .. } => format!("what has become of it: restage show {run}"),
                };
                return nothing("it has no log yet".into(), hint);
            }
            (_, None) => {
                return nothing(
                    format!("no runner is called {}", options.name),
                    "`restage status` lists the names".into(),
                );
            }
            (None, Some(last)) => *last,
            (Some(number), Some(last)) => {
                let Some(attempt) = attempts.iter().find(|attempt| attempt.get() == number) else {
                    let first = attempts.first().unwrap_or(last);
                    return nothing(
                        format!("there is none of attempt {number}"),
                        format!("there are logs of the attempts {first} to {last}"),
                    );
                };
                *attempt
            }
        };
        let path = attempt_log(&log, &options.name, attempt);
        let file = open(&path)?;
        let page = match &options.json {
            None => Page::new(options.no_color),
            Some(name) => Page::Objects { name: name.clone(), attempt, line: Vec::new() },
        };
        Ok(Self { log, name: options.name.clone(), attempt, path, follow: Follow::new(file, 0), page })
    }

    /// Prints what was asked for and stands at the end then. Says whether anybody still reads.
    fn print_end(&mut self, lines: Lines) -> Result<bool, Failure> {
        let Lines::Last(lines) = lines else { return self.print_news() };
        let file = open(&self.path)?;
        let tail = tail(&file, lines, MAX_TAIL_BYTES).map_err(|error| self.failed(&error))?;
        self.follow = Follow::new(file, tail.end);
        for line in &tail.lines {
            let more = match line {
                LogLine::Text { bytes, complete, .. } => {
                    self.page.print(bytes)? && (!complete || self.page.print(b"\n")?)
                }
                LogLine::Gap { len, .. } => self.page.gap(*len)?,
            };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn print_news(&mut self) -> Result<bool, Failure> {
        loop {
            let news = self.follow.read_new().map_err(|error| self.failed(&error))?;
            if news.is_empty() {
                return Ok(true);
            }
            for one in news {
                let more = match one {
                    News::Piece(Piece::Data { bytes, .. }) => self.page.print(&bytes)?,
                    News::Piece(Piece::Gap { len, .. }) => self.page.gap(len)?,
                    News::Shrunk { .. } => {
                        output::remark(&format!("==> {} was truncated <==", self.path.display()));
                        true
                    }
                };
                if !more {
                    return Ok(false);
                }
            }
        }
    }

    /// Goes on until the reader is gone, which is `None`, or nothing more will come, with the reason. A signal ends us
    /// anyway.
    async fn follow(
        &mut self,
        rested: impl Future<Output = Result<String, Failure>>,
    ) -> Result<Option<String>, Failure> {
        let watch = Watch::new();
        watch.add(&self.log.dir, &[watch::Of::Arrivals]);
        watch.add(&self.path, &[watch::Of::Writes]);
        let unread = output::unread();
        tokio::pin!(rested, unread);
        loop {
            // Whatever is written between the watch and this look is seen by one of them.
            if !self.print_news()? {
                return Ok(None);
            }
            if self.turn_over()? {
                watch.add(&self.path, &[watch::Of::Writes]);
                continue;
            }
            tokio::select! {
                () = watch.changed() => {}
                end = &mut rested => return end.map(Some),
                () = &mut unread => return Ok(None),
            }
        }
    }

    /// The next attempt has begun: goes on with its log.
    fn turn_over(&mut self) -> Result<bool, Failure> {
        let attempt = self.attempt.next();
        let path = attempt_log(&self.log, &self.name, attempt);
        if !path.exists() {
            return Ok(false);
        }
        // What came between the last look and the end of the attempt belongs before the next one.
        self.print_news()?;
        self.page.turn_over(attempt)?;
        output::remark(&format!("==> {} <==", path.display()));
        self.follow = Follow::new(open(&path)?, 0);
        (self.attempt, self.path) = (attempt, path);
        Ok(true)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::io(format!("read {}", self.path.display()), error)
    }
}

fn open(path: &std::path::Path) -> Result<File, Failure> {
    open_log(path).map_err(|error| Failure::io(format!("open {}", path.display()), &error))
}

/// Where the bytes go.
enum Page {
    /// To a file or a program, as they are.
    Bytes,
    /// To a terminal, made harmless.
    Terminal(Sanitizer),
    /// To a program, one object a line.
    Objects { name: String, attempt: Attempt, line: Vec<u8> },
}

/// A longer line is several objects.
const MAX_LINE: usize = 1 << 20;

impl Page {
    fn new(no_color: bool) -> Self {
        let stdout = io::stdout();
        let keep = if output::colours(&stdout, no_color) { Keep::Colours } else { Keep::Nothing };
        if stdout.is_terminal() { Self::Terminal(Sanitizer::new(keep)) } else { Self::Bytes }
    }

    fn print(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self {
            Self::Bytes => output::print_bytes(bytes),
            Self::Terminal(sanitizer) => {
                let mut text = String::with_capacity(bytes.len());
                sanitizer.push(bytes, &mut text);
                output::print(&text)
            }
            Self::Objects { .. } => {
                for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let Self::Objects { line, .. } = self else { return Ok(true) };
                    line.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
                    if (part.ends_with(b"\n") || line.len() >= MAX_LINE) && !self.print_line()? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn print_line(&mut self) -> Result<bool, Failure> {
        let Self::Objects { name, attempt, line } = self else { return Ok(true) };
        let text = String::from_utf8_lossy(line).into_owned();
        line.clear();
        output::print_json(&serde_json::json!({ "name": name, "attempt": attempt.get(), "line": text }))
    }

    /// The log ends here, with or without an end of its last line.
    fn end_line(&mut self) -> Result<bool, Failure> {
        match self {
            Self::Objects { line, .. } if !line.is_empty() => self.print_line(),
            Self::Bytes | Self::Terminal(_) | Self::Objects { .. } => Ok(true),
        }
    }

    fn turn_over(&mut self, to: Attempt) -> Result<bool, Failure> {
        let more = self.end_line()?;
        if let Self::Objects { attempt, .. } = self {
            *attempt = to;
        }
        Ok(more)
    }

    /// What is missing is told where a person reads; a program gets what is there.
    fn gap(&mut self, bytes: u64) -> Result<bool, Failure> {
        let note = GapNote(bytes).to_string();
        match self {
            Self::Terminal(_) => output::print(&format!("{note}\n")),
            Self::Bytes | Self::Objects { .. } => {
                output::remark(&note);
                Ok(true)
            }
        }
    }
}
