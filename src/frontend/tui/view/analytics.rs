//! How retries went: over all at the top, each runner in a table below.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::analytics::{BARS, HOLDS, Report, Stats};
use super::super::model::Model;
use super::super::theme::{Ink, Theme};
use super::runners::short;
use super::text::{pad, right, wrap};
use super::{put, put_lines, span};
use crate::domain::ids::RunnerName;
use crate::domain::view::seconds;
use crate::frontend::text::span as time_span;

const LABEL: usize = 22;
const BAR: usize = 20;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let report = report(model);
    if report.all.attempts == 0 {
        let text = "Nothing has been tried so far: there is something to see here after the first attempts.";
        let mut lines = vec![heading(model, &report.all), Line::default()];
        let wrapped = wrap(text, usize::from(area.width.saturating_sub(4)));
        lines
            .extend(wrapped.into_iter().map(|line| Line::from(span(model, Ink::Quiet, format!("  {line}")))));
        put_lines(frame, area, lines, 0);
        return;
    }
    let mut top = vec![heading(model, &report.all), Line::default()];
    top.extend(overall(model, &report.all));
    let histogram = histogram(model, &report.all);
    // Beside one another where there is room for both.
    let wide = area.width >= 100;
    let left = Rect { width: if wide { 64 } else { area.width }, ..area };
    let histogram_height = u16::try_from(histogram.len()).unwrap_or(0);
    let top_height = u16::try_from(top.len()).unwrap_or(0);
    put_lines(frame, left, top, 0);
    let table_top = if wide {
        let beside = Rect {
            x: area.x + 66,
            y: area.y + 2,
            width: area.width - 66,
            height: area.height.saturating_sub(2),
        };
        put_lines(frame, beside, histogram, 0);
        top_height.max(histogram_height + 2)
    } else if area.height > top_height + histogram_height + 6 {
        let below = Rect { y: area.y + top_height + 1, height: histogram_height, ..area };
        put_lines(frame, below, histogram, 0);
        top_height + 1 + histogram_height
    } else {
        top_height
    } + 1;
    if area.height > table_top {
        let below = Rect { y: area.y + table_top, height: area.height - table_top, ..area };
        table(frame, below, model, &report.runners);
    }
}

/// The runners in the order of the table.
pub fn order(model: &Model) -> Vec<RunnerName> {
    report(model).runners.into_iter().map(|(name, _)| name).collect()
}

fn report(model: &Model) -> Report {
    Report::of(model.fleet.runners().iter().map(|runner| &**runner), &model.history, model.now)
}

fn heading(model: &Model, all: &Stats) -> Line<'static> {
    let since = all.since.map(|at| format!(" since {}", model.clock(at))).unwrap_or_default();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (runners, attempts) = (count(model.fleet.runners().len(), "runner"), count(all.attempts, "attempt"));
    Line::from(vec![
        span(model, Ink::Accent, " Retry analytics"),
        span(model, Ink::Quiet, format!("   {runners}, {attempts}{since}")),
    ])
}

fn overall(model: &Model, all: &Stats) -> Vec<Line<'static>> {
    let label = |text: &str| span(model, Ink::Quiet, format!("  {}", pad(text, LABEL, model.theme())));
    let none = || span(model, Ink::Quiet, "nothing has crashed");
    let mut lines = Vec::new();
    let mut success = vec![label("success after retry")];
    match all.tried() {
        Some(tried) => {
            let ink = if all.lost == 0 { Ink::Good } else { Ink::Waiting };
            success.extend(bar(model, ink, all.recovered, tried));
            success.push(Span::raw(format!(
                " {:>3}%  {} of {tried}",
                all.recovered * 100 / tried,
                all.recovered
            )));
        }
        None if all.crashes > 0 => success.push(span(model, Ink::Quiet, "not decided yet")),
        None => success.push(none()),
    }
    lines.push(Line::from(success));
    let recover = match all.mean_time_to_recover() {
        Some(mean) => Span::raw(time_span(mean)),
        None if all.crashes > 0 => span(model, Ink::Quiet, "nothing has recovered so far"),
        None => none(),
    };
    lines.push(Line::from(vec![label("mean time to recover"), recover]));
    let budget = model.supervisor.as_ref().and_then(|fleet| fleet.budget);
    let mut line = vec![label("retry budget")];
    match budget {
        Some(budget) => {
            let (used, max) =
                (usize::try_from(budget.used).unwrap_or(0), usize::try_from(budget.max).unwrap_or(1));
            line.extend(bar(model, if used >= max { Ink::Bad } else { Ink::Accent }, used, max));
            #[expect(clippy::cast_precision_loss, reason = "seconds of a window, far below 2^52")]
            let window = seconds(budget.per_seconds as f64);
            line.push(Span::raw(format!(" {used}/{max} in {window}")));
        }
        None => line.push(span(model, Ink::Quiet, "off")),
    }
    lines.push(Line::from(line));
    let crashed: u64 = all.day.iter().sum();
    let mut line = vec![label("crashes, last day")];
    line.extend(spark(
        &all.day,
        model.theme(),
        model.theme().style(Ink::Border),
        model.theme().style(Ink::Bad),
    ));
    line.push(Span::raw(format!(" {crashed}")));
    lines.push(Line::from(line));
    let scale = format!("24h ago{}now", " ".repeat(all.day.len() / 2 - 10));
    lines.push(Line::from(vec![label(""), span(model, Ink::Quiet, scale)]));
    let held = seconds(HOLDS.as_secs_f64());
    let note = format!("  recovered: completed, or up for {held}, after a crash");
    lines.push(Line::from(span(model, Ink::Quiet, note)));
    lines
}

fn histogram(model: &Model, all: &Stats) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(span(model, Ink::Accent, " Attempts until it worked"))];
    let most = all.took.iter().copied().max().unwrap_or(0).max(all.lost).max(1);
    for (at, count) in all.took.iter().enumerate() {
        let label = if at + 1 == BARS { format!("{BARS} or more") } else { (at + 1).to_string() };
        lines.push(histogram_line(model, &label, *count, most, Ink::Good));
    }
    lines.push(histogram_line(model, "gave up", all.lost, most, Ink::Bad));
    lines
}

fn histogram_line(model: &Model, label: &str, count: usize, most: usize, ink: Ink) -> Line<'static> {
    let filled = (count * BAR).div_ceil(most);
    let bar = model.theme().glyph("█", "#").repeat(filled);
    Line::from(vec![
        span(model, Ink::Quiet, format!("  {} ", right(label, 9, model.theme()))),
        span(model, ink, bar),
        Span::raw(format!(" {count}")),
    ])
}

fn bar(model: &Model, ink: Ink, part: usize, whole: usize) -> [Span<'static>; 2] {
    let filled = (part * BAR / whole.max(1)).min(BAR);
    [
        span(model, ink, model.theme().glyph("█", "#").repeat(filled)),
        span(model, Ink::Border, model.theme().glyph("░", ".").repeat(BAR - filled)),
    ]
}

/// Two half hours a cell; a quiet hour is a thin line, not a gap.
fn spark(counts: &[u64], theme: &Theme, none: Style, some: Style) -> Vec<Span<'static>> {
    const UNICODE: [&str; 9] = ["▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    const ASCII: [&str; 9] = ["_", ".", ".", "-", "-", "=", "=", "#", "#"];
    let levels = if theme.ascii { ASCII } else { UNICODE };
    let pairs: Vec<u64> = counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    let most = pairs.iter().copied().max().unwrap_or(0).max(1);
    pairs
        .into_iter()
        .map(|count| {
            // The smallest count that is not nothing stands out from nothing.
            let level = if count == 0 { 0 } else { (count * 7).div_ceil(most) + 1 };
            let level = usize::try_from(level).unwrap_or(usize::MAX).min(levels.len() - 1);
            Span::styled(levels[level], if count == 0 { none } else { some })
        })
        .collect()
}

fn table(frame: &mut Frame<'_>, area: Rect, model: &Model, runners: &[(RunnerName, Stats)]) {
    let theme = model.theme();
    let width = usize::from(area.width);
    let names = super::runners::name_width(
        runners.iter().map(|(name, _)| super::runners::cells(name.as_str())),
        width / 3,
    );
    let with_spark = width >= names + 62 + 26;
    let title = format!(
        "  {} {} {} {} {}  {}{}",
        pad("", names, theme),
        right("attempts", 8, theme),
        right("crashes", 8, theme),
        right("recovered", 10, theme),
        right("mean", 8, theme),
        pad("last crash", 14, theme),
        if with_spark { "  last day" } else { "" },
    );
    put(frame, Rect { height: 1, ..area }, Line::from(span(model, Ink::Quiet, title)));
    let rows = usize::from(area.height.saturating_sub(1));
    let at = model.pointed.as_ref().and_then(|name| runners.iter().position(|(one, _)| one == name));
    let first = at.map_or(0, |at| (at + 1).saturating_sub(rows));
    for ((name, stats), y) in runners.iter().skip(first).take(rows).zip(area.y + 1..) {
        let selected = model.pointed.as_ref() == Some(name);
        let ground = theme.style(if selected { Ink::Selection } else { Ink::Text });
        let ink = |ink: Ink| if selected { ground } else { theme.style(ink) };
        let recovered =
            stats.tried().map_or_else(|| "-".to_owned(), |tried| format!("{}/{tried}", stats.recovered));
        let mean = stats.mean_time_to_recover().map_or_else(|| "-".to_owned(), time_span);
        let last = stats.last.as_ref().map(short).unwrap_or_default();
        let crashes = if stats.crashes > 0 { Ink::Bad } else { Ink::Quiet };
        let mut line = Line::from(vec![
            Span::styled(if selected { theme.glyph("▌ ", "> ") } else { "  " }, ink(Ink::Accent)),
            Span::styled(pad(name.as_str(), names, theme), ink(Ink::Text)),
            Span::styled(format!(" {:>8}", stats.attempts), ink(Ink::Text)),
            Span::styled(format!(" {:>8}", stats.crashes), ink(crashes)),
            Span::styled(format!(" {recovered:>10} {mean:>8}  "), ink(Ink::Text)),
            Span::styled(pad(&last, 14, theme), ink(Ink::Quiet)),
        ]);
        if with_spark {
            line.push_span(Span::styled("  ", ink(Ink::Text)));
            line.extend(spark(&stats.day, theme, ink(Ink::Border), ink(Ink::Bad)));
        }
        if selected {
            let missing = width.saturating_sub(line.width());
            line.push_span(Span::styled(" ".repeat(missing), ground));
        }
        put(frame, Rect { y, height: 1, ..area }, line);
    }
}
