use std::os::unix::fs::symlink;

use super::super::testing::Place;
use super::*;
use crate::domain::flow::spec::Foreach;
use crate::domain::flow::testing::flow;

type Change<'a> = &'a dyn Fn(&mut StageSpec);

fn stage(place: &Place, command: &[&str]) -> StageSpec {
    StageSpec {
        command: CommandSpec::Argv(command.iter().map(|word| (*word).to_owned()).collect()),
        cwd: place.path(""),
        ..flow("draw: >out @*.png").stages.remove(0)
    }
}

fn shell(place: &Place, line: &str) -> StageSpec {
    StageSpec { command: CommandSpec::Shell(line.into()), ..stage(place, &[]) }
}

fn now(place: &Place, stage: &StageSpec) -> Recipe {
    Recipes::new(place.dir.path()).of(stage)
}

fn files(recipe: &Recipe) -> Vec<&str> {
    recipe.files.keys().map(String::as_str).collect()
}

#[test]
fn what_is_configured_counts_and_is_told_in_the_words_of_the_config() {
    let place = Place::new();
    let base = stage(&place, &["python3", "draw.py", "--fast"]);
    let before = now(&place, &base).hash();
    let plain = |value: &str| EnvValue::Plain(value.into());
    let changed: [(&str, Change<'_>); 9] = [
        ("command", &|it| it.command = CommandSpec::Argv(vec!["python3".into(), "draw.py --fast".into()])),
        ("command", &|it| it.command = CommandSpec::Shell("python3 draw.py --fast".into())),
        ("cwd", &|it| it.cwd = place.path("sub")),
        ("env COLOUR", &|it| drop(it.env.insert("COLOUR".into(), plain("red")))),
        ("env_file", &|it| it.env_files.push(place.path(".env"))),
        ("outputs", &|it| it.outputs.push("more".into())),
        ("artifacts", &|it| it.artifacts.clear()),
        ("foreach", &|it| it.foreach = Some(Foreach { key: "list".into(), max_parallel: None })),
        ("command, outputs", &|it| {
            it.command = CommandSpec::Argv(vec!["x".into()]);
            it.outputs.clear();
        }),
    ];
    for (label, change) in changed {
        let mut other = base.clone();
        change(&mut other);
        let recipe = now(&place, &other);
        assert_ne!(recipe.hash(), before, "{label}");
        assert_eq!(what_changed(place.dir.path(), Some(&base), None, &other, &recipe), label);
        assert_eq!(what_changed(place.dir.path(), Some(&other), None, &base, &recipe), label);
    }
    // When and how often it is executed changes nothing of what it makes.
    let mut same = base.clone();
    same.timeout = Some(std::time::Duration::from_secs(1));
    same.retry.count = 7;
    same.needs.clear();
    assert_eq!(now(&place, &same).hash(), before);
}

#[test]
fn a_secret_is_compared_by_its_hash() {
    let place = Place::new();
    let with = |value: EnvValue| {
        let mut stage = stage(&place, &["x"]);
        stage.env.insert("TOKEN".into(), value);
        stage
    };
    let today = with(EnvValue::Secret("s3cret".into()));
    let recorded = with(EnvValue::Hashed(Hash::of(["s3cret"])));
    let other = with(EnvValue::Secret("other".into()));
    assert_eq!(now(&place, &today).hash(), now(&place, &recorded).hash());
    assert_ne!(now(&place, &today).hash(), now(&place, &other).hash());
    let told = what_changed(place.dir.path(), Some(&recorded), None, &other, &now(&place, &other));
    assert_eq!(told, "env TOKEN");
    assert!(!format!("{:?}", now(&place, &today)).contains("s3cret"));
}

#[test]
fn files_of_the_workspace_that_the_command_names_count() {
    let place = Place::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("outside.sh");
    fs::write(&outside, "x").unwrap();
    for name in ["draw.py", "sub/lib.py", "make", "data file.csv", "-x"] {
        place.write(name, "one");
    }
    fs::create_dir_all(place.path("folder")).unwrap();
    symlink(&outside, place.path("python")).unwrap();
    symlink("draw.py", place.path("link.py")).unwrap();
    nix::unistd::mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let absolute = place.path("sub/lib.py");
    let (absolute, outside) = (absolute.to_str().unwrap(), outside.to_str().unwrap());
    for (command, counts) in [
        (&["./draw.py"][..], &["./draw.py"][..]),
        (&["python3", "draw.py", "sub/../sub/lib.py"], &["draw.py", "sub/../sub/lib.py"]),
        (&["python3", absolute, "data file.csv"], &[absolute, "data file.csv"]),
        (&["./python", "link.py"], &["link.py"]),
        // Found along PATH, an option, a folder, a pipe, outside, none.
        (&["make", "-x", "folder", "pipe", outside, "none", "", "../x"], &[]),
    ] {
        let mut counts = counts.to_vec();
        counts.sort_unstable();
        assert_eq!(files(&now(&place, &stage(&place, command))), counts, "{command:?}");
    }
    let line = "cd x && python3 'draw.py' none.csv|tee sub/lib.py; [ -e make ] && cat <make; ./draw.py";
    assert_eq!(files(&now(&place, &shell(&place, line))), ["./draw.py", "draw.py"]);
}

#[test]
fn the_files_that_were_noted_tell_which_changed() {
    let place = Place::new();
    for name in ["draw.py", "lib.py", "gone.py"] {
        place.write(name, "one");
    }
    let one = stage(&place, &["python3", "draw.py", "lib.py", "gone.py", "new.py"]);
    let noted = now(&place, &one).record();
    assert_eq!(noted.hash, now(&place, &one).hash());
    place.write("lib.py", "two");
    place.write("new.py", "one");
    fs::remove_file(place.path("gone.py")).unwrap();
    let told = |then: Option<&StageSpec>, noted| {
        what_changed(place.dir.path(), then, noted, &one, &now(&place, &one))
    };
    assert_eq!(told(Some(&one), Some(&noted)), "file gone.py is gone, file lib.py, file new.py is new");
    assert_eq!(told(None, Some(&noted)), "file gone.py is gone, file lib.py, file new.py is new");
    assert_eq!(
        told(None, None),
        "its command, environment, declared outputs or a file that its command names"
    );
}

#[test]
fn a_file_that_changed_is_told() {
    let place = Place::new();
    let script = place.write("draw.py", "one");
    let one = stage(&place, &["python3", "draw.py"]);
    let told = |one: &StageSpec| what_changed(place.dir.path(), Some(one), None, one, &now(&place, one));
    let before = now(&place, &one).hash();
    // What counts is what it contains.
    fs::remove_file(&script).unwrap();
    place.write("draw.py", "one");
    assert_eq!(now(&place, &one).hash(), before);
    place.write("draw.py", "two");
    assert_ne!(now(&place, &one).hash(), before);
    assert_eq!(told(&one), "file draw.py");
    place.write("lib.py", "x");
    assert_eq!(told(&stage(&place, &["python3", "draw.py", "lib.py"])), "one of the files draw.py, lib.py");
    fs::remove_file(&script).unwrap();
    assert_ne!(now(&place, &one).hash(), before);
    assert_eq!(told(&one), "a file that its command names is gone");

    let env = StageSpec { env_files: vec![place.write(".env", "A=1")], ..one };
    let before = now(&place, &env).hash();
    place.write(".env", "A=2");
    assert_ne!(now(&place, &env).hash(), before);
    assert_eq!(told(&env), "file .env");
}

#[test]
fn a_workspace_may_move() {
    let recipes = [Place::new(), Place::new()].map(|place| {
        place.write("sub/draw.py", "one");
        let mut stage = StageSpec { cwd: place.path("sub"), ..stage(&place, &["./draw.py"]) };
        stage.env_files.push(place.write(".env", "A=1"));
        now(&place, &stage).hash()
    });
    assert_eq!(recipes[0], recipes[1]);
}

#[test]
fn what_a_stage_writes_itself_counts_as_it_left_it() {
    let place = Place::new();
    place.write("in.mp4", "in");
    let cut = stage(&place, &["ffmpeg", "-i", "in.mp4", "out.mp4"]);
    let begin = now(&place, &cut);
    place.write("out.mp4", "out");
    let kept = begin.and_made(&now(&place, &cut)).hash();
    assert_eq!(now(&place, &cut).hash(), kept);
    place.write("out.mp4", "tampered");
    assert_ne!(now(&place, &cut).hash(), kept);
    // One that was edited while it was executed may have been read as it was.
    place.write("out.mp4", "out");
    let begin = now(&place, &cut);
    place.write("in.mp4", "edited");
    assert_ne!(begin.and_made(&now(&place, &cut)).hash(), now(&place, &cut).hash());
}

#[test]
fn a_long_file_is_told_by_its_ends_and_its_time() {
    let place = Place::new();
    let path = place.write("model", "");
    let long = |size: u64, byte: u8| {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[byte], size - 1).unwrap();
        now(&place, &stage(&place, &["run", "model"])).hash()
    };
    let before = long(WHOLE * 1000, 1);
    assert_eq!(now(&place, &stage(&place, &["run", "model"])).hash(), before);
    assert_ne!(long(WHOLE * 1000, 2), before);
    assert_ne!(long(WHOLE * 1000 + 1, 1), before);
}

#[test]
fn a_file_is_read_once_and_again_when_it_was_touched() {
    let place = Place::new();
    let path = place.write("step.py", "x");
    fs::hard_link(&path, place.path("same.py")).unwrap();
    let mut recipes = Recipes::new(place.dir.path());
    let mut of =
        |script: &str, n: u32| recipes.of(&stage(&place, &["python3", script, &n.to_string()])).files;
    let first = of("step.py", 0);
    for n in 0..1000 {
        assert_eq!(of("step.py", n), first);
    }
    assert_eq!(of("same.py", 0)["same.py"], first["step.py"]);
    place.write("step.py", "another");
    assert_ne!(of("step.py", 0), first);
    assert_eq!(recipes.read.len(), 2);
}
