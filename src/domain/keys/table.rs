//! Every action of the dashboard, once: its name, where it applies, its keys, what it does. The dispatcher, the footer,
//! the help screen, the command palette and the key `keys` of a config all read this table.

/// What a person can ask of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Up,
    Down,
    Top,
    Bottom,
    PageUp,
    PageDown,
    NextPane,
    PrevPane,
    Open,
    Back,

    Start,
    Stop,
    Restart,
    Kill,
    OpenLog,
    Attach,
    Explain,

    Filter,
    Unfinished,
    Sort,

    Search,
    SearchNext,
    SearchPrev,
    FilterLines,
    Regex,
    Follow,
    Wrap,
    Timestamps,
    PrevAttempt,
    NextAttempt,
    Left,
    Right,
    Select,
    Copy,
    Save,
    Pager,

    LeaveAttach,

    Retry,
    Approve,
    Reject,
    Proceed,
    CancelRun,
    StageLog,
    Look,
    Edit,
    Fork,
    Tree,
    PrevRun,
    NextRun,

    History,
    Analytics,
    Config,
    Help,
    Palette,
    Zoom,
    Reload,
    Redraw,
    Quit,

    StartAll,
    StopAll,
    RestartAll,
    KillAll,
    Detach,
    StopAndQuit,
    Summon,
}

/// Where the keyboard goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The table of runners.
    List,
    /// A run in that table.
    RunRow,
    /// The selected runner and its log.
    Log,
    /// The stages of a run.
    Run,
    /// The log of one of them.
    StageLog,
    /// The checkpoints of its lineage.
    Tree,
    /// All runs there were.
    History,
    Analytics,
    Config,
    Help,
    /// Every key but the way out goes to the runner.
    Attach,
}

impl Place {
    /// A log is shown there, and has the keyboard.
    pub const fn is_log(self) -> bool {
        matches!(self, Self::Log | Self::StageLog)
    }
}

/// Where an action applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere but in Attach.
    Everywhere,
    /// Wherever one runner is selected: the list, its log.
    Runner,
    /// Whatever lists runners or runs.
    List,
    Log,
    /// Wherever one run is selected.
    Run,
    /// Within a run: one of its stages or checkpoints is selected.
    Stage,
    Config,
    Attach,
}

impl Scope {
    pub const fn covers(self, place: Place) -> bool {
        match self {
            Self::Everywhere => !matches!(place, Place::Attach),
            Self::Runner => matches!(place, Place::List | Place::Log),
            Self::List => matches!(place, Place::List | Place::RunRow | Place::History),
            Self::Log => matches!(place, Place::Log | Place::StageLog),
            Self::Run => matches!(place, Place::RunRow | Place::Run | Place::Tree | Place::History),
            Self::Stage => matches!(place, Place::Run | Place::Tree),
            Self::Config => matches!(place, Place::Config),
            Self::Attach => matches!(place, Place::Attach),
        }
    }

    /// Whether there is a place where both apply, so that they cannot share a key.
    pub fn meets(self, other: Self) -> bool {
        PLACES.iter().any(|place| self.covers(*place) && other.covers(*place))
    }

    /// As a heading of the help.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Runner => "The selected runner",
            Self::List => "Lists of runners and runs",
            Self::Log => "Log",
            Self::Run => "The selected run",
            Self::Stage => "The selected stage or checkpoint of a run",
            Self::Config => "Config",
            Self::Attach => "Attached to a terminal",
        }
    }
}

pub const PLACES: [Place; 11] = [
    Place::List,
    Place::RunRow,
    Place::Log,
    Place::Run,
    Place::StageLog,
    Place::Tree,
    Place::History,
    Place::Analytics,
    Place::Config,
    Place::Help,
    Place::Attach,
];

pub const SCOPES: [Scope; 8] = [
    Scope::Everywhere,
    Scope::Runner,
    Scope::List,
    Scope::Run,
    Scope::Stage,
    Scope::Log,
    Scope::Config,
    Scope::Attach,
];

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    pub action: Action,
    /// As a config and the palette call it.
    pub name: &'static str,
    pub scope: Scope,
    /// Unless a config says otherwise; none means by the palette only.
    pub keys: &'static [&'static str],
    /// For the footer: a word or two.
    pub short: &'static str,
    /// For the help: a sentence without its full stop.
    pub doc: &'static str,
}

const fn bind(
    action: Action,
    name: &'static str,
    scope: Scope,
    keys: &'static [&'static str],
    short: &'static str,
    doc: &'static str,
) -> Binding {
    Binding { action, name, scope, keys, short, doc }
}

/// In the order in which footer and help show them.
#[rustfmt::skip]
pub const BINDINGS: &[Binding] = &[
    bind(Action::Down, "down", Scope::Everywhere, &["j", "Down"], "down", "One line down"),
    bind(Action::Up, "up", Scope::Everywhere, &["k", "Up"], "up", "One line up"),
    bind(Action::Top, "top", Scope::Everywhere, &["g", "Home"], "top", "To the first line"),
    bind(Action::Bottom, "bottom", Scope::Everywhere, &["G", "End"], "bottom", "To the last line"),
    bind(Action::PageUp, "page_up", Scope::Everywhere, &["PgUp", "ctrl-b"], "page up", "One page up"),
    bind(Action::PageDown, "page_down", Scope::Everywhere, &["PgDn", "ctrl-f"], "page down", "One page down"),
    bind(Action::NextPane, "next_pane", Scope::Everywhere, &["Tab"], "pane", "To the next pane"),
    bind(Action::PrevPane, "prev_pane", Scope::Everywhere, &["BackTab"], "pane back", "To the pane before"),
    bind(Action::Open, "open", Scope::Everywhere, &["Enter"], "open", "Open what is selected"),
    bind(Action::Back, "back", Scope::Everywhere, &["Esc"], "back", "One step back: close, clear, return"),

    bind(Action::Start, "start", Scope::Runner, &["s"], "start", "Start it now, with no retries used; during a backoff: retry now"),
    bind(Action::Stop, "stop", Scope::Runner, &["x"], "stop", "Stop it with all its processes; during a backoff: cancel the retry"),
    bind(Action::Kill, "kill", Scope::Runner, &["X"], "kill", "Stop it without stop signal and grace"),
    bind(Action::Restart, "restart", Scope::Runner, &["r"], "restart", "Stop it where needed, then start it with no retries used"),
    bind(Action::OpenLog, "log", Scope::Runner, &["l"], "log", "Its log, on the whole screen"),
    bind(Action::Explain, "explain", Scope::Runner, &["e"], "explain", "Why it is, or is not, running, and how its attempts ended"),
    bind(Action::Attach, "attach", Scope::Runner, &["a"], "attach", "Type into it, where it runs with stdio: tty"),

    bind(Action::Filter, "filter", Scope::List, &["/"], "filter", "Show only what matches: names, groups, statuses; of past runs also errors and inputs"),
    bind(Action::Unfinished, "unfinished", Scope::List, &["u"], "unfinished", "Show only what has not completed"),
    bind(Action::Sort, "sort", Scope::List, &["o"], "order", "Order by config, attention, cpu, memory"),

    bind(Action::Retry, "retry", Scope::Run, &["r"], "retry", "Retry it from here, or from what failed first; the plan is shown before anything runs"),
    bind(Action::Approve, "approve", Scope::Run, &["a"], "approve", "Look at what waits for you, and approve it"),
    bind(Action::Reject, "reject", Scope::Run, &["R"], "reject", "Send it back to be made again, with a word on what to do better"),
    bind(Action::Proceed, "continue", Scope::Run, &["C"], "continue", "Go on from where its branch stands"),
    bind(Action::CancelRun, "cancel", Scope::Run, &["x"], "cancel", "Cancel the run, and stop its stages with all their processes"),

    bind(Action::StageLog, "stage_log", Scope::Stage, &["l"], "log", "The log of the stage, on the whole screen"),
    bind(Action::Look, "look", Scope::Stage, &["v"], "look", "Look into what it left: outputs and artifacts; of a stage also the state that it read"),
    bind(Action::Edit, "edit", Scope::Stage, &["e"], "edit", "Edit what it left in $EDITOR; that makes a new version"),
    bind(Action::Fork, "branch", Scope::Stage, &["b"], "branch", "Begin a branch of its own there"),
    bind(Action::Tree, "tree", Scope::Stage, &["t"], "tree", "The tree of checkpoints beside the run, and back"),
    bind(Action::PrevRun, "prev_run", Scope::Stage, &["["], "run before", "The run that this one is a retry of"),
    bind(Action::NextRun, "next_run", Scope::Stage, &["]"], "run after", "The retry of this run"),

    bind(Action::Search, "search", Scope::Log, &["/"], "search", "Search in the log, or in what is shown there"),
    bind(Action::SearchNext, "search_next", Scope::Log, &["n"], "next", "To the next match"),
    bind(Action::SearchPrev, "search_prev", Scope::Log, &["N"], "previous", "To the match before"),
    bind(Action::FilterLines, "filter_lines", Scope::Log, &["&"], "lines", "Show only lines that match"),
    bind(Action::Regex, "regex", Scope::Log, &["ctrl-r"], "regex", "Read what is searched for as a regular expression, or as it stands"),
    bind(Action::Follow, "follow", Scope::Log, &["f"], "follow", "Stay at the end as it grows"),
    bind(Action::Wrap, "wrap", Scope::Log, &["w"], "wrap", "Wrap long lines, or cut them"),
    bind(Action::Timestamps, "timestamps", Scope::Log, &["t"], "times", "Show when lines were written, where that is known"),
    bind(Action::PrevAttempt, "prev_attempt", Scope::Log, &["["], "older", "The log of the attempt before; of what a stage left, the part before"),
    bind(Action::NextAttempt, "next_attempt", Scope::Log, &["]"], "newer", "The log of the next attempt, or the next part"),
    bind(Action::Left, "left", Scope::Log, &["Left"], "left", "To the left, where lines are cut"),
    bind(Action::Right, "right", Scope::Log, &["Right"], "right", "To the right, where lines are cut"),
    bind(Action::Select, "select", Scope::Log, &["v"], "select", "Begin or end a selection of lines"),
    bind(Action::Copy, "copy", Scope::Log, &["y"], "copy", "Copy the selection, or the screen"),
    bind(Action::Save, "save", Scope::Log, &["S"], "save", "Save the selection, or the log, as a file"),
    bind(Action::Pager, "pager", Scope::Log, &["p"], "pager", "Open the log in $PAGER"),

    bind(Action::LeaveAttach, "leave_attach", Scope::Attach, &["ctrl-]"], "leave", "Back to the dashboard; the runner goes on"),

    bind(Action::History, "history", Scope::Everywhere, &["H"], "history", "All runs there were"),
    bind(Action::Analytics, "analytics", Scope::Everywhere, &["A"], "analytics", "How retries went, over all and for each runner"),
    bind(Action::Config, "config", Scope::Everywhere, &["c"], "config", "The config in effect, with the origin of each value"),
    bind(Action::Reload, "reload", Scope::Config, &["R"], "reload", "Read the config file again now"),
    bind(Action::Zoom, "zoom", Scope::Everywhere, &["z"], "zoom", "The pane on the whole screen, and back; of a stage or a checkpoint, all that it left"),
    bind(Action::Palette, "palette", Scope::Everywhere, &[":"], "command", "Any action by its name"),
    bind(Action::Redraw, "redraw", Scope::Everywhere, &["ctrl-l"], "redraw", "Draw the whole screen anew"),
    bind(Action::Help, "help", Scope::Everywhere, &["?"], "help", "These keys"),
    bind(Action::Quit, "quit", Scope::Everywhere, &["q"], "quit", "Leave; with live runners it asks what becomes of them"),

    bind(Action::StartAll, "start_all", Scope::Everywhere, &[], "start all", "Start every runner"),
    bind(Action::StopAll, "stop_all", Scope::Everywhere, &[], "stop all", "Stop every runner"),
    bind(Action::RestartAll, "restart_all", Scope::Everywhere, &[], "restart all", "Restart every runner"),
    bind(Action::KillAll, "kill_all", Scope::Everywhere, &[], "kill all", "Kill every runner"),
    bind(Action::Detach, "detach", Scope::Everywhere, &[], "detach", "Leave, and let the runners go on"),
    bind(Action::StopAndQuit, "stop_and_quit", Scope::Everywhere, &[], "stop and quit", "Stop every runner and the supervisor, then leave"),
    bind(Action::Summon, "supervise", Scope::Everywhere, &["U"], "supervise", "Start a supervisor where none is left"),
];

impl Action {
    /// Its line in the table.
    pub fn binding(self) -> Option<&'static Binding> {
        BINDINGS.iter().find(|binding| binding.action == self)
    }

    pub fn by_name(name: &str) -> Option<Self> {
        BINDINGS.iter().find(|binding| binding.name == name).map(|binding| binding.action)
    }
}
