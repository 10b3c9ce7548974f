//! The pictures of the README: the built program in a real terminal, its screens as SVG.
//!
//! `RESTAGE_PICTURES=1 cargo test --test it pictures` makes them anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::{RESTAGE, wait_until};

/// A cell, in pixels.
const WIDE: f64 = 8.4;
const HIGH: f64 = 18.0;
const GROUND: &str = "#161b22";
const TEXT: &str = "#d6dbe1";

fn film() -> String {
    let steps = r#"while :; do
        for file in config.rs retry.rs journal.rs manager.rs; do
            printf '\033[2m%s\033[0m  reading src/%s\n' "$(date +%T)" "$file"; sleep 0.4
            printf '\033[2m%s\033[0m  \033[32mok\033[0m      cargo test %s: 41 passed\n' "$(date +%T)" "${file%.rs}"; sleep 0.3
        done
        printf '\033[2m%s\033[0m  \033[33mwarn\033[0m    two snapshots differ, looking at them\n' "$(date +%T)"; sleep 2
    done"#;
    let fails_twice = format!(
        r#"echo "go on with docs/plan.md, retry $RESTAGE_RETRY"; if [ "$RESTAGE_RETRY" -lt 2 ]; then sleep 0.$((RESTAGE_RETRY + 3)); echo "error: 529 overloaded" >&2; exit 1; fi; {steps}"#
    );
    let runners = [
        (
            "agent-api",
            json!({ "group": "agents", "command": fails_twice, "timeout_seconds": 3600,
            "retry": { "backoff_seconds": 0.3, "reset_after_seconds": 600 } }),
        ),
        (
            "agent-docs",
            json!({ "group": "agents", "command": "sleep 0.4; echo 'no network' >&2; exit 1",
            "retry": { "backoff_seconds": 95 } }),
        ),
        (
            "agent-web",
            json!({ "group": "agents", "activity": "output", "activity_timeout_seconds": 16,
            "command": "echo thinking; exec sleep infinity" }),
        ),
        ("agent-db", json!({ "group": "agents", "command": "sleep 0.2; echo 'out of memory'; kill -9 $$" })),
        (
            "postgres",
            json!({ "group": "services", "command": "echo ready to accept connections; exec sleep infinity",
            "health": { "command": "true", "interval_seconds": 1 } }),
        ),
        ("migrate", json!({ "group": "services", "command": "echo 14 migrations applied; sleep 0.5" })),
        ("shell", json!({ "group": "services", "command": ["sh"], "stdio": "tty" })),
    ];
    // In the order of the file, which a map would not keep.
    let runners: Vec<String> = runners.iter().map(|(name, spec)| format!("    \"{name}\": {spec}")).collect();
    format!(
        "{{\n  \"retry_backoff_seconds\": 0.3,\n  \"stop_grace_seconds\": 1,\n  \"activity_timeout_seconds\": 300,\n  \
         \"retry_budget\": {{ \"max\": 20, \"per_seconds\": 600 }},\n  \"runners\": {{\n{}\n  }},\n  \"flows\": {}\n}}\n",
        runners.join(",\n"),
        flows()
    )
}

/// A film with a storyboard that a person has to approve, and a render that fails for want of space.
fn flows() -> serde_json::Value {
    let board = r#"for i in 1 2 3; do echo "drawing frame $i"; sleep 0.5; done
        echo frames > "$RESTAGE_ARTIFACTS/board.png"; echo 'mood=calm' > "$RESTAGE_OUTPUT""#;
    let render = r#"for i in 1 2 3 4; do echo "frame $i"; sleep 0.3; done
        [ -e ../space ] || { echo "no space for frame 812" >&2; exit 1; }"#;
    json!({ "video": {
        "inputs": { "question": { "required": true } },
        "retry_on_failure": true, "retry_count": 2, "retry_backoff_seconds": 0.5,
        "stages": [
            { "name": "script", "command": "sleep 1; echo 'title=Blue' > \"$RESTAGE_OUTPUT\"", "outputs": "title" },
            { "name": "voice", "needs": "script", "command": "sleep 2.4" },
            { "name": "storyboard", "needs": "script", "command": board, "approve": "manual",
              "outputs": "mood", "artifacts": "*.png" },
            { "name": "check", "validates": "storyboard", "command": "sleep 0.8" },
            { "name": "render", "needs": ["storyboard", "voice"], "command": render },
            { "name": "publish", "needs": "render", "command": "sleep 0.7" },
        ],
    } })
}

/// One run that failed after an approval, one that was sent back once, has a branch, and waits again.
fn make_runs(command: &dyn Fn() -> Command) {
    let restage = |args: &[&str]| {
        let output = command().args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let until = |run: &str, status: &str| {
        wait_until(&format!("{run} is {status}"), || {
            let record: serde_json::Value = serde_json::from_str(&restage(&["show", run, "--json"])).unwrap();
            record["status"] == status
        });
    };
    for question in ["why is the sky blue", "why is the sea salt"] {
        restage(&["run", "video", "--detach", "--input", &format!("question={question}")]);
    }
    until("video-1", "waiting");
    until("video-2", "waiting");
    restage(&["approve", "video-1", "storyboard"]);
    restage(&["reject", "video-2", "storyboard", "--feedback", "warmer, and less of the sea"]);
    until("video-1", "failed");
    until("video-2", "waiting");
    restage(&["fork", "video-2", "--at", "script@1", "--branch", "at-night"]);
    restage(&["continue", "video-2", "--checkpoint", "script@1", "--detach"]);
    until("video-3", "waiting");
}

#[test]
fn pictures() {
    if std::env::var_os("RESTAGE_PICTURES").is_none() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/pictures/main.svg");
        let picture = std::fs::read_to_string(&kept).unwrap();
        return assert!(picture.contains("<svg") && picture.contains("restage"), "{}", kept.display());
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("film");
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(home.path().join("run")).unwrap();
    std::fs::write(root.join("config.json"), film()).unwrap();
    let command = || {
        let mut command = Command::new(RESTAGE);
        command.current_dir(&root).env("HOME", home.path()).env("TZ", "UTC");
        command.env("XDG_CACHE_HOME", home.path().join("cache"));
        command.env("XDG_RUNTIME_DIR", home.path().join("run"));
        command
    };
    let up = command().args(["up", "--detach"]).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    make_runs(&command);
    let mut terminal = Terminal::start(command(), (120, 34));
    terminal.expect("1 exhausted");
    terminal.expect("Retry: 2/3");
    // Silence is told from half of what is allowed.
    terminal.expect("quiet 9s");
    terminal.expect_that("a screen of log", |screen| screen.matches("41 passed").count() > 5);
    wait_until("the toasts have gone", || {
        !terminal.screen().contains('▌') || terminal.screen().matches('▌').count() == 1
    });
    picture(&terminal, "main");

    terminal.press("l");
    terminal.expect_gone("Retry:");
    terminal.press("/passed\r");
    terminal.expect("n next");
    picture(&terminal, "log");
    // One ends the search, the next one leaves the log.
    terminal.press("\x1b");
    terminal.expect_gone("n next");
    terminal.press("\x1b");
    terminal.expect("up/in");

    terminal.press(":show 1\r");
    terminal.expect("render   ✖ failed");
    terminal.expect("─ publish");
    terminal.expect("r retry");
    picture(&terminal, "run");
    terminal.press("r");
    terminal.expect("Retry video-1 from render?");
    picture(&terminal, "retry");
    terminal.press("\x1b");
    terminal.expect_gone("from render?");
    terminal.press(":show 2\r");
    terminal.expect("waits for you");
    terminal.press("t");
    terminal.expect("◄ at-night");
    picture(&terminal, "tree");
    terminal.press("\x1b");
    terminal.expect_gone("◄ at-night");
    terminal.press("\x1b");
    terminal.expect("up/in");

    terminal.press("A");
    terminal.expect("Retry analytics");
    picture(&terminal, "analytics");
    terminal.press("c");
    terminal.expect("Workspace");
    picture(&terminal, "config");
    terminal.press("c");
    terminal.expect("up/in");
    terminal.press(":res");
    terminal.expect("restart all");
    picture(&terminal, "palette");
    terminal.press("\x1b");
    terminal.expect_gone("restart all");
    terminal.press("q");
    terminal.expect("detach: they go on");
    picture(&terminal, "quit");
    terminal.press("s");
    terminal.ended();
}

fn picture(terminal: &Terminal, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/pictures");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.svg")), terminal.cells(svg)).unwrap();
}

/// Cells of one look side by side are one piece of text.
fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let (width, height) = (f64::from(columns) * WIDE + 24.0, f64::from(rows) * HIGH + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n\
         <g font-family=\"'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace\" font-size=\"14\" xml:space=\"preserve\">\n"
    );
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let first = screen.cell(row, column).unwrap();
            let mut text = String::new();
            let start = column;
            while let Some(cell) = screen.cell(row, column).filter(|cell| look(cell) == look(first)) {
                if !cell.is_wide_continuation() {
                    text.push_str(if cell.has_contents() { cell.contents() } else { " " });
                }
                column += 1;
            }
            piece(&mut svg, (row, start, column - start), &text, look(first));
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

type Look = (String, Option<String>, bool, bool, bool);

fn look(cell: &vt100::Cell) -> Look {
    let (fg, bg) = (colour(cell.fgcolor()), colour(cell.bgcolor()));
    let (fg, bg) = if cell.inverse() {
        (bg.unwrap_or_else(|| GROUND.to_owned()), Some(fg.unwrap_or_else(|| TEXT.to_owned())))
    } else {
        (fg.unwrap_or_else(|| TEXT.to_owned()), bg)
    };
    (fg, bg, cell.bold(), cell.dim(), cell.underline())
}

fn piece(svg: &mut String, (row, column, cells): (u16, u16, u16), text: &str, look: Look) {
    let (fg, bg, bold, dim, underline) = look;
    let (x, y) = (f64::from(column) * WIDE + 12.0, f64::from(row) * HIGH + 12.0);
    let wide = f64::from(cells) * WIDE;
    if let Some(bg) = bg {
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{HIGH}\" fill=\"{bg}\"/>"
        )
        .unwrap();
    }
    let mut style = String::new();
    for (on, word) in [
        (bold, " font-weight=\"bold\""),
        (dim, " opacity=\"0.6\""),
        (underline, " text-decoration=\"underline\""),
    ] {
        style.push_str(if on { word } else { "" });
    }
    let y = y + 13.5;
    // Each word stands in its column, whatever font there is.
    let mut at = column;
    for word in text.split(' ') {
        let cells = u16::try_from(unicode_width::UnicodeWidthStr::width(word)).unwrap();
        let (x, wide) = (f64::from(at) * WIDE + 12.0, f64::from(cells) * WIDE);
        at += cells + 1;
        if cells == 0 {
            continue;
        }
        let word = word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{wide:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{fg}\"{style}>{word}</text>"
        )
        .unwrap();
    }
}

fn colour(colour: vt100::Color) -> Option<String> {
    const NAMED: [&str; 16] = [
        "#1c1c1c", "#d75f5f", "#87af5f", "#d7af5f", "#5f87d7", "#af87d7", "#5fafaf", "#d0d0d0", "#767676",
        "#ff8787", "#afd787", "#ffd787", "#87afff", "#d7afff", "#87d7d7", "#ffffff",
    ];
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(NAMED.get(usize::from(index)).copied().unwrap_or(TEXT).to_owned()),
        vt100::Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
    }
}
