//! How long logs of any size take to open and to be looked through.

#![expect(clippy::disallowed_methods, reason = "how long a log takes to open is measured on the real clock")]

use super::*;

/// Milliseconds that opening a log and showing its end takes.
fn open_ms(desk: &mut Desk) -> u128 {
    let begin = Instant::now();
    desk.show(1);
    desk.until("the end", |desk| desk.body().iter().any(|row| row == "the very end"));
    begin.elapsed().as_millis()
}

/// Pages up, and to and fro in the middle; milliseconds a page.
fn page_ms(desk: &mut Desk) -> u128 {
    let begin = Instant::now();
    for action in
        [Action::PageUp, Action::PageUp, Action::PageUp, Action::PageUp, Action::PageDown].repeat(20)
    {
        desk.act(action);
        desk.screen();
        desk.settle();
    }
    begin.elapsed().as_millis() / 100
}

fn assert_quick(desk: &mut Desk, what: &str) {
    let opened = open_ms(desk);
    let page = page_ms(desk);
    // Far above what is asked for, because the machine that tests may be busy and the build is not optimised.
    assert!(opened < 500 && page < 50, "{what}: opened in {opened} ms, a page in {page} ms");
    println!("{what}: opened in {opened} ms, a page in {page} ms");
    let window = desk.pane.window.as_ref().unwrap();
    assert!(window.lines.len() < 4000, "{} lines are held", window.lines.len());
}

#[test]
fn a_log_of_any_size_opens_at_its_end_at_once() {
    let mut desk = Desk::new(120, 40);
    let file = File::create(desk.path(1)).unwrap();
    file.set_len(10 << 30).unwrap();
    let mut end = numbered(100_000);
    end.extend_from_slice(b"the very end\n");
    std::os::unix::fs::FileExt::write_all_at(&file, &end, 10 << 30).unwrap();
    assert_quick(&mut desk, "10 GB, mostly a hole");
}

#[test]
fn a_log_of_300_mb_of_lines_opens_at_its_end_at_once() {
    let mut desk = Desk::new(120, 40);
    let mut file = File::create(desk.path(1)).unwrap();
    let lines = numbered(90_000);
    for _ in 0..300_000_000 / lines.len() {
        file.write_all(&lines).unwrap();
    }
    file.write_all(b"the very end\n").unwrap();
    assert_quick(&mut desk, "300 MB");
}
