//! `restage` in a terminal: sees to it that somebody supervises, then shows the dashboard as a client of that supervisor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use directories::BaseDirs;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::commands::up;
use crate::cli::editor::{Folder, Sheet};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::link::{self, Found};
use crate::cli::workspace::Workspace;
use crate::cli::{args::Global, background, engine, output, runtime, settings, terminal};
use crate::config::settings::{of_flow, of_runner, of_stage, of_workspace};
use crate::config::{Loaded, Missing, Origin};
use crate::control::client::{Client, Updates};
use crate::domain::ids::RunnerName;
use crate::domain::keys::Keymap;
use crate::domain::spec::{RunnerSpec, Stdio, TuiSpec};
use crate::domain::verdict::Outcome as End;
use crate::domain::view::AttemptView;
use crate::frontend::tui::event::{
    ConfigNews, ConfigOf, ConfigRow, ConfigSection, EditOrder, Edited, Manners, RunnerFacts,
};
use crate::frontend::tui::model::Setup;
use crate::frontend::tui::run::{self, Host, Later, Left};
use crate::ports::Clock;
use crate::supervisor::clock::SystemClock;
use crate::supervisor::retry_log;

pub fn run(workspace: &Workspace, global: &Global, names: &[String]) -> Outcome {
    let (tui, asked) = match runtime()?.block_on(link::settled(workspace)) {
        Found::Nobody => {
            // What is wrong with the config is told here, and not by a process that nobody sees.
            let loaded = settings::load(workspace, Missing::Error)?;
            up::choose(&loaded, names)?;
            background::start(workspace, global.debug, names)?;
            (loaded.tui, Vec::new())
        }
        // It goes on whatever the config looks like by now.
        Found::Somebody(_) => {
            let loaded = settings::read(workspace, Missing::Warning).ok();
            let names = names.iter().map(|name| RunnerName::trusted(name.as_str())).collect();
            (loaded.map(|loaded| loaded.spec.tui).unwrap_or_default(), names)
        }
    };
    let (manners, trouble) = manners(&tui, global.no_color);
    let setup = Setup {
        now: SystemClock.now().wall,
        zone: TimeZone::system(),
        home: BaseDirs::new().map(|folders| folders.home_dir().to_owned()),
        manners,
        trouble,
        start: asked,
        who: engine::who(),
        objects: workspace.objects_dir(),
        ..Setup::default()
    };
    let host = Arc::new(Desk {
        workspace: workspace.clone(),
        debug: global.debug,
        no_color: global.no_color,
        edited: Arc::default(),
    });
    let runtime = runtime()?;
    let left = runtime.block_on(run::run(setup, host));
    // Whatever still reads a file on another thread is not waited for.
    runtime.shutdown_background();
    let left = left.map_err(|error| Failure::io("show the dashboard", &error))?;
    Ok(leave(left))
}

/// And what could not be had as the config wants it.
fn manners(tui: &TuiSpec, no_color: bool) -> (Manners, Option<String>) {
    let (theme, trouble) = terminal::theme(&tui.theme, no_color);
    // The config was read without clashes, so the keys fit together.
    let keymap = Keymap::with(&tui.keys).unwrap_or_default();
    let manners = Manners {
        keymap,
        theme,
        refresh: tui.refresh,
        notifications: tui.notifications,
        clipboard: tui.clipboard,
        log_tail_lines: tui.log_tail_lines,
    };
    (manners, trouble)
}

fn leave(left: Left) -> Exit {
    let count = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("one {what}")),
        more => Some(format!("{more} {what}s")),
    };
    let parts: Vec<String> =
        [count(left.live, "runner"), count(left.runs, "run")].into_iter().flatten().collect();
    if !parts.is_empty() {
        let go = if left.live + left.runs == 1 { "goes" } else { "go" };
        output::remark(&format!(
            "restage: {} {go} on; `restage` shows them again, `restage down` stops them",
            parts.join(" and ")
        ));
    }
    match left.end {
        run::End::Quit => Exit::Completed,
        run::End::Signal(signal) => Exit::Signal(signal),
        run::End::NoTerminal => Exit::Signal(libc::SIGHUP),
    }
}

/// What the dashboard asks of its surroundings.
struct Desk {
    workspace: Workspace,
    debug: bool,
    no_color: bool,
    /// Folders with edited files, on their way to whoever takes them in; they go when the dashboard is left.
    edited: Arc<Mutex<Vec<Folder>>>,
}

impl Host for Desk {
    fn now(&self) -> Timestamp {
        SystemClock.now().wall
    }

    fn dial(&self) -> Later<Result<Option<(Client, Updates)>, String>> {
        let workspace = self.workspace.clone();
        Box::pin(async move { link::connect(&workspace).await.map_err(|failure| failure.message()) })
    }

    fn summon(&self) -> Later<Result<(), String>> {
        let (workspace, debug) = (self.workspace.clone(), self.debug);
        Box::pin(async move {
            let started =
                tokio::task::spawn_blocking(move || background::start(&workspace, debug, &[])).await;
            match started {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(failure)) => Err(failure.message()),
                Err(_) => Err("start a supervisor: it was given up".to_owned()),
            }
        })
    }

    fn config(&self) -> ConfigNews {
        let path = settings::shown(&self.workspace).display().to_string();
        match settings::read(&self.workspace, Missing::Warning) {
            Ok(loaded) => {
                let (manners, trouble) = manners(&loaded.spec.tui, self.no_color);
                let warnings = loaded.warnings.iter().map(ToString::to_string);
                ConfigNews {
                    path,
                    problems: warnings.chain(trouble).collect(),
                    runners: loaded.spec.runners.iter().map(facts).collect(),
                    flows: loaded.spec.flows.clone(),
                    sections: Some(sections(&loaded)),
                    manners: Some(manners),
                }
            }
            Err(diagnostics) => {
                let problems = diagnostics.0.iter().map(ToString::to_string).collect();
                ConfigNews { path, problems, ..ConfigNews::default() }
            }
        }
    }

    fn history(&self) -> Vec<(RunnerName, Vec<AttemptView>)> {
        let Ok(loaded) = settings::read(&self.workspace, Missing::Warning) else { return Vec::new() };
        let Some(dir) = loaded.spec.retry_log_dir else { return Vec::new() };
        let all = loaded.spec.runners.iter();
        all.map(|runner| (runner.name.clone(), history_of(&dir, &runner.name))).collect()
    }

    fn pager(&self, file: &Path) -> Command {
        let mut command = Command::new("sh");
        // $PAGER may hold options; the file is handed over whatever it is called.
        command.args(["-c", "${PAGER:-less} \"$1\"", "sh"]).arg(PathBuf::from(file));
        command
    }

    fn edit(&self, order: EditOrder) -> Later<Result<Option<Edited>, String>> {
        let (data_dir, folders) = (self.workspace.data_dir(), Arc::clone(&self.edited));
        Box::pin(async move {
            let gone = |_| "edit: it was given up".to_owned();
            let write = tokio::task::spawn_blocking(move || Sheet::write(&data_dir, order));
            let sheet = write.await.map_err(gone)??;
            let ended = tokio::process::Command::from(sheet.command()).status().await;
            let status = ended
                .map_err(|error| format!("start the editor: {error}; set $EDITOR to one that is there"))?;
            if !status.success() {
                return Err(format!(
                    "the editor ended with {status}, so nothing was changed; set $EDITOR to another one"
                ));
            }
            let file = sheet.file();
            let read = tokio::task::spawn_blocking(move || sheet.read(engine::who()));
            let Some((wish, folder)) = read.await.map_err(gone)?? else { return Ok(None) };
            folders.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
            Ok(Some(Edited { wish, file }))
        })
    }

    fn keep_edited(&self, file: &Path) {
        let mut folders = self.edited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = folders.iter().position(|folder| folder.holds(file)) {
            folders.swap_remove(place).keep();
        }
    }
}

fn facts(spec: &RunnerSpec) -> RunnerFacts {
    RunnerFacts {
        name: spec.name.clone(),
        log: spec.log.clone(),
        tty: spec.launch.stdio == Stdio::Tty,
        reset_after_seconds: spec.retry.reset_after.map(|after| after.as_secs_f64()),
        grace_seconds: spec.stop.grace.as_secs_f64(),
    }
}

fn sections(loaded: &Loaded) -> Vec<ConfigSection> {
    let origins = &loaded.origins;
    let row = |key, value, origin: Origin| ConfigRow {
        key,
        value,
        origin: origin.to_string(),
        set: origin != Origin::Default,
    };
    let workspace = of_workspace(&loaded.spec).into_iter();
    let rows = workspace.map(|one| row(one.key, one.value, origins.of_file(one.key))).collect();
    let mut sections = vec![ConfigSection { of: ConfigOf::Workspace, rows }];
    for spec in &loaded.spec.runners {
        let rows = of_runner(spec).into_iter();
        let rows = rows.map(|one| row(one.key, one.value, origins.of_runner(&spec.name, one.key))).collect();
        sections.push(ConfigSection { of: ConfigOf::Runner(spec.name.clone()), rows });
    }
    for flow in &loaded.spec.flows {
        let rows = of_flow(flow).into_iter();
        let rows = rows.map(|(key, value)| row(key, value, origins.of_flow(&flow.name, key))).collect();
        sections.push(ConfigSection { of: ConfigOf::Flow(flow.name.clone()), rows });
        for stage in &flow.stages {
            let of = |key| origins.of_stage(&flow.name, &stage.name, key);
            let rows = of_stage(stage).into_iter().map(|(key, value)| row(key, value, of(key)));
            // There may be many stages: what nobody has set is not told for each.
            let rows = rows.filter(|row| row.set).collect();
            let of = ConfigOf::Stage(flow.name.clone(), stage.name.clone());
            sections.push(ConfigSection { of, rows });
        }
    }
    sections
}

/// As in the views; a log that cannot be read tells nothing.
fn history_of(dir: &Path, name: &RunnerName) -> Vec<AttemptView> {
    let entries = retry_log::read(dir, name);
    let view = |entry: retry_log::AttemptEntry| AttemptView {
        attempt: entry.attempt,
        started_at: entry.started_at,
        ended_at: entry.ended_at,
        outcome: entry.verdict.map(|verdict| End {
            verdict,
            exit_code: entry.exit_code,
            signal: entry.signal,
            detail: entry.detail,
        }),
    };
    entries.into_iter().map(view).collect()
}
