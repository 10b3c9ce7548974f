//! Where things stand, as a function of the model: the drawing, the mouse and the size of a page all ask here.

use ratatui::layout::Rect;

use super::model::{Focus, Link, Model, Screen};
use super::view;

/// Less cannot show anything that helps.
pub const LEAST: (u16, u16) = (40, 10);
/// From this width on there is room for two panes.
const BOTH: u16 = 100;
/// A blank line below the header is worth it from this height on.
const AIRY: u16 = 20;

/// Areas; what is not on the screen has none (0 × 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    pub header: Rect,
    pub banner: Rect,
    /// Everything between header and footer.
    pub body: Rect,
    /// The table with its titles.
    pub list: Rect,
    /// The lines of the filter, below the table.
    pub filter: Rect,
    /// One line on the selected runner, where there is no room for its details.
    pub summary: Rect,
    /// The line between the panes.
    pub divider: Rect,
    pub details: Rect,
    pub log: Rect,
    pub footer: Rect,
}

pub fn is_tiny(size: (u16, u16)) -> bool {
    size.0 < LEAST.0 || size.1 < LEAST.1
}

impl Layout {
    pub fn of(model: &Model) -> Self {
        let (width, height) = model.setup.size;
        if is_tiny(model.setup.size) {
            return Self::default();
        }
        let row = |y, height| Rect { x: 0, y, width, height };
        let mut layout = Self { header: row(0, 1), footer: row(height - 1, 1), ..Self::default() };
        let mut top = 1;
        if has_banner(model) {
            layout.banner = row(1, 1);
            top = 2;
        } else if height >= AIRY {
            // A banner takes the place of the blank line, so that nothing moves when it comes.
            top = 2;
        }
        layout.body = row(top, height - top - 1);
        match model.screen {
            Screen::Main => layout.main(model),
            // Every line of it belongs to the runner.
            Screen::Attach => layout.body = Rect { x: 0, y: 0, width, height },
            Screen::Run if model.focus == Focus::Log => {
                // Its first line says whose log it is.
                let body = layout.body;
                layout.log = Rect { y: body.y + 1, height: body.height.saturating_sub(1), ..body };
            }
            Screen::Run | Screen::History | Screen::Analytics | Screen::Config | Screen::Help => {}
        }
        layout
    }

    fn main(&mut self, model: &Model) {
        let body = self.body;
        if model.fleet.runners().is_empty() && model.flows.is_empty() {
            return;
        }
        if has_both(model) {
            // What the list does not need goes to the log.
            let left = view::runners::natural_width(model).clamp(50, body.width * 5 / 8);
            self.list = Rect { width: left, ..body };
            self.divider = Rect { x: left, width: 1, ..body };
            self.details = Rect { x: left + 1, width: body.width - left - 1, ..body };
        } else if model.focus == Focus::List {
            self.list = body;
            if !model.zoom && body.height > 8 {
                self.summary = Rect { y: body.bottom() - 1, height: 1, ..body };
                self.list.height -= 1;
            }
        } else {
            self.details = body;
        }
        if self.list.height > 3 && model.list.is_narrowed() {
            self.filter = Rect { y: self.list.bottom() - 1, height: 1, ..self.list };
            self.list.height -= 1;
        }
        // A run has no log here, and all the room for its stages.
        if self.details.height > 0 && model.list.run.is_none() {
            let all = self.details;
            let facts = if model.focus == Focus::Log && model.zoom {
                0
            } else {
                let wanted = view::details::height(model, all.width);
                // The log keeps most of the pane, whatever there is to say.
                wanted.min(all.height * 2 / 3)
            };
            self.details.height = facts;
            // Beside the line between the panes there is room to breathe.
            let pad = u16::from(self.divider.width > 0);
            self.log = Rect {
                x: all.x + pad,
                y: all.y + facts,
                width: all.width.saturating_sub(pad),
                height: all.height - facts,
            };
        }
    }

    /// How many rows of the list fit below its titles.
    pub fn list_rows(&self) -> usize {
        usize::from(self.list.height.saturating_sub(1))
    }
}

pub fn has_both(model: &Model) -> bool {
    model.setup.size.0 >= BOTH && !model.zoom
}

pub fn has_banner(model: &Model) -> bool {
    let lost = match &model.link {
        Link::Lost { .. } => true,
        Link::Connecting | Link::Up { .. } => false,
    };
    lost || view::banner::trouble(model).is_some()
}
