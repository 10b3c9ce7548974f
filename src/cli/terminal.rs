//! What the terminal can do, and which theme suits it. The environment is read here; what comes of it is a value.

use std::env;
use std::io::{self, IsTerminal};

use super::output;
use crate::domain::spec::ThemeChoice;
use crate::frontend::tui::theme::{Depth, Theme};

/// Whether a dashboard can be shown here.
pub fn is_there() -> bool {
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
}

/// The theme, and what is wrong where it is not the one that was wanted.
pub fn theme(choice: &ThemeChoice, no_color: bool) -> (Theme, Option<String>) {
    let depth = if output::colours(&io::stdout(), no_color) {
        depth(&var("COLORTERM"), &var("TERM"))
    } else {
        Depth::None
    };
    let ascii = !output::speaks_unicode();
    let auto = auto(depth, &var("COLORFGBG"));
    let built_in = |name| Theme::built_in(name, depth, ascii).unwrap_or_else(Theme::plain);
    match choice {
        ThemeChoice::Auto => (built_in(auto), None),
        ThemeChoice::BuiltIn(name) => (built_in(name), None),
        ThemeChoice::File(path) => {
            let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
            match read.and_then(|text| Theme::parse(&text, depth, ascii)) {
                Ok(theme) => (theme, None),
                Err(why) => {
                    let told =
                        format!("Read the theme {}: {why}; the theme {auto} is used instead", path.display());
                    (built_in(auto), Some(told))
                }
            }
        }
    }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn depth(colorterm: &str, term: &str) -> Depth {
    const TRUE: [&str; 7] = ["kitty", "alacritty", "foot", "ghostty", "wezterm", "direct", "truecolor"];
    if matches!(colorterm, "truecolor" | "24bit") || TRUE.iter().any(|name| term.contains(name)) {
        Depth::True
    } else if term.contains("256color") {
        Depth::Indexed
    } else {
        Depth::Sixteen
    }
}

/// Some terminals say which of the sixteen colours their ground has.
fn auto(depth: Depth, colorfgbg: &str) -> &'static str {
    let ground = colorfgbg.rsplit(';').next().unwrap_or_default();
    match (depth, ground) {
        (Depth::Sixteen, _) => "sixteen",
        (_, "7" | "15") => "light",
        (Depth::None | Depth::Indexed | Depth::True, _) => "dark",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_decides() {
        assert_eq!(depth("truecolor", "xterm-256color"), Depth::True);
        assert_eq!(depth("", "xterm-kitty"), Depth::True);
        assert_eq!(depth("", "screen-256color"), Depth::Indexed);
        assert_eq!(depth("", "linux"), Depth::Sixteen);
        assert_eq!(auto(Depth::Sixteen, ""), "sixteen");
        assert_eq!(auto(Depth::True, "0;15"), "light");
        assert_eq!(auto(Depth::Indexed, "15;default;0"), "dark");
    }

    #[test]
    fn a_broken_theme_is_told_and_another_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.json");
        std::fs::write(&path, "{}").unwrap();
        let (_, told) = theme(&ThemeChoice::File(path), false);
        assert!(told.unwrap().contains("missing field"));
    }
}
