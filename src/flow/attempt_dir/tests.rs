use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;

use super::super::testing::{Place, given, key, tree};
use super::*;

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

fn artifact(place: &Place, name: &str, bytes: &str) -> Artifact {
    place.import(name, bytes)
}

#[test]
fn an_attempt_finds_what_its_environment_names() {
    let place = Place::new();
    let key = key("render", 2);
    let env = place.dirs.prepare(&place.objects, &Given { state: b"{\"a\":1}", ..given(&key) }).unwrap();
    let folder = place.path(".restage/runs/video-12/render_2");
    assert_eq!(folder, place.dirs.path(&key));
    assert_eq!(tree(&folder), ["artifacts/", "state.json"]);
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let expected = [
        ("RESTAGE_ARTIFACTS", at("artifacts")),
        ("RESTAGE_ATTEMPT", "2".into()),
        ("RESTAGE_IDEMPOTENCY_KEY", "video-12/render".into()),
        ("RESTAGE_INPUTS", place.path(".restage/runs/.empty").to_str().unwrap().to_owned()),
        ("RESTAGE_OUTPUT", at("output")),
        ("RESTAGE_RUN_ID", "video-12".into()),
        ("RESTAGE_STAGE", "render".into()),
        ("RESTAGE_STATE", at("state.json")),
    ];
    assert_eq!(env, expected.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(fs::read(folder.join("state.json")).unwrap(), b"{\"a\":1}");
    assert_eq!((mode(&folder), mode(&folder.join("state.json"))), (0o700, 0o600));
}

#[test]
fn what_a_retry_a_person_and_a_fan_out_bring_is_there_too() {
    let place = Place::new();
    let before = key("render", 1);
    place.write(".restage/runs/video-12/render_1/artifacts/half.png", "half");
    let (run, stage, item) = (RunId::trusted("video-9"), StageName::trusted("draw"), Json::string("x"));
    let feedback = format!("zero\0byte {}", "é".repeat(FEEDBACK_MAX));
    let key = AttemptKey { item: Some(3), ..key("render", 7) };
    let given = Given {
        item: Some(&item),
        previous: Some(&before),
        feedback: Some(&feedback),
        parent_run: Some(&run),
        retry_from: Some(&stage),
        ..given(&key)
    };
    let env = place.dirs.prepare(&place.objects, &given).unwrap();
    assert!(place.dirs.path(&key).ends_with("video-12/render,3_7"));
    assert_eq!(env["RESTAGE_PARENT_RUN_ID"], "video-9");
    assert_eq!(env["RESTAGE_RETRY_FROM"], "draw");
    assert_eq!(env["RESTAGE_ITEM_INDEX"], "3");
    assert_eq!(fs::read_to_string(&env["RESTAGE_ITEM"]).unwrap(), "\"x\"");
    assert_eq!(fs::read(Path::new(&env["RESTAGE_PREVIOUS"]).join("artifacts/half.png")).unwrap(), b"half");
    // A variable has no zero byte, and an end.
    assert!(env["RESTAGE_FEEDBACK"].starts_with("zero\u{fffd}byte éé"));
    assert!((FEEDBACK_MAX - 8..FEEDBACK_MAX + 8).contains(&env["RESTAGE_FEEDBACK"].len()));
    assert_eq!(fs::read_to_string(&env["RESTAGE_FEEDBACK_FILE"]).unwrap(), feedback);
    // A program can be started with it.
    assert!(std::process::Command::new("true").envs(&env).status().unwrap().success());

    fs::remove_dir_all(place.dirs.path(&before)).unwrap();
    let env = place.dirs.prepare(&place.objects, &given).unwrap();
    assert!(!env.contains_key("RESTAGE_PREVIOUS"));
}

#[test]
fn artifacts_of_ancestors_are_copies_that_only_look_writable_to_nobody() {
    let place = Place::new();
    let (script, odd) = (artifact(&place, "a/b/go.sh", "run"), artifact(&place, "it's \"odd\"\n.txt", "odd"));
    let script = Artifact { executable: true, ..script };
    let stages = ["draw", "write", "idle"].map(StageName::trusted);
    let (drawn, written) = ([script.clone(), odd.clone()], [odd.clone()]);
    let inputs: [(&StageName, &[Artifact]); 3] =
        [(&stages[0], &drawn), (&stages[1], &written), (&stages[2], &[])];
    let key = key("render", 1);
    place.dirs.prepare(&place.objects, &Given { inputs: &inputs, ..given(&key) }).unwrap();
    let folder = place.dirs.path(&key).join("inputs");
    let files = ["draw/", "draw/a/", "draw/a/b/", "draw/a/b/go.sh", "draw/it's \"odd\"\n.txt", "write/"];
    assert_eq!(tree(&folder)[..6], files);
    assert_eq!(fs::read(folder.join("draw/a/b/go.sh")).unwrap(), b"run");
    assert_eq!(mode(&folder.join("draw/a/b/go.sh")), 0o555);
    assert_eq!(mode(&folder.join("write/it's \"odd\"\n.txt")), 0o444);
    for name in ["", "draw", "draw/a", "draw/a/b", "write"] {
        assert_eq!(mode(&folder.join(name)), 0o555, "{name}");
    }
    // A stage that takes the right all the same harms nobody else.
    let copy = folder.join("write/it's \"odd\"\n.txt");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&copy, "scribble").unwrap();
    place.objects.verify(&odd).unwrap();

    place.dirs.leave_inputs(&key);
    place.dirs.leave_inputs(&key);
    let runs = place.dirs.root().to_owned();
    let place = place.without_dirs();
    assert_eq!(tree(&runs.join("video-12/render_1")), ["artifacts/", "state.json"]);
    drop(place);
}

#[test]
fn nothing_of_a_supervisor_that_died_is_left_in_a_new_folder() {
    let place = Place::new();
    let outside = place.write("outside/precious", "x");
    let key = key("render", 1);
    let folder = place.dirs.path(&key);
    let leave: [&dyn Fn(); 3] = [
        &|| {
            place.write(".restage/runs/video-12/render_1/artifacts/old/deep", "x");
            place.write(".restage/runs/video-12/render_1/output", "old=1");
            symlink(place.path("outside"), folder.join("inputs")).unwrap();
            fs::set_permissions(folder.join("artifacts/old"), fs::Permissions::from_mode(0o500)).unwrap();
        },
        &|| symlink(place.path("outside"), &folder).unwrap(),
        &|| fs::write(&folder, "a file").unwrap(),
    ];
    for leave in leave {
        fs::remove_dir_all(place.path(".restage")).ok();
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        leave();
        place.prepare(&key);
        assert_eq!(tree(&folder), ["artifacts/", "state.json"]);
        assert!(outside.exists());
    }
}

#[test]
fn a_link_on_the_way_leads_nowhere() {
    let place = Place::new();
    let precious = place.write("outside/render_1/state.json", "x");
    fs::create_dir_all(place.path(".restage/runs")).unwrap();
    symlink(place.path("outside"), place.path(".restage/runs/video-12")).unwrap();
    let key = key("render", 1);
    let error = place.dirs.prepare(&place.objects, &given(&key)).unwrap_err();
    assert!(error.to_string().starts_with("make the folder "), "{error}");
    place.dirs.remove(&key).unwrap_err();
    place.dirs.leave(&key, true);
    let _place = place.without_dirs();
    assert!(precious.exists());
}

#[test]
fn one_that_cannot_be_prepared_leaves_no_folder() {
    let place = Place::new();
    let good = artifact(&place, "good", "good");
    let stage = StageName::trusted("draw");
    let key = key("render", 1);
    let try_with = |other: Artifact| {
        let artifacts = [good.clone(), other];
        let inputs: [(&StageName, &[Artifact]); 1] = [(&stage, &artifacts)];
        let error =
            place.dirs.prepare(&place.objects, &Given { inputs: &inputs, ..given(&key) }).unwrap_err();
        assert!(!place.dirs.path(&key).exists());
        let AttemptError::Files(FileError::Lost { .. }) = &error else { panic!("{error}") };
        error.to_string()
    };
    let gone = Artifact { hash: crate::domain::flow::ids::Hash::of(["gone"]), ..good.clone() };
    assert!(try_with(gone).contains("artifact good: its bytes are gone"));
    for name in ["../out", "/etc/x", "a//b", "a/./b", "", "a\0b", ".."] {
        let error = try_with(Artifact { name: name.into(), ..good.clone() });
        assert!(error.contains("its name leads out of its folder"), "{error}");
    }
    assert!(!place.path("out").exists());
}

#[test]
fn on_a_full_disk_it_waits_and_leaves_nothing() {
    let Some(place) = Place::small("size=256k") else { return };
    place.prepare(&key("draw", 1));
    let before = tree(place.dir.path());
    let state = vec![b' '; 300 << 10];
    let key = key("render", 1);
    let error = place.dirs.prepare(&place.objects, &Given { state: &state, ..given(&key) }).unwrap_err();
    let AttemptError::Files(error) = error else { panic!("{error}") };
    assert!(error.is_later() && error.to_string().contains("state.json: No space left"), "{error}");
    assert_eq!(tree(place.dir.path()), before);
    place.prepare(&key);
}

#[test]
fn where_no_file_can_be_made_any_more_it_waits_whatever_was_to_be_made() {
    let Some(place) = Place::small("nr_inodes=40") else { return };
    let mut fillers = Vec::new();
    while let Ok(file) = fs::File::create(place.path(&format!("filler-{}", fillers.len()))) {
        drop(file);
        fillers.push(place.path(&format!("filler-{}", fillers.len())));
    }
    let key = key("render", 1);
    let mut waited = 0;
    // With room for one file more each time.
    while let Err(error) = place.dirs.prepare(&place.objects, &given(&key)) {
        let AttemptError::Files(error) = error else { panic!("{error}") };
        assert!(error.is_later() && error.to_string().contains("No space left"), "{error}");
        assert!(place.dirs.open(&key).is_err(), "what was begun is removed");
        fs::remove_file(fillers.pop().unwrap()).unwrap();
        waited += 1;
    }
    assert!(
        waited >= 6,
        "{waited} of them: two folders, that of the run, that of the attempt, and what is in it"
    );
}

#[test]
fn what_is_removed_is_gone_and_no_more_than_that() {
    let place = Place::new();
    let (first, second) = (key("render", 1), key("render", 2));
    let item = AttemptKey { item: Some(0), ..key("fan", 1) };
    let precious = place.write("outside/precious", "x");
    let make = || {
        for key in [&first, &second, &item] {
            place.prepare(key);
        }
        place.write(".restage/runs/video-12/render_1/artifacts/a/b/c", "x");
        place.write(".restage/runs/video-12/render_1/other", "x");
        symlink(place.path("outside"), place.dirs.path(&first).join("artifacts/link")).unwrap();
        place.write(".restage/runs/video-12/logs/render_1.log", "log");
    };
    make();
    place.dirs.remove(&first).unwrap();
    place.dirs.remove(&first).unwrap();
    place.dirs.remove(&AttemptKey { run: RunId::trusted("none"), ..first.clone() }).unwrap();
    assert!(!place.dirs.path(&first).exists() && place.dirs.path(&second).exists());
    // What a stage put in the place of its folder goes, and what that means stays.
    symlink(place.path("outside"), place.dirs.path(&first)).unwrap();
    place.dirs.remove(&first).unwrap();

    make();
    for key in [&first, &item, &first] {
        place.dirs.leave(key, true);
    }
    let place = place.without_dirs();
    let runs = tree(&place.path(".restage/runs/video-12"));
    assert_eq!(
        runs,
        ["logs/", "logs/render_1.log", "render_2/", "render_2/artifacts/", "render_2/state.json"]
    );
    assert!(precious.exists());
}

#[test]
fn a_folder_tells_whose_it_is() {
    let item = AttemptKey { item: Some(3), ..key("a.0_1", 12) };
    for (key, name) in [(key("a_1", 2), "a_1_2"), (item, "a.0_1,3_12")] {
        assert_eq!(key.folder(), name);
        assert_eq!(AttemptKey::of_folder(&key.run, name), Some(key));
    }
    for name in ["logs", "a", "a_", "a_x", "_1", "a,_1", "a,1", "a_01", "a_+1", "a,1,2_1", ".empty", "a/b_1"]
    {
        assert_eq!(AttemptKey::of_folder(&RunId::trusted("r"), name), None, "{name}");
    }
}

#[test]
fn those_without_inputs_share_a_folder_that_stays_empty() {
    let place = Place::new();
    place.prepare(&key("render", 1));
    let empty = place.path(".restage/runs/.empty");
    assert_eq!(mode(&empty), 0o555);
    let id = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = id(&empty);
    place.prepare(&key("render", 2));
    assert_eq!(id(&empty), before);
    let spoil: [&dyn Fn(); 4] = [
        &|| {
            fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(empty.join("junk"), "x").unwrap();
        },
        &|| fs::remove_dir(&empty).unwrap(),
        &|| {
            fs::remove_dir(&empty).unwrap();
            symlink(place.dir.path(), &empty).unwrap();
        },
        &|| fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).unwrap(),
    ];
    for (number, spoil) in (3..).zip(spoil) {
        spoil();
        place.prepare(&key("render", number));
        assert_eq!(mode(&empty), 0o555);
        assert_eq!(tree(&empty), [] as [&str; 0]);
    }
}

#[test]
fn attempts_of_one_run_come_and_go_at_once() {
    let place = Place::new();
    thread::scope(|scope| {
        for item in 0..4 {
            let place = &place;
            scope.spawn(move || {
                for attempt in 1..=50 {
                    let key = AttemptKey { item: Some(item), ..key("fan", attempt) };
                    assert!(place.prepare(&key).join("state.json").exists());
                    place.dirs.leave(&key, true);
                }
            });
        }
    });
    let place = place.without_dirs();
    assert_eq!(tree(&place.path(".restage/runs/video-12")), [] as [&str; 0]);
}

#[test]
fn a_folder_that_was_left_as_it_was_made_is_the_next_ones() {
    let place = Place::new();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let mut before = key("render", 1);
    place.prepare(&before);
    for (number, state) in (2..).zip([&b"{}\n"[..], b"{}\n", b"{\"a\":1}\n", b"{}\n"]) {
        let (was, at) = (inode(&place.dirs.path(&before)), place.dirs.path(&before));
        place.dirs.leave(&before, true);
        place.dirs.leave(&before, true);
        let next = AttemptKey { run: RunId::trusted(format!("video-{number}")), ..key("next", number) };
        place.dirs.prepare(&place.objects, &Given { state, ..given(&next) }).unwrap();
        let path = place.dirs.path(&next);
        assert_eq!((inode(&path), at.exists()), (was, false));
        assert_eq!(tree(&path), ["artifacts/", "state.json"]);
        assert_eq!(fs::read(path.join("state.json")).unwrap(), state);
        before = next;
    }
    place.dirs.leave(&before, true);
    place.dirs.rest();
    let runs = place.dirs.root().to_owned();
    let _place = place.without_dirs();
    assert_eq!(tree(&runs.join("video-5")), [] as [&str; 0]);
}

#[test]
fn a_folder_that_anybody_has_changed_is_nobody_elses() {
    let place = Place::new();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let outside = place.write("outside/precious", "x");
    let change: [&dyn Fn(&Path); 8] = [
        &|folder| fs::write(folder.join("output"), "a=1").unwrap(),
        &|folder| fs::write(folder.join("artifacts/file"), "x").unwrap(),
        &|folder| fs::create_dir(folder.join("artifacts/folder")).unwrap(),
        &|folder| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap(),
        &|folder| fs::set_permissions(folder.join("artifacts"), fs::Permissions::from_mode(0o500)).unwrap(),
        &|folder| fs::hard_link(folder.join("state.json"), place.path("outside/state.json")).unwrap(),
        &|folder| {
            fs::remove_file(folder.join("state.json")).unwrap();
            symlink(&outside, folder.join("state.json")).unwrap();
        },
        &|folder| {
            fs::remove_dir(folder.join("artifacts")).unwrap();
            symlink(place.path("outside"), folder.join("artifacts")).unwrap();
        },
    ];
    for (number, change) in (1..).zip(change) {
        let (first, second) = (key("first", number), key("second", number));
        let folder = place.prepare(&first);
        let was = inode(&folder);
        change(&folder);
        // Kept in use, so that its number is not given to another one.
        let _held = File::open(&folder).unwrap();
        place.dirs.leave(&first, true);
        let folder = place.prepare(&second);
        assert_ne!(inode(&folder), was, "{number}");
        assert_eq!(tree(&folder), ["artifacts/", "state.json"], "{number}");
        place.dirs.remove(&second).unwrap();
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "x");
}

#[test]
fn a_spare_that_is_gone_or_does_not_fit_is_no_loss() {
    let place = Place::new();
    let (first, second, third) = (key("first", 1), key("second", 1), key("third", 1));
    place.prepare(&first);
    place.dirs.leave(&first, true);
    place.dirs.remove(&first).unwrap();
    let folder = place.prepare(&second);
    assert_eq!(tree(&folder), ["artifacts/", "state.json"]);
    // Of a supervisor that died.
    place.write(".restage/runs/video-12/third_1/artifacts/old", "x");
    place.dirs.leave(&second, true);
    let folder = place.prepare(&third);
    assert_eq!(tree(&folder), ["artifacts/", "state.json"]);
    let place = place.without_dirs();
    assert_eq!(
        tree(&place.path(".restage/runs/video-12")),
        ["third_1/", "third_1/artifacts/", "third_1/state.json"]
    );
}

#[test]
fn what_an_attempt_left_is_seen_at_its_end() {
    let place = Place::new();
    let check = |number, leave: &dyn Fn(&Path), artifacts, bare| {
        let key = key("render", number);
        leave(&place.prepare(&key));
        let left = place.dirs.look(&key);
        assert_eq!((left.artifacts, left.bare), (artifacts, bare), "{number}");
    };
    check(1, &|_| (), Ok(false), true);
    check(2, &|folder| fs::write(folder.join("output"), "").unwrap(), Ok(false), false);
    check(3, &|folder| fs::create_dir(folder.join("scratch")).unwrap(), Ok(false), false);
    check(4, &|folder| fs::write(folder.join("artifacts/file"), "x").unwrap(), Ok(true), false);
    check(5, &|folder| fs::remove_dir(folder.join("artifacts")).unwrap(), Err(Errno::ENOENT), false);
    let gone = place.dirs.look(&key("render", 9));
    assert_eq!((gone.folder.err(), gone.bare), (Some(Errno::ENOENT), false));
}

#[test]
fn one_that_turns_out_to_be_no_spare_goes_as_any_other() {
    let place = Place::new();
    let (first, second) = (key("first", 1), key("second", 1));
    fs::write(place.prepare(&first).join("output"), "").unwrap();
    place.dirs.leave(&first, true);
    place.prepare(&second);
    let place = place.without_dirs();
    assert_eq!(
        tree(&place.path(".restage/runs/video-12")),
        ["second_1/", "second_1/artifacts/", "second_1/state.json"]
    );
}
