//! The kernel gives a pid out again as soon as it is free, also while something of the earlier attempt lives on.

use std::path::Path;

use super::door;
use super::ground::Ground;
use super::journal::Intent;
use super::launch::Inheritance;
use super::post::Post;
use super::serve::{Keeper, Places};
use super::tree::{Main, Tree};
use super::wire::StdioKind;

/// No process has it.
const PID: i32 = i32::MAX;

fn tree(key: &str, main: Main) -> Tree {
    let intent = Intent {
        key: key.into(),
        token: 7,
        log: Path::new("/l").into(),
        stdio: StdioKind::File,
        stop_signal: 15,
        grace_ms: 100,
        keep_leftovers: false,
        cgroups: None,
        relay: None,
    };
    Tree::new(intent, PID, 1, main, None)
}

#[test]
fn the_end_of_one_takes_nothing_from_another_that_got_its_pid() {
    let dir = tempfile::tempdir().unwrap();
    let places =
        Places { data_dir: dir.path().join("data"), runtime_dir: dir.path().join("run"), use_cgroups: false };
    let lock = door::lock(&places.data_dir).unwrap().unwrap();
    let post = Post::guarded_by(1, false);
    let ground = Ground::prepare(&places, &lock, post).unwrap();
    let mut keeper = Keeper::start(ground, Inheritance::take(0o022), post);
    keeper.take_in(tree("later#1", Main::Child), false);
    let main = |keeper: &Keeper| keeper.mains.get(&PID).map(ToString::to_string);
    // Of this one the end is found late.
    keeper.take_in(tree("earlier#1", Main::Ended), false);
    assert_eq!(main(&keeper).as_deref(), Some("later#1"));
    keeper.gone("earlier#1");
    assert_eq!(main(&keeper).as_deref(), Some("later#1"));
    keeper.gone("later#1");
    assert_eq!(main(&keeper), None);
}
