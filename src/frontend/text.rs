//! Small pieces of text: durations, sizes, colours, glyphs. Pure.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::domain::view::{RunnerStatus, RunnerView};

/// Colours, named for what they say. Never the only sign: a word stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Waiting,
    Bad,
    Quiet,
    Plain,
}

impl Tone {
    /// The text in its colour; without colours as it is.
    pub fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Waiting => "33",
            Self::Bad => "31",
            Self::Quiet => "2",
            Self::Plain => "",
        };
        if colour && !code.is_empty() && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The word for a person: `exhausted` and `ready` are told apart from `crashed` and `running`.
pub fn word(runner: &RunnerView) -> &'static str {
    match runner.status {
        RunnerStatus::Crashed if runner.exhausted => "exhausted",
        RunnerStatus::Running if runner.ready == Some(true) => "ready",
        RunnerStatus::Idle
        | RunnerStatus::Starting
        | RunnerStatus::Running
        | RunnerStatus::Stopping
        | RunnerStatus::Backoff
        | RunnerStatus::Stopped
        | RunnerStatus::Crashed
        | RunnerStatus::Completed
        | RunnerStatus::Stuck => runner.status.word(),
    }
}

pub const fn glyph(status: RunnerStatus, ascii: bool) -> char {
    let (glyph, plain) = match status {
        RunnerStatus::Idle => ('○', 'o'),
        RunnerStatus::Starting | RunnerStatus::Stopping => ('◐', '%'),
        RunnerStatus::Running => ('●', '*'),
        RunnerStatus::Backoff => ('↻', '~'),
        RunnerStatus::Stopped => ('■', '#'),
        RunnerStatus::Crashed => ('✖', 'x'),
        RunnerStatus::Completed => ('✔', '+'),
        RunnerStatus::Stuck => ('?', '?'),
    };
    if ascii { plain } else { glyph }
}

pub const fn tone(status: RunnerStatus) -> Tone {
    match status {
        RunnerStatus::Running | RunnerStatus::Completed => Tone::Good,
        RunnerStatus::Starting | RunnerStatus::Stopping | RunnerStatus::Backoff => Tone::Waiting,
        RunnerStatus::Crashed | RunnerStatus::Stuck => Tone::Bad,
        RunnerStatus::Idle | RunnerStatus::Stopped => Tone::Quiet,
    }
}

/// From `earlier` to `later`; zero where the clock was set back between them.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// `7s`, `12m04s`, `3h12m`, `2d03h`: two units, of the same width most of the time.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// The time until something happens, rounded up: a countdown ends at 1, not at 0.
pub fn countdown(now: Timestamp, at: Timestamp) -> String {
    let left = between(now, at);
    span(Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0)))
}

/// `412M`, `1.2G`: at most four digits and a unit of 1024.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    if unit >= 3 && whole < 100 {
        return format!("{whole}.{}{}", rest * 10 / 1024, UNITS[unit]);
    }
    format!("{whole}{}", UNITS[unit])
}

/// Text that came from elsewhere, made harmless for a terminal: on one line, and without control characters.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The text cut to `width` characters, with a sign that it was.
pub fn cut(text: &str, width: usize, ascii: bool) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}{}", if ascii { '~' } else { '…' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (724, "12m04s"),
            (3600, "1h00m"),
            (11_530, "3h12m"),
            (86_399, "23h59m"),
            (183_600, "2d03h"),
        ];
        for (seconds, text) in table {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_countdown_never_says_zero_before_its_end() {
        let now = Timestamp::UNIX_EPOCH;
        for (millis, text) in [(1, "1s"), (1000, "1s"), (1001, "2s"), (0, "0s"), (-5000, "0s")] {
            let at = now.checked_add(jiff::SignedDuration::from_millis(millis)).unwrap();
            assert_eq!(countdown(now, at), text, "{millis} ms");
        }
    }

    #[test]
    fn sizes() {
        let table = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (432_013_312, "412M"),
            (1_395_864_371, "1.2G"),
            (150 << 30, "150G"),
            (u64::MAX, "16777215T"),
        ];
        for (size, text) in table {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn control_characters_do_not_get_through() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{9b}d\x7f"), "a [2Jb c d ");
    }

    #[test]
    fn cutting_says_so() {
        assert_eq!(cut("agent", 5, false), "agent");
        assert_eq!(cut("agents", 5, false), "agen…");
        assert_eq!(cut("agents", 5, true), "agen~");
    }
}
