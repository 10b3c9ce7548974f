//! Broken configs and, word for word, what is said of each. The tables are text: a config, `---`, what is said, `===`.

use super::Workspace;

const SYNTAX: &str = include_str!("broken_syntax.txt");
const VALUES: &str = include_str!("broken_values.txt");
const FLOWS: &str = include_str!("broken_flows.txt");

#[test]
fn every_broken_config_is_told_exactly() {
    let workspace = Workspace::new();
    let cases: Vec<&str> = [SYNTAX, VALUES, FLOWS].iter().flat_map(|table| table.split("===\n")).collect();
    assert!(cases.len() > 110, "{} cases", cases.len());
    for case in cases {
        let (config, expected) = case.split_once("\n---\n").unwrap();
        assert_eq!(told(&workspace, config.as_bytes()), expected.trim_end(), "for {config}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let workspace = Workspace::new();
    let told = |bytes: &[u8]| told(&workspace, bytes);
    assert_eq!(
        told(b"\xff\xfe{\x00}\x00"),
        "config.json:1:1: not UTF-8: byte 0xff at offset 0\n  hint: it looks like UTF-16; save it as UTF-8"
    );
    assert_eq!(
        told(b"{\"a\": 1,\n \"\xff\": 1}"),
        "config.json:2:3: not UTF-8: byte 0xff at offset 11\n  hint: save the file as UTF-8"
    );
    assert_eq!(
        told(b"\xef\xbb\xbf{\"runners\": 5}"),
        "config.json:1:1: warning: the file starts with a byte order mark\n  \
         hint: save it as UTF-8 without one; other programs stumble over it\n\
         config.json:1:13: runners: expected an object with a name for each runner, found 5"
    );
}

#[test]
fn commands_that_the_kernel_would_refuse() {
    let workspace = Workspace::new();
    let list = |items: usize, length: usize| {
        let long = format!("\"{}\"", "x".repeat(length));
        format!(r#"{{"runners": {{"a": {{"command": ["true", {}]}}}}}}"#, vec![long; items].join(", "))
    };
    assert_eq!(
        told(&workspace, list(1, 10_000_000).as_bytes()),
        "config.json:1:40: runners.a.command[1]: one argument of 10000000 bytes; the kernel takes 131071 at most\n  \
         hint: hand long text over in a file or on stdin"
    );
    assert_eq!(
        told(&workspace, list(100, 100_000).as_bytes()),
        "config.json:1:32: runners.a.command[0]: command and environment take 10000972 bytes together; the kernel \
         takes 2097152 at most\n  hint: hand long text over in a file or on stdin"
    );
    let env =
        format!(r#"{{"runners": {{"a": {{"command": "x", "env": {{"A": "{}"}}}}}}}}"#, "x".repeat(200_000));
    assert_eq!(
        told(&workspace, env.as_bytes()),
        "config.json:1:49: runners.a.env.A: one variable of 200000 bytes; the kernel takes 131071 at most\n  \
         hint: hand long text over in a file"
    );
    assert!(workspace.load(list(10, 100_000)).is_ok());
}

#[test]
fn files_that_are_no_config() {
    let workspace = Workspace::new();
    let told = |name: &str| {
        let path = workspace.root().join(name);
        let diagnostics = super::load(&path, &workspace.env()).unwrap_err();
        assert_eq!(diagnostics.errors(), 1);
        workspace.neutral(&diagnostics.human())
    };
    let begin = r#"begin with { "runners": { "hello": { "command": "echo hello" } } }"#;
    assert_eq!(
        told("gone.json"),
        format!(
            "ROOT/gone.json: the config cannot be read: it does not exist\n  hint: create it, or name another with --config; {begin}"
        )
    );
    assert_eq!(
        told("plain.txt/config.json"),
        format!(
            "ROOT/plain.txt/config.json: the config cannot be read: a part of the path is no folder\n  hint: create it, or name another with --config; {begin}"
        )
    );
    assert_eq!(
        told("folder"),
        "ROOT/folder: this is a folder, not a config\n  hint: name the file: ROOT/folder/config.json"
    );
    let fifo = workspace.root().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(told("fifo"), "ROOT/fifo: this is no regular file\n  hint: write the config to a file");
}

fn told(workspace: &Workspace, config: &[u8]) -> String {
    let shown = String::from_utf8_lossy(config);
    let Err(diagnostics) = workspace.load(config) else { panic!("this was taken: {shown}") };
    workspace.neutral(&diagnostics.to_string())
}
