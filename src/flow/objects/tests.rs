use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::thread;

use nix::fcntl::AT_FDCWD;

use super::super::testing::{Place, tree};
use super::*;

fn lost(error: &FileError) -> String {
    let FileError::Lost { name, .. } = error else { panic!("{error}") };
    assert_eq!(name, "clip");
    error.to_string()
}

fn unnamed(place: &Place) -> Vec<String> {
    tree(&place.objects.root().join(UNNAMED))
}

#[test]
fn what_is_brought_in_is_a_copy_of_its_own_that_nobody_may_write() {
    let place = Place::new();
    let original = place.write("original", "take one");
    fs::set_permissions(&original, Permissions::from_mode(0o755)).unwrap();
    let artifact = place.try_import("a b/clip", &original).unwrap();
    assert_eq!(artifact.hash, Hash::from(blake3::hash(b"take one")));
    assert_eq!((artifact.name.as_str(), artifact.size, artifact.executable), ("a b/clip", 8, true));
    let object = place.objects.path(&artifact.hash);
    assert_eq!(object.parent().unwrap().file_name().unwrap().to_str(), artifact.hash.as_str().get(..2));
    let meta = object.metadata().unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, meta.nlink()), (0o444, 1));

    fs::write(&original, "take two").unwrap();
    place.objects.verify(&artifact).unwrap();
    assert!(unnamed(&place).is_empty());

    let (copy, other) = (place.path("copy"), place.path("other"));
    for path in [&copy, &other] {
        place.objects.materialise(&artifact, AT_FDCWD, path.to_str().unwrap()).unwrap();
        let meta = path.metadata().unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.nlink()), (0o555, 1));
    }
    fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
    fs::write(&copy, "scribble").unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"take one");
    place.objects.verify(&artifact).unwrap();
}

#[test]
fn the_same_content_is_kept_once_and_nothing_costs_nothing() {
    let place = Place::new();
    assert!(place.objects.import::<FileError>([]).unwrap().is_empty());
    assert!(!place.objects.root().exists());
    let (first, second) = (place.import("one", "x"), place.import("two", "x"));
    assert_eq!(first.hash, second.hash);
    assert_eq!(place.import("empty", "").size, 0);
    let files = tree(place.objects.root()).into_iter().filter(|name| !name.ends_with('/')).count();
    assert_eq!(files, 2);
}

#[test]
fn many_files_are_brought_in_together_in_their_order() {
    let place = Place::new();
    let count = 2 * BATCH + 3;
    let sources = (0..count).map(|n| {
        let path = place.write("many", format!("{}", n % 100));
        Ok::<_, FileError>(Source { name: n.to_string(), file: File::open(path).unwrap() })
    });
    let artifacts = place.objects.import(sources).unwrap();
    assert_eq!(artifacts.len(), count);
    for (n, artifact) in artifacts.iter().enumerate() {
        assert_eq!(artifact.name, n.to_string());
        assert_eq!(artifact.hash, Hash::from(blake3::hash((n % 100).to_string().as_bytes())));
        place.objects.verify(artifact).unwrap();
    }
    assert!(unnamed(&place).is_empty());
}

/// When dropped, so that a test that fails ends, too.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `act` while another thread, which still holds the original open, writes into it.
fn beside_a_writer(path: &Path, write: impl Fn(&File, u64) + Sync, act: impl FnOnce()) {
    let original = OpenOptions::new().write(true).open(path).unwrap();
    let done = AtomicBool::new(false);
    let begun = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                write(&original, round);
                round += 1;
                if round == 1 {
                    begun.wait();
                }
            }
        });
        begun.wait();
        let _stop = Stop(&done);
        act();
    });
}

#[test]
fn the_hash_is_of_what_is_kept_whoever_writes_into_the_original() {
    let place = Place::new();
    let path = place.write("original", vec![7; 3 << 20]);
    let scribble = |file: &File, round: u64| {
        file.write_all_at(&round.to_le_bytes(), (round * 65_537) % (3 << 20)).unwrap();
    };
    beside_a_writer(&path, scribble, || {
        for _ in 0..5 {
            let artifact = place.try_import("clip", &path).unwrap();
            let bytes = fs::read(place.objects.path(&artifact.hash)).unwrap();
            assert_eq!(Hash::from(blake3::hash(&bytes)), artifact.hash);
            place.objects.verify(&artifact).unwrap();
        }
    });
}

#[test]
fn a_file_that_grows_without_end_is_taken_as_it_was() {
    let place = Place::new();
    let path = place.write("original", vec![7; 1 << 20]);
    // No more than the disk has room for, should the copy never end.
    let grow = |file: &File, round: u64| {
        file.write_all_at(&[1; 4096], (1 << 20) + (round % 16_384) * 4096).unwrap();
    };
    beside_a_writer(&path, grow, || {
        let artifact = place.try_import("clip", &path).unwrap();
        place.objects.verify(&artifact).unwrap();
        assert_eq!(place.objects.path(&artifact.hash).metadata().unwrap().len(), artifact.size);
    });
}

#[test]
fn what_is_missing_or_damaged_is_told_and_never_handed_out() {
    let place = Place::new();
    let artifact = place.import("clip", "take one");
    let object = place.objects.path(&artifact.hash);
    let refused = |what: &str| {
        let error = place.objects.verify(&artifact).unwrap_err();
        assert!(lost(&error).contains(what), "{error}");
        let copy = place.path("copy");
        let error = place.objects.materialise(&artifact, AT_FDCWD, copy.to_str().unwrap()).unwrap_err();
        assert!(lost(&error).contains(what), "{error}");
        assert!(!copy.exists());
    };
    let damage = |bytes: &str| {
        fs::set_permissions(&object, Permissions::from_mode(0o644)).unwrap();
        fs::write(&object, bytes).unwrap();
    };
    damage("take 1ne");
    refused("its bytes are not what they were");
    damage("take");
    refused("4 bytes instead of 8");
    fs::remove_file(&object).unwrap();
    refused("its bytes are gone");
    std::os::unix::fs::symlink(place.write("elsewhere", "take one"), &object).unwrap();
    refused("no regular file");
    fs::remove_file(&object).unwrap();
    nix::unistd::mkfifo(&object, Mode::S_IRWXU).unwrap();
    refused("no regular file");
    fs::remove_file(&object).unwrap();
    fs::remove_dir_all(place.objects.root()).unwrap();
    refused("its bytes are gone");
}

#[test]
fn what_was_damaged_is_whole_again_once_it_is_brought_in_anew() {
    let place = Place::new();
    let artifact = place.import("clip", "take one");
    let object = place.objects.path(&artifact.hash);
    for bytes in ["take 1ne", "take", ""] {
        fs::set_permissions(&object, Permissions::from_mode(0o644)).unwrap();
        fs::write(&object, bytes).unwrap();
        assert_eq!(place.import("clip", "take one"), artifact);
        place.objects.verify(&artifact).unwrap();
        assert_eq!(object.metadata().unwrap().permissions().mode() & 0o777, 0o444);
    }
}

#[test]
fn one_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    let sources = [
        Ok(Source { name: "one".into(), file: File::open(place.write("one", "1")).unwrap() }),
        Err(FileError::new("open two", Errno::EIO)),
    ];
    assert_eq!(
        place.objects.import(sources).unwrap_err().to_string(),
        "open two: Input/output error (os error 5)"
    );
    assert_eq!(tree(place.objects.root()), ["new/"]);

    // A folder cannot be read as a file; of a person's file this is told by its name.
    let error = place.objects.import_path("clip", place.dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("not a regular file"), "{error}");
    let error = place.objects.import_path("clip", &place.path("none")).unwrap_err();
    assert!(
        error.to_string().starts_with("read ") && error.to_string().contains("none: No such file"),
        "{error}"
    );
    assert_eq!(place.objects.import_path("clip", &place.write("mine", "m")).unwrap().size, 1);
}

#[test]
fn a_file_that_a_killed_process_left_is_in_nobodys_way() {
    let place = Place::new();
    let left = place.write(&format!(".restage/objects/new/{}-0", std::process::id()), "half");
    let artifact = place.import("clip", "take one");
    place.objects.verify(&artifact).unwrap();
    assert_eq!(fs::read(left).unwrap(), b"half");
}

#[test]
fn a_copy_replaces_nothing() {
    let place = Place::new();
    let artifact = place.import("clip", "take one");
    let precious = place.write("precious", "mine");
    let link = place.path("link");
    std::os::unix::fs::symlink(place.path("new"), &link).unwrap();
    for target in [&precious, &link] {
        let error = place.objects.materialise(&artifact, AT_FDCWD, target.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("File exists"), "{error}");
    }
    assert_eq!(fs::read(&precious).unwrap(), b"mine");
    assert!(!place.path("new").exists());
}

#[test]
fn on_a_full_disk_nothing_is_half_left_and_it_is_tried_again() {
    let Some(place) = Place::small("size=1m") else { return };
    let artifact = place.import("clip", vec![1; 300 << 10]);
    fs::remove_file(place.path("original")).unwrap();
    let before = tree(place.dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let large = elsewhere.path().join("large");
    fs::write(&large, vec![2; 900 << 10]).unwrap();
    let error = place.try_import("large", &large).unwrap_err();
    assert!(error.is_later(), "{error}");
    assert!(error.to_string().starts_with("copy artifact large: No space left"), "{error}");
    let copies = ["a", "b", "c"]
        .map(|name| place.objects.materialise(&artifact, AT_FDCWD, place.path(name).to_str().unwrap()));
    assert!(copies[2].as_ref().unwrap_err().is_later());
    for name in ["a", "b"] {
        fs::remove_file(place.path(name)).unwrap();
    }
    assert_eq!(tree(place.dir.path()), before);
    place.objects.verify(&artifact).unwrap();

    fs::write(&large, vec![2; 500 << 10]).unwrap();
    let later = place.try_import("large", &large).unwrap();
    place.objects.verify(&later).unwrap();
}

#[test]
fn at_a_glance_no_more_is_read_than_there_is_time_for() {
    let place = Place::new();
    let artifact = place.import("a", "bytes");
    let path = place.objects.path(&artifact.hash);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"BYTES").unwrap();
    let mut left = 4;
    assert!(place.objects.all_read());
    place.objects.glance(&artifact, &mut left).unwrap();
    assert!(!place.objects.all_read());
    assert_eq!(left, 4);
    left = 12;
    assert!(place.objects.glance(&artifact, &mut left).is_err());
    assert_eq!(left, 7);
    fs::write(&path, b"bytes").unwrap();
    place.objects.glance(&artifact, &mut left).unwrap();
    // What was read is not read again, and what is of another length need not be.
    place.objects.glance(&artifact, &mut left).unwrap();
    assert_eq!(left, 2);
    fs::write(&path, b"byte").unwrap();
    assert!(place.objects.glance(&artifact, &mut left).is_err());
    fs::remove_file(&path).unwrap();
    assert!(place.objects.glance(&artifact, &mut left).is_err());
    assert_eq!(left, 2);
}

#[test]
fn what_a_dead_process_left_half_written_goes_with_the_first_file_and_what_a_living_one_writes_stays() {
    let place = Place::new();
    let folder = place.objects.root().join(UNNAMED);
    fs::create_dir_all(&folder).unwrap();
    // More than any kernel counts processes to; and the first process there is.
    for name in ["4294967295-3", "1-3", "mine"] {
        fs::write(folder.join(name), "torn").unwrap();
    }
    let path = place.objects.root().with_file_name("new.txt");
    fs::write(&path, "whole").unwrap();
    place.objects.import_path("new.txt", &path).unwrap();
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["1-3", "mine"]);
}
