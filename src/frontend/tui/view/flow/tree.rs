//! The checkpoints of the lineage as a tree: versions, who approved or made them, where the branches stand.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::super::flows::pane::RunPane;
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{fit, more, pad, width};
use super::super::{put, span};
use super::attempts::{artifact_lines, outputs_lines, put_most, short};
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::record::Checkpoint;
use crate::domain::flow::status::{Approval, StageStatus};
use crate::domain::flow::tree::Row;

/// What the selected checkpoint holds, below the tree.
const DETAILS: u16 = 10;

pub(super) fn rows_height(area: Rect) -> u16 {
    let details = if area.height >= DETAILS * 2 { DETAILS } else { area.height / 3 };
    area.height.saturating_sub(details + 1)
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: &RunPane) {
    if area.height == 0 {
        return;
    }
    let heading = match &pane.tree {
        Some(tree) => {
            let s = if tree.branches.len() == 1 { "" } else { "es" };
            let below = tree.rows.len().saturating_sub(pane.tree_offset + usize::from(rows_height(area)));
            let more = more(model.theme(), pane.tree_offset, below);
            let (rows, branches) = (tree.rows.len(), tree.branches.len());
            format!(" Checkpoints of the lineage   {rows} on {branches} branch{s}   {more}")
        }
        None => " Checkpoints are being looked up".to_owned(),
    };
    let heading = fit(&heading, usize::from(area.width), model.theme());
    put(frame, Rect { height: 1, ..area }, Line::from(span(model, Ink::Accent, heading)));
    let Some(tree) = &pane.tree else { return };
    if tree.rows.is_empty() {
        let text = "  No stage has left anything so far.";
        put(frame, Rect { y: area.y + 1, height: 1, ..area }, Line::from(span(model, Ink::Quiet, text)));
        return;
    }
    let height = rows_height(area);
    let list = Rect { y: area.y + 1, height, ..area };
    let room = usize::from(area.width);
    let of = |row: &Row| width(&row.prefix) + width(&row.id.to_string());
    let names = tree.rows.iter().skip(pane.tree_offset).take(usize::from(height)).map(of).max().unwrap_or(0);
    let names = names.min(room / 2);
    let visible = tree.rows.iter().enumerate().skip(pane.tree_offset);
    for (y, (place, row)) in (list.y..list.bottom()).zip(visible) {
        put(frame, Rect { y, height: 1, ..area }, line(model, row, names, room, place == pane.checkpoint));
    }
    // Right below a tree that is shorter than its room.
    let shown = u16::try_from(tree.rows.len() - pane.tree_offset.min(tree.rows.len())).unwrap_or(height);
    let end = list.y + shown.min(height);
    let below = Rect { y: end, height: area.bottom() - end, ..area };
    if let Some(checkpoint) = pane.selected_row().and_then(|row| tree.get(&row.id)) {
        put_most(frame, below, model, details(model, checkpoint, room));
    }
}

pub(super) const fn sign(approval: Approval, ascii: bool) -> (&'static str, Ink) {
    let (glyph, plain, ink) = match approval {
        Approval::Pending => ("!", "!", Ink::Waiting),
        Approval::Approved => ("✔", "+", Ink::Good),
        Approval::Rejected => ("✖", "x", Ink::Bad),
    };
    (if ascii { plain } else { glyph }, ink)
}

fn line(model: &Model, row: &Row, names: usize, room: usize, selected: bool) -> Line<'static> {
    let theme = model.theme();
    let ground = if selected { theme.style(Ink::Selection) } else { Style::new() };
    let ink = |ink: Ink| if selected { ground } else { theme.style(ink) };
    let (sign, approval) = match &row.replaced_by {
        Some(_) => ("-", Ink::Quiet),
        None => sign(row.approval, theme.ascii),
    };
    let judged = match &row.replaced_by {
        Some(by) => format!("replaced by {by}"),
        None => row.approval.to_string(),
    };
    let marker = if selected { theme.glyph("▌", ">") } else { " " };
    let prefix = if theme.ascii { plain(&row.prefix) } else { row.prefix.clone() };
    let degraded = if row.status == StageStatus::Degraded { ", degraded" } else { "" };
    let made = match (&row.who, &row.edited_from) {
        (Some(who), Some(from)) => format!("  edited by {who} from {from}"),
        (Some(who), None) => format!("  made by {who}"),
        (None, _) => String::new(),
    };
    // Behind the word that says how.
    let gap = if degraded.is_empty() { " " } else { "  " };
    let by = row.approved_by.as_ref().filter(|_| row.approval != Approval::Pending);
    let who = by.map(|who| format!("{gap}by {who}")).unwrap_or_default() + &made;
    let branch =
        if row.branch == BranchName::main() { String::new() } else { format!("  on {}", row.branch) };
    let sign_of_head = theme.glyph("◄", "<-");
    let heads: Vec<String> = row.heads.iter().map(|head| format!(" {sign_of_head} {head}")).collect();
    let heads = heads.concat();
    let mut line = Line::from(vec![
        Span::styled(format!("{marker} "), ink(Ink::Accent)),
        Span::styled(pad(&format!("{prefix}{}", row.id), names, theme), ink(Ink::Text)),
        Span::styled(format!("  {sign} {judged}{degraded}"), ink(approval)),
    ]);
    // Where a branch stands matters more than all that is left out for it; of that, what comes first.
    let mut left = room.saturating_sub(line.width() + width(&heads) + 1);
    let when = format!("  {}", model.clock(row.created_at));
    for (fact, least) in
        [(who, 10), (branch, 10), (format!("  {}", row.run_id), usize::MAX), (when, usize::MAX)]
    {
        if width(&fact) > left && left < least {
            break;
        }
        let fact = fit(&fact, left, theme);
        left -= width(&fact);
        line.push_span(Span::styled(fact, ink(Ink::Quiet)));
    }
    line.push_span(Span::styled(heads, ink(Ink::Accent)));
    if selected {
        let missing = room.saturating_sub(line.width());
        line.push_span(Span::styled(" ".repeat(missing), ground));
    }
    line
}

/// The lines of the tree in a terminal without them.
fn plain(prefix: &str) -> String {
    prefix.replace('├', "|").replace('└', "`").replace('─', "-").replace('│', "|")
}

fn details(model: &Model, checkpoint: &Checkpoint, room: usize) -> Vec<Line<'static>> {
    let hash = format!("   {}", short(checkpoint.hash.as_str()));
    let mut lines = vec![
        Line::default(),
        Line::from(vec![
            span(model, Ink::Strong, format!(" {}", checkpoint.id)),
            span(model, Ink::Quiet, hash),
        ]),
    ];
    if let Some(note) = &checkpoint.note {
        let text = fit(&crate::frontend::text::one_line(note), room.saturating_sub(8), model.theme());
        lines.push(Line::from(span(model, Ink::Waiting, format!("  note: {text}"))));
    }
    lines.extend(outputs_lines(model, &checkpoint.outputs, room));
    lines.extend(artifact_lines(model, &checkpoint.artifacts, room));
    lines
}
