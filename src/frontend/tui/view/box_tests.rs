//! Boxes and help above the screen: whole on a small one, with nothing beside them that cannot be read, and with what
//! matters where one was.

use super::super::flows::fixture::{failed, press, running, settle, waiting, with_runs};
use super::tests::screen;

fn asked(keys: &str, size: (u16, u16)) -> String {
    let runs = vec![failed(), waiting(), running()];
    let mut model = with_runs(&runs, size);
    press(&mut model, ": s h o w 1 2 Enter", &runs);
    settle(&mut model, &runs);
    press(&mut model, keys, &runs);
    screen(&model)
}

#[test]
fn a_small_screen_shows_the_keys_or_says_that_there_are_more() {
    insta::assert_snapshot!(asked("a", (40, 10)));
    let screen = asked("q", (40, 10));
    assert!(screen.contains("background") && screen.contains("Esc  stay here"), "{screen}");
    let screen = asked("x", (40, 10));
    assert!(screen.contains("Enter cancel it") && screen.contains("Esc let it run"), "{screen}");
}

#[test]
fn nothing_unreadable_stands_beside_a_box() {
    for line in asked("a", (100, 30)).lines().filter(|line| line.contains('│')) {
        assert!(line.trim_start().starts_with('│') && line.trim_end().ends_with('│'), "{line}");
    }
    // Where there is more room, what lies there can be read, and stands apart.
    let screen = asked("a", (200, 60));
    assert!(screen.contains("storyboard waits for you"), "{screen}");
    assert!(screen.lines().filter(|line| line.contains("│ ")).all(|line| line.contains("  │ ")), "{screen}");
}

#[test]
fn the_help_begins_with_the_keys_of_where_one_was() {
    let first = |keys: &str| {
        let screen = asked(keys, (80, 24));
        screen.lines().nth(2).unwrap().trim().to_owned()
    };
    assert_eq!(first("?"), "The selected run");
    assert_eq!(first("l ?"), "Log");
    assert_eq!(first("Esc H ?"), "Lists of runners and runs");
}
