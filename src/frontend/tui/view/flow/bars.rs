//! When the attempts of a stage ran, as a row of cells on the axis of its run. Pure.

use jiff::Timestamp;

use crate::domain::flow::record::StageRecord;
use crate::domain::flow::status::StageStatus;
use crate::frontend::text::{between, span};

/// The time that the cells stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: Timestamp,
    seconds: f64,
    cells: usize,
}

/// What a cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    Empty,
    /// An attempt was running.
    Ran,
    /// One ended badly here.
    Failed,
    /// Between two attempts.
    Pause,
    /// The next attempt is awaited.
    Retry,
    /// A person is waited for.
    Waits,
}

impl Axis {
    pub(super) fn new(from: Timestamp, to: Timestamp, cells: usize) -> Self {
        Self { from, seconds: between(from, to).as_secs_f64().max(1.0), cells }
    }

    fn cell(&self, at: Timestamp) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "cells of a screen")]
        let place = between(self.from, at).as_secs_f64() / self.seconds * self.cells as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and cut at the number of cells"
        )]
        let place = place as usize;
        place.min(self.cells.saturating_sub(1))
    }

    /// `0m        1m        2m`
    pub(super) fn labels(&self) -> String {
        const STEPS: [u32; 15] =
            [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400];
        // The least room between the beginnings of two labels.
        let apart = 10.0;
        #[expect(clippy::cast_precision_loss, reason = "cells of a screen")]
        let per_second = self.cells as f64 / self.seconds;
        let fits = |step: &u32| f64::from(*step) * per_second >= apart;
        let mut step = STEPS.into_iter().find(fits).unwrap_or(86_400);
        while f64::from(step) * per_second < apart && step < u32::MAX / 2 {
            step *= 2;
        }
        let mut text = String::new();
        let mut at = 0_u32;
        loop {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and cut at the number of cells"
            )]
            let place = (f64::from(at) * per_second).round() as usize;
            let label = label(at);
            if place + label.len() > self.cells {
                return text;
            }
            text.extend(std::iter::repeat_n(' ', place.saturating_sub(text.len())));
            text.push_str(&label);
            at += step;
        }
    }
}

fn label(seconds: u32) -> String {
    match seconds {
        0 => "0".to_owned(),
        whole if whole % 86_400 == 0 => format!("{}d", whole / 86_400),
        whole if whole % 3600 == 0 => format!("{}h", whole / 3600),
        whole if whole % 60 == 0 => format!("{}m", whole / 60),
        other => span(std::time::Duration::from_secs(u64::from(other))),
    }
}

/// `asked`: what it left was for a person to judge.
pub(super) fn cells(stage: &StageRecord, asked: bool, axis: &Axis, now: Timestamp) -> Vec<Cell> {
    let mut cells = vec![Cell::Empty; axis.cells];
    if axis.cells == 0 {
        return cells;
    }
    let mut fill = |from: usize, to: usize, what: Cell| {
        for cell in &mut cells[from..=to.max(from)] {
            *cell = what;
        }
    };
    // Pauses first, so that no attempt is hidden by one.
    let mut before: Option<Timestamp> = None;
    for attempt in stage.attempts.iter().filter(|attempt| attempt.item.is_none()) {
        if let Some((end, start)) = before.zip(attempt.started_at) {
            fill(axis.cell(end), axis.cell(start), Cell::Pause);
        }
        before = attempt.ended_at;
    }
    let last = stage.attempts.iter().filter_map(|attempt| attempt.ended_at).max();
    if let (StageStatus::Backoff, Some(end)) = (stage.status, last) {
        fill(axis.cell(end), axis.cell(now), Cell::Pause);
    }
    if let (StageStatus::Waiting, Some(end)) = (stage.status, last) {
        fill(axis.cell(end), axis.cell(now), Cell::Waits);
    } else if let (true, Some(end), Some(judged)) = (asked, last, stage.ended_at) {
        // It ended when it was judged.
        fill(axis.cell(end), axis.cell(judged), Cell::Waits);
    }
    for attempt in &stage.attempts {
        let Some(start) = attempt.started_at else { continue };
        fill(axis.cell(start), axis.cell(attempt.ended_at.unwrap_or(now)), Cell::Ran);
    }
    for attempt in stage.attempts.iter().filter(|attempt| attempt.error.is_some()) {
        if let Some(end) = attempt.ended_at {
            fill(axis.cell(end), axis.cell(end), Cell::Failed);
        }
    }
    if stage.status == StageStatus::Backoff {
        fill(axis.cell(now), axis.cell(now), Cell::Retry);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::super::super::super::fixture::{ago, now};
    use super::*;
    use crate::domain::flow::record::AttemptRecord;
    use crate::domain::flow::testing::row;

    fn attempt(number: u32, from: i64, to: Option<i64>, failed: bool) -> AttemptRecord {
        AttemptRecord {
            number,
            item: None,
            verdict: None,
            exit_code: None,
            signal: None,
            error: failed.then(|| "exit 1".into()),
            started_at: Some(ago(from)),
            ended_at: to.map(ago),
            cpu_seconds: None,
            peak_rss_bytes: None,
            cost: None,
            log: None,
            blameless: false,
        }
    }

    fn drawn(stage: &StageRecord) -> String {
        let axis = Axis::new(ago(20), now(), 20);
        let sign = |cell| match cell {
            Cell::Empty => ' ',
            Cell::Ran => '#',
            Cell::Failed => 'x',
            Cell::Pause => '.',
            Cell::Retry => '~',
            Cell::Waits => '!',
        };
        cells(stage, true, &axis, now()).into_iter().map(sign).collect()
    }

    #[test]
    fn attempts_pauses_and_ends_stand_in_their_places() {
        let mut stage = row("a", 0, StageStatus::Running);
        stage.attempts = vec![attempt(1, 20, Some(14), true), attempt(2, 10, None, false)];
        assert_eq!(drawn(&stage), "######x...##########");
        stage.status = StageStatus::Backoff;
        stage.attempts = vec![attempt(1, 18, Some(14), true)];
        assert_eq!(drawn(&stage), "  ####x............~");
        stage.status = StageStatus::Waiting;
        stage.attempts = vec![attempt(1, 18, Some(4), false)];
        assert_eq!(drawn(&stage), "  ###############!!!");
        // It is told also when it is over.
        (stage.status, stage.ended_at) = (StageStatus::Succeeded, Some(ago(1)));
        assert_eq!(drawn(&stage), "  ###############!!!");
        stage.attempts = vec![attempt(1, 18, Some(10), false)];
        stage.ended_at = Some(ago(4));
        assert_eq!(drawn(&stage), "  #########!!!!!!   ");
        stage.attempts = Vec::new();
        stage.status = StageStatus::Pending;
        assert_eq!(drawn(&stage), " ".repeat(20));
    }

    #[test]
    fn the_axis_is_labelled_as_far_as_there_is_room() {
        assert_eq!(Axis::new(ago(240), now(), 50).labels(), "0            1m          2m           3m");
        assert_eq!(Axis::new(ago(0), now(), 5).labels(), "0");
        assert_eq!(Axis::new(ago(3 * 86_400 * 400), now(), 30).labels().chars().next(), Some('0'));
    }
}
