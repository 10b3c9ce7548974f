//! What a stage needs of the disk and an earlier one makes.

use serde_json::json;

use super::{Flows, stage};

#[test]
fn a_folder_and_an_env_file_are_only_missed_by_the_stage_that_starts_without_them() {
    let flows = Flows::new(&json!({
        "built": { "stages": [
            stage("make", "mkdir -p out; echo WORD=made > out/made.env", json!({})),
            { "name": "use", "command": "echo $WORD > word", "needs": ["make"],
              "cwd": "out", "env_file": "out/made.env" },
        ] },
        "never": { "stages": [{ "name": "use", "command": "true", "env_file": "never.env" }] },
        "nowhere": { "stages": [{ "name": "use", "command": "true", "cwd": "nowhere" }] },
    }));
    let told = flows.ends(0, &["check"]);
    assert_eq!(told.matches("it has to be there when the stage starts").count(), 4, "{told}");
    flows.ends(0, &["run", "built"]);
    assert_eq!(flows.read("out/word"), "made\n");
    assert!(flows.ends(1, &["run", "never"]).contains("read the env file"));
    assert!(flows.ends(1, &["run", "nowhere"]).contains("enter the folder"));
}
