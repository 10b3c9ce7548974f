//! All that the dashboard knows and shows. [`super::update`] changes it, [`super::view`] draws it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::attach::AttachPane;
use super::dialog::Dialog;
use super::event::{ConfigNews, ConfigOf, Manners, Order, RunnerFacts};
use super::fleet::Fleet;
use super::flows::Flows;
use super::input::LineInput;
use super::log::LogPane;
use super::rows::{Row, Sort};
use super::theme::Theme;
use super::toast::Toasts;
use crate::domain::flow::ids::{FlowName, RunId};
use crate::domain::flow::view::RunView;
use crate::domain::ids::RunnerName;
use crate::domain::keys::{Keymap, Place};
use crate::domain::view::{AttemptView, FleetView, RunnerView};

/// What the dashboard is opened with.
#[derive(Debug, Clone)]
pub struct Setup {
    pub size: (u16, u16),
    pub now: Timestamp,
    pub zone: TimeZone,
    /// Shown as `~`.
    pub home: Option<PathBuf>,
    pub manners: Manners,
    /// What could not be made as it was wanted, to be told once.
    pub trouble: Option<String>,
    /// Runners to be started once there is a connection.
    pub start: Vec<RunnerName>,
    /// Who judges what waits for a person.
    pub who: String,
    /// Below it lie the artifacts of runs.
    pub objects: PathBuf,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            size: (80, 24),
            now: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
            home: None,
            manners: Manners::default(),
            trouble: None,
            start: Vec::new(),
            who: String::new(),
            objects: PathBuf::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Screen {
    #[default]
    Main,
    Run,
    History,
    Analytics,
    Config,
    Help,
    Attach,
}

impl Screen {
    /// It is looked at for a moment, and leads back to where one was.
    pub const fn is_above(self) -> bool {
        matches!(self, Self::Analytics | Self::Config | Self::Help)
    }
}

/// The pane of the main screen that has the keyboard; alone on it where there is no room for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Focus {
    #[default]
    List,
    /// The selected runner and its log.
    Log,
}

/// The connection to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Never connected so far.
    Connecting,
    Up {
        supervisor_pid: i32,
    },
    /// It is gone, and a new one is being looked for.
    Lost {
        since: Timestamp,
        why: String,
        /// There is no supervisor, and none is starting.
        nobody: bool,
    },
}

/// The table of runners, and below them of the latest runs.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// By name: rows may move.
    pub selected: Option<RunnerName>,
    /// A run is highlighted, and no runner.
    pub run: Option<RunId>,
    /// Where it stood last, for when it goes away.
    pub index: usize,
    /// The first row on the screen.
    pub offset: usize,
    /// How many of them fit.
    pub height: usize,
    pub rows: Vec<Row>,
    pub filter: LineInput,
    /// The filter is being typed.
    pub typing: bool,
    pub unfinished: bool,
    pub sort: Sort,
    /// `rows` has to be made anew.
    pub stale: bool,
}

impl List {
    /// Not all runners are listed, or not in the order of the config: a line below the list says so.
    pub fn is_narrowed(&self) -> bool {
        self.typing || !self.filter.is_empty() || self.unfinished || self.sort != Sort::Config
    }
}

#[derive(Debug, Clone)]
pub struct Model {
    pub setup: Setup,
    pub now: Timestamp,
    pub link: Link,
    pub workspace: PathBuf,
    pub fleet: Fleet,
    pub flows: Flows,
    pub supervisor: Option<FleetView>,
    pub config: Option<ConfigNews>,
    /// Attempts of the retry logs, older ones than those of the views among them.
    pub history: HashMap<RunnerName, Vec<AttemptView>>,

    pub screen: Screen,
    /// The screen that one which is above others leads back to.
    pub under: Screen,
    pub focus: Focus,
    pub zoom: bool,
    pub list: List,
    /// Of the screen that is shown, where it scrolls as a whole.
    pub scroll: usize,
    /// The runner that the config screen or the analytics point at, where that is not the selected one.
    pub pointed: Option<RunnerName>,
    /// The flow that the config screen points at instead of a runner.
    pub pointed_flow: Option<FlowName>,
    pub dialog: Option<Dialog>,
    /// When a question was answered last by Enter: one that follows at once is no answer to what stands there now.
    pub answered: Option<Timestamp>,
    /// Everything was told to stop; nothing goes on when the dashboard is left.
    pub stopping: bool,
    pub toasts: Toasts,
    /// Requests without an answer so far: a second one for the same runner waits for it by not being made.
    pub pending: HashMap<RunnerName, Order>,
    pub log: LogPane,
    pub attach: Option<AttachPane>,

    /// Something on the screen has changed.
    pub dirty: bool,
    /// When figures are to be asked for next; `None` while an answer is awaited.
    pub figures_due: Option<Timestamp>,
    /// When they were asked for last.
    pub figures_asked: Timestamp,
    /// When something on the screen changes by itself.
    pub wake: Option<Timestamp>,
}

impl Model {
    pub fn new(setup: Setup) -> Self {
        let now = setup.now;
        Self {
            setup,
            now,
            link: Link::Connecting,
            workspace: PathBuf::new(),
            fleet: Fleet::default(),
            flows: Flows::new(now),
            supervisor: None,
            config: None,
            history: HashMap::new(),
            screen: Screen::default(),
            under: Screen::default(),
            focus: Focus::default(),
            zoom: false,
            list: List::default(),
            scroll: 0,
            pointed: None,
            pointed_flow: None,
            dialog: None,
            answered: None,
            stopping: false,
            toasts: Toasts::default(),
            pending: HashMap::new(),
            log: LogPane::default(),
            attach: None,
            dirty: true,
            figures_due: Some(now),
            figures_asked: now,
            wake: None,
        }
    }

    pub fn theme(&self) -> &Theme {
        &self.setup.manners.theme
    }

    pub fn keymap(&self) -> &Keymap {
        &self.setup.manners.keymap
    }

    /// Where keys go, unless a dialog or a line that is being typed takes them.
    pub fn place(&self) -> Place {
        self.place_on(self.screen)
    }

    /// Where they go on another screen.
    pub fn place_on(&self, screen: Screen) -> Place {
        match (screen, self.focus) {
            (Screen::Main, Focus::List) if self.list.run.is_some() => Place::RunRow,
            (Screen::Main, Focus::List) => Place::List,
            (Screen::Main, Focus::Log) => Place::Log,
            (Screen::Run, Focus::Log) => Place::StageLog,
            (Screen::Run, Focus::List) if self.flows.pane.as_ref().is_some_and(|pane| pane.in_tree) => {
                Place::Tree
            }
            (Screen::Run, Focus::List) => Place::Run,
            (Screen::History, _) => Place::History,
            (Screen::Analytics, _) => Place::Analytics,
            (Screen::Config, _) => Place::Config,
            (Screen::Help, _) => Place::Help,
            (Screen::Attach, _) => Place::Attach,
        }
    }

    /// How many runners go on when the dashboard is left.
    pub fn live_after(&self) -> usize {
        if self.stopping { 0 } else { self.fleet.live() }
    }

    /// And how many runs.
    pub fn runs_after(&self) -> usize {
        if self.stopping { 0 } else { self.flows.going() }
    }

    /// Where there are none, the supervisor is not asked about runs: its part for flows starts with the first question.
    pub fn has_flows(&self) -> bool {
        !self.flows.is_empty() || self.config.as_ref().is_some_and(|config| !config.flows.is_empty())
    }

    /// The run that is highlighted on the main screen, as it is now.
    pub fn selected_run(&self) -> Option<&Arc<RunView>> {
        self.flows.get(self.list.run.as_ref()?)
    }

    /// What the config screen can point at, in the order of the file: the runners, then the flows.
    pub fn configured(&self) -> Vec<ConfigOf> {
        let runners = self.fleet.runners().iter().map(|runner| ConfigOf::Runner(runner.name.clone()));
        let flows = self.config.iter().flat_map(|config| &config.flows);
        runners.chain(flows.map(|flow| ConfigOf::Flow(flow.name.clone()))).collect()
    }

    /// The runner that is highlighted, as it is now.
    pub fn selected(&self) -> Option<&Arc<RunnerView>> {
        self.fleet.get(self.list.selected.as_ref()?)
    }

    pub fn facts(&self, name: &RunnerName) -> Option<&RunnerFacts> {
        self.config.as_ref()?.runners.iter().find(|facts| facts.name == *name)
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// A moment as `12:41:07`, with the date where it was another day.
    pub fn clock(&self, at: Timestamp) -> String {
        let at = at.to_zoned(self.setup.zone.clone());
        let today = self.now.to_zoned(self.setup.zone.clone()).date() == at.date();
        at.strftime(if today { "%H:%M:%S" } else { "%b %d %H:%M" }).to_string()
    }

    /// A path as a person would write it.
    pub fn short_path(&self, path: &Path) -> String {
        let below = self.setup.home.as_ref().and_then(|home| path.strip_prefix(home).ok());
        let text = match below {
            Some(below) if below.as_os_str().is_empty() => "~".to_owned(),
            Some(below) => format!("~/{}", below.display()),
            None => path.display().to_string(),
        };
        crate::frontend::text::one_line(&text)
    }
}
