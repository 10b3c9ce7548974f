use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;

use super::super::testing::{Place, key, tree};
use super::*;
use crate::domain::flow::testing::flow;

/// A stage that is declared as in [`flow`].
fn stage(declared: &str) -> StageSpec {
    flow(&format!("render: {declared}")).stages.remove(0)
}

/// What becomes of an attempt that did this in its folder.
fn settle_after(place: &Place, declared: &str, act: impl FnOnce(&Path)) -> Result<Settled, AttemptError> {
    let key = key("render", 1);
    place.dirs.remove(&key).unwrap();
    act(&place.prepare(&key));
    settle(place, &key, &stage(declared))
}

fn settle(place: &Place, key: &AttemptKey, stage: &StageSpec) -> Result<Settled, AttemptError> {
    super::settle(&place.dirs, &place.objects, key, &place.dirs.look(key), stage)
}

/// The stage is to blame, in these words.
fn blamed(place: &Place, declared: &str, act: impl FnOnce(&Path)) -> String {
    match settle_after(place, declared, act) {
        Err(AttemptError::Stage(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn names_of(settled: &Settled) -> Vec<&str> {
    settled.artifacts.iter().map(|artifact| artifact.name.as_str()).collect()
}

#[test]
fn what_was_declared_is_taken_and_nothing_is_moved() {
    let place = Place::new();
    let act = |at: &Path| {
        fs::write(at.join("output"), r#"{"title": {"a": [1, 2]}, "cost": 0.5}"#).unwrap();
        fs::create_dir_all(at.join("artifacts/frames")).unwrap();
        for name in ["frames/2.png", "frames/1.png", "it's \"odd\"\nname.txt", "binary"] {
            fs::write(at.join("artifacts").join(name), [0, 159, 146, 150]).unwrap();
        }
        fs::create_dir(at.join("artifacts/empty")).unwrap();
        fs::set_permissions(at.join("artifacts/binary"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    let declared = ">title @frames/*.png @*.txt @bin*";
    let settled = settle_after(&place, declared, act).unwrap();
    assert_eq!(settled.outputs["title"].text(), r#"{"a":[1,2]}"#);
    assert_eq!((settled.degraded, settled.cost), (false, Some(0.5)));
    assert_eq!(names_of(&settled), ["binary", "frames/1.png", "frames/2.png", "it's \"odd\"\nname.txt"]);
    assert!(settled.artifacts[0].executable && !settled.artifacts[1].executable);
    for artifact in &settled.artifacts {
        place.objects.verify(artifact).unwrap();
    }
    assert_eq!(settled.output_hash, hashes::outputs(&settled.outputs));
    assert_eq!(settled.manifest_hash, hashes::manifest(&settled.artifacts));
    // After a crash before its end was on record, it is settled once more.
    let again = settle(&place, &key("render", 1), &stage(declared)).unwrap();
    assert_eq!(again, settled);
}

#[test]
fn one_that_declares_nothing_may_leave_nothing() {
    let place = Place::new();
    let nothing = settle_after(&place, "", |_| {}).unwrap();
    assert_eq!((nothing.outputs.len(), nothing.artifacts.len()), (0, 0));
    assert!(!place.objects.root().exists());
    // It is free to remove what it was given, down to its own folder.
    for gone in ["artifacts", "."] {
        let settled =
            settle_after(&place, "", |at| fs::remove_dir_all(at.join(gone).canonicalize().unwrap()).unwrap());
        assert_eq!(settled.unwrap(), nothing, "{gone}");
    }
}

#[test]
fn a_degraded_end_is_told_where_it_is_allowed() {
    let place = Place::new();
    let act = |at: &Path| fs::write(at.join("output"), "status=degraded\ncost=2").unwrap();
    assert!(blamed(&place, "", act).contains("allow_degraded"));
    let allowed = StageSpec { allow_degraded: true, ..stage("") };
    let settled = settle(&place, &key("render", 1), &allowed).unwrap();
    assert_eq!((settled.degraded, settled.cost), (true, Some(2.0)));
}

#[test]
fn an_output_that_is_none_is_told() {
    let place = Place::new();
    let says = |declared: &str, act: &dyn Fn(&Path), words: &str| {
        let message = blamed(&place, declared, |at| act(at));
        assert!(message.contains(words), "{message:?} lacks {words:?}");
    };
    says(
        ">a >b",
        &|_| {},
        "it wrote no output: \"a\"; \"b\" belong into the file that $RESTAGE_OUTPUT names",
    );
    says(">a", &|at| fs::remove_dir_all(at).unwrap(), "it wrote no output");
    says(">a", &|at| fs::write(at.join("output"), "{}").unwrap(), "lacks \"a\"");
    says("", &|at| fs::write(at.join("output"), "a=1").unwrap(), "\"a\", which is not declared");
    says("", &|at| fs::write(at.join("output"), [b'a', b'=', 0xff]).unwrap(), "no UTF-8");
    says("", &|at| fs::create_dir(at.join("output")).unwrap(), "no regular file");
    says("", &|at| nix::unistd::mkfifo(&at.join("output"), Mode::S_IRWXU).unwrap(), "no regular file");
    says("", &|at| symlink("/etc/passwd", at.join("output")).unwrap(), "symbolic link");
    says("", &|at| symlink("/dev/zero", at.join("output")).unwrap(), "symbolic link");
    let long = |at: &Path| File::create(at.join("output")).unwrap().set_len(100 << 20).unwrap();
    says("", &long, "104857600 bytes");
    let moved = |at: &Path| {
        fs::remove_dir_all(at).unwrap();
        symlink("/etc", at).unwrap();
    };
    says("", &moved, "in the place of its own folder");
}

#[test]
fn every_glob_has_a_file_and_every_file_a_glob() {
    let place = Place::new();
    let with = |files: &'static [&'static str]| {
        move |at: &Path| {
            for file in files {
                let path = at.join("artifacts").join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
        }
    };
    for (declared, files, words) in [
        ("", &["a.png"][..], "artifact \"a.png\" is not declared"),
        ("@*.png", &[], "no file in $RESTAGE_ARTIFACTS matches the declared \"*.png\""),
        ("@*.png", &["b/a.png", "c.png"], "artifact \"b/a.png\" is not declared"),
        ("@b/", &["b/a.png"], "for all files of that folder write \"b/**\""),
        ("@b @b/**", &["b/a.png"], "matches the declared \"b\"; for all files of that folder write \"b/**\""),
        ("@*.{png", &["a.png"], "\"artifacts\": error parsing glob"),
        ("@x", &["x", "1", "2", "3", "4", "5", "6"], "; and 1 more"),
    ] {
        let message = blamed(&place, declared, with(files));
        assert!(message.contains(words), "{message:?} lacks {words:?}");
    }
    for (declared, files) in
        [("@**/*.png", &["a.png", "b/c/a.png"][..]), ("@b/** @b/c", &["b/a", "b/c"]), ("@a @a", &["a"])]
    {
        assert_eq!(names_of(&settle_after(&place, declared, with(files)).unwrap()), files);
    }
    let missing = blamed(&place, "@*.png", |at| fs::remove_dir_all(at.join("artifacts")).unwrap());
    assert!(missing.contains("matches the declared \"*.png\""), "{missing}");
    let missing = blamed(&place, "@*.png", |at| fs::remove_dir_all(at).unwrap());
    assert!(missing.contains("matches the declared \"*.png\""), "{missing}");
    // What failed brought nothing in.
    assert!(tree(place.objects.root()).iter().filter(|name| !name.ends_with('/')).count() <= 1);
}

#[test]
fn links_are_followed_within_the_folder_and_nowhere_else() {
    let place = Place::new();
    let settled = settle_after(&place, "@**", |at| {
        fs::create_dir(at.join("artifacts/v")).unwrap();
        fs::write(at.join("artifacts/v/2"), "two").unwrap();
        symlink("v/2", at.join("artifacts/latest")).unwrap();
        symlink("../latest", at.join("artifacts/v/again")).unwrap();
    });
    let settled = settled.unwrap();
    assert_eq!(names_of(&settled), ["latest", "v/2", "v/again"]);
    assert!(settled.artifacts.iter().all(|artifact| artifact.hash == settled.artifacts[0].hash));

    let secret = place.write("secret", "x");
    fs::write(place.path("secret2"), "x").unwrap();
    for target in [secret.to_str().unwrap(), "../state.json", "/etc/passwd", "none", "loop", ".", "/dev/zero"]
    {
        let message = blamed(&place, "@**", |at| symlink(target, at.join("artifacts/loop")).unwrap());
        assert!(message.contains("artifact \"loop\" is a symbolic link that leads to no file"), "{message}");
    }
    let message = blamed(&place, "@**", |at| {
        fs::remove_dir(at.join("artifacts")).unwrap();
        symlink("/etc", at.join("artifacts")).unwrap();
    });
    assert!(message.contains("in the place of its artifact folder"), "{message}");
    let message = blamed(&place, "@**", |at| {
        fs::remove_dir(at.join("artifacts")).unwrap();
        fs::write(at.join("artifacts"), "x").unwrap();
    });
    assert!(message.contains("in the place of its artifact folder"), "{message}");
}

#[test]
fn what_is_no_file_is_named_and_not_waited_for() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let message = blamed(&place, "@**", |at| {
        let at = at.join("artifacts");
        nix::unistd::mkfifo(&at.join("a-pipe"), Mode::S_IRWXU).unwrap();
        drop(UnixListener::bind(at.join("b-socket")).unwrap());
        fs::write(at.join(std::ffi::OsStr::from_bytes(b"c-\xff")), "x").unwrap();
    });
    for words in
        ["\"a-pipe\" is a pipe", "\"b-socket\" is a socket", "\"c-\u{fffd}\" has a name that is no UTF-8"]
    {
        assert!(message.contains(words), "{message}");
    }
    let message = blamed(&place, "@**", |at| {
        let deep = "d/".repeat(DEPTH + 2);
        fs::create_dir_all(at.join("artifacts").join(deep)).unwrap();
    });
    assert!(message.contains("more than 100 folders deep"), "{message}");
}

#[test]
fn what_must_not_be_read_is_named() {
    if nix::unistd::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let lock = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    let message = blamed(&place, "@**", |at| {
        fs::write(at.join("artifacts/a"), "x").unwrap();
        lock(&at.join("artifacts/a"));
    });
    assert!(message.contains("artifact \"a\" must not be read"), "{message}");
    let message = blamed(&place, "@**", |at| lock(&at.join("artifacts")));
    assert!(message.contains("must not be read"), "{message}");
    let message = blamed(&place, "", |at| {
        fs::write(at.join("output"), "x").unwrap();
        lock(&at.join("output"));
    });
    assert!(message.contains("output must not be read"), "{message}");
}

#[test]
fn a_full_disk_is_nobodys_fault_and_passes() {
    let Some(place) = Place::small("size=1m") else { return };
    let error = settle_after(&place, "@**", |at| {
        fs::write(at.join("artifacts/a"), vec![1; 100 << 10]).unwrap();
        fs::write(at.join("artifacts/b"), vec![2; 500 << 10]).unwrap();
    });
    let Err(AttemptError::Files(error)) = error else { panic!("{error:?}") };
    assert!(error.is_later(), "{error}");
    nix::mount::mount(
        Some("none"),
        place.dir.path(),
        None::<&str>,
        nix::mount::MsFlags::MS_REMOUNT,
        Some("size=4m"),
    )
    .unwrap();
    let settled = settle(&place, &key("render", 1), &stage("@**")).unwrap();
    assert_eq!(names_of(&settled), ["a", "b"]);
}
