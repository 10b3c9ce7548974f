//! Looking into what stages left, in a real terminal.

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::workspace::Workspace;

/// A text that would take the terminal over, one of many lines, and one that is no text.
const LEAVES: &str = concat!(
    r#"printf '{"story":"a long one"}' > "$RESTAGE_OUTPUT"; cd "$RESTAGE_ARTIFACTS"; "#,
    r"printf 'before\033]52;c;aGVsbG8=\007\033[2J\033[?1049hafter\rover\n' > evil.txt; ",
    r"seq -f 'line %g of many' 1 200000 > many.txt; printf '\211PNG\r\n\032\n\0\0' > one.png",
);

#[test]
fn an_artifact_is_looked_into_before_it_is_approved() {
    let workspace = Workspace::new(&json!({}));
    let stage = json!({ "name": "draw", "command": LEAVES, "outputs": ["story"], "artifacts": ["*"], "approve": "manual" });
    let config = json!({ "flows": { "film": { "stages": [stage] } } });
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    let mut terminal = Terminal::start(workspace.command(&[]), (100, 30));
    terminal.expect("Flows of the config: film");
    terminal.press(":run film\r");
    terminal.expect("waits for you: draw@1");
    terminal.press("a");
    terminal.expect("Approve draw@1?");
    terminal.press("v");
    terminal.expect("Look into what of draw@1?");
    terminal.press("\r");
    terminal.expect("\"story\": \"a long one\"");
    terminal.press("]");
    // All of the line is there, and nothing of it is obeyed.
    terminal.expect("beforeafter␍over");
    terminal.press("]");
    terminal.expect("line 1 of many");
    terminal.press("/line 150000 of\r");
    terminal.expect("line 150001 of many");
    terminal.press("\x1b]");
    terminal.expect("89 50 4e 47");
    terminal.expect(".restage/objects/");
    terminal.press("\x1b");
    terminal.expect("Look into what of draw@1?");
    terminal.press("\x1b");
    terminal.expect("Approve draw@1?");
    terminal.press("\r");
    terminal.expect("succeeded");
    let bytes = terminal.bytes();
    let count = |needle: &[u8]| bytes.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!((count(b"]52;"), count(b"\x1b[?1049h")), (0, 1));
}
