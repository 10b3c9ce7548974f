//! Env files that no start can read.

use std::fs::File;

use super::Workspace;
use crate::domain::spec::MAX_ENV_FILE;

#[test]
fn a_pipe_and_what_is_too_large_are_no_env_files() {
    let workspace = Workspace::new();
    let path = |name: &str| workspace.root().join(name);
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(path("large")).unwrap().set_len(MAX_ENV_FILE + 1).unwrap();
    File::create(path("full")).unwrap().set_len(MAX_ENV_FILE).unwrap();
    for (name, message) in
        [("pipe", "ROOT/pipe is a named pipe"), ("large", "ROOT/large is larger than the 2 MiB")]
    {
        for config in [
            format!(r#"{{"runners": {{"a": {{"command": "true", "env_file": "{name}"}}}}}}"#),
            format!(
                r#"{{"flows": {{"a": {{"stages": [{{"name": "s", "command": "true", "env_file": "{name}"}}]}}}}}}"#
            ),
        ] {
            let told = workspace.load(&config).unwrap_err();
            assert_eq!(told.errors(), 1, "{config}");
            let told = workspace.neutral(&told.to_string());
            assert!(told.contains(message) && told.contains("hint: "), "{told}");
        }
    }
    let config = r#"{"runners": {"a": {"command": "true", "env_file": ["full", "/dev/null"]}}}"#;
    assert!(workspace.load(config).is_ok());
}
