//! What a search of runs looks into.

use crate::domain::flow::ids::RunId;
use crate::domain::json::JsonMap;

/// How much of one text is searched, so that a run with a whole book in its inputs does not slow down the others.
const MOST: usize = 64 << 10;

/// The name of a run and its inputs, as somebody who looks for them would type them.
pub(super) fn run_text(run: &RunId, inputs: &JsonMap) -> String {
    let mut text = run.to_string();
    for (key, value) in inputs {
        text.push('\n');
        text.push_str(key);
        text.push('=');
        match value.as_string() {
            Some(value) => text.push_str(&value),
            None => text.push_str(value.text()),
        }
        if text.len() > MOST {
            break;
        }
    }
    cut(&text).to_owned()
}

pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST)]
}
