//! What stages leave behind: outputs of every kind, artifacts of every name, and what is wrong with them.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Flows, stage};

#[test]
fn every_slip_in_an_output_fails_the_stage_and_says_which() {
    let cases: [(&str, &str); 18] = [
        ("", "it wrote no output"),
        (":", "the output lacks \"k\", declared in \"outputs\""),
        ("printf 'k=1\\nmore=2\\n'", "the output has \"more\", which is not declared; \"outputs\" has \"k\""),
        ("echo '{\"more\":1,\"k\":2}'", "the output has \"more\", which is not declared"),
        ("echo '{\"k\":1'", "the output is no JSON object: EOF"),
        ("echo '{\"k\":}'", "the output is no JSON object, at \"k\": expected value at line 1 column 6"),
        ("echo '{\"k\":1,\"k\":2}'", "the output is no JSON object, at \"k\": it is there twice"),
        ("echo '{\"k\":1} x'", "the output is no JSON object: trailing characters"),
        ("echo '[1]'", "the output is a JSON array"),
        ("echo hello", "line 1 of the output is neither key=value nor key<<EOF: \"hello\""),
        ("echo =1", "line 1 of the output has no key before its \"=\""),
        ("echo 'k<<'", "line 1 of the output names nothing that ends \"k\""),
        ("printf 'k<<EOF\\nx\\n'", "\"k\" in line 1 of the output never ends: no line is \"EOF\""),
        ("printf 'k=1\\nk=2\\n'", "\"k\" in line 2 of the output is there already, in line 1"),
        ("printf 'k=\\377\\n'", "the output is no UTF-8: the byte at offset 2 (line 1) begins no character"),
        (
            "printf 'k=1\\nstatus=degraded\\n'",
            "the stage calls itself degraded, and only one with \"allow_degraded\": true may",
        ),
        ("printf 'k=1\\ncost=-2\\n'", "the output's \"cost\" is \"-2\""),
        ("truncate", "the output has 68157440 bytes, and 67108864 (64 MiB) is the limit"),
    ];
    let all: serde_json::Map<String, Value> = cases
        .iter()
        .enumerate()
        .map(|(index, (script, _))| {
            let command = match *script {
                "" => "true".to_owned(),
                // Sparse, and too large to be looked at.
                "truncate" => "truncate -s 65M $RESTAGE_OUTPUT".to_owned(),
                script => format!("{script} > $RESTAGE_OUTPUT"),
            };
            let stage = json!({ "name": "a", "command": command, "outputs": ["k"] });
            (format!("f{index}"), json!({ "stages": [stage] }))
        })
        .collect();
    let flows = Flows::new(&Value::Object(all));
    for index in 0..cases.len() {
        flows.ok(&["run", &format!("f{index}"), "--detach"]);
    }
    for (index, (script, why)) in cases.iter().enumerate() {
        let run = format!("f{index}-1");
        flows.until(&run, "failed");
        let row = flows.stage(&run, "a");
        let error = row["error"].as_str().unwrap();
        assert!(error.contains(why), "{script}: {error}");
        assert_eq!((&row["outputs"], &row["checkpoint"]), (&Value::Null, &Value::Null), "{script}");
        assert_eq!(row["attempts"][0]["error"], error, "{script}");
    }
}

#[test]
fn a_state_that_is_too_large_fails_the_stage_that_would_read_it_and_names_what_is_large() {
    // Each of them fits.
    let large = |key: &str| {
        let script = format!(
            "{{ printf '{key}='; head -c 36000000 /dev/zero | tr '\\0' x; echo; }} > $RESTAGE_OUTPUT"
        );
        stage(key, &script, json!({ "outputs": [key] }))
    };
    let flows = Flows::new(&json!({ "f": { "stages": [
        large("one"), large("two"),
        stage("both", "", json!({ "needs": ["one", "two"] })),
    ] } }));
    let told = flows.ends(1, &["run", "f"]);
    let error = "the state for both has 72000018 bytes, and 67108864 (64 MiB) is the limit; write large things as \
        artifacts: ";
    let row = flows.stage("f-1", "both");
    assert!(row["error"].as_str().unwrap().contains(error), "{}", row["error"]);
    assert!(told.contains(error), "{told}");
    assert_eq!(
        (row["status"].as_str(), row["attempts"][0]["verdict"].as_str()),
        (Some("failed"), Some("spawn_failed"))
    );
    assert_eq!(["one", "two"].map(|one| flows.status("f-1", one)), ["succeeded"; 2]);
}

#[test]
fn a_failed_attempt_keeps_what_it_made_and_no_copies_of_what_it_was_given() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo x > $RESTAGE_ARTIFACTS/file", json!({ "artifacts": ["file"] })),
        stage("bad", "ls $RESTAGE_INPUTS/a; echo y > $RESTAGE_ARTIFACTS/half; exit 1", json!({ "needs": ["a"] })),
        stage("odd", "ls $RESTAGE_INPUTS/a; echo y > $RESTAGE_ARTIFACTS/half", json!({ "needs": ["a"] })),
    ] } }));
    flows.ends(1, &["run", "f"]);
    flows.ok(&["down"]);
    for stage in ["bad", "odd"] {
        let folder = flows.path(&format!(".restage/runs/f-1/{stage}_1"));
        let mut left: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["artifacts", "state.json"], "{stage}");
        assert!(folder.join("artifacts/half").exists());
        assert_eq!(flows.read(&format!(".restage/runs/f-1/logs/{stage}_1.log")), "file\n");
    }
}

#[test]
fn outputs_of_every_form_pass_as_they_are() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("lines", "printf 'a=1=2 \\nb<<END\\nx=1\\n\\n  y\\nEND\\nc=\\n' > $RESTAGE_OUTPUT", json!({
            "outputs": ["a", "b", "c"]
        })),
        stage("object", "printf '\\357\\273\\277 { \"d\" : { \"z\" : 1.50, \"a\" : [ ] }, \"cost\": 0.25 }' > $RESTAGE_OUTPUT",
            json!({ "outputs": ["d"], "needs": ["lines"] })),
        stage("more", "printf 'cost=0.5\\nstatus=succeeded\\n' > $RESTAGE_OUTPUT", json!({ "needs": ["lines"] })),
        stage("end", "cat $RESTAGE_STATE > state", json!({ "needs": ["object", "more"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    assert_eq!(flows.read("state").trim(), r#"{"a":"1=2 ","b":"x=1\n\n  y","c":"","d":{"z":1.50,"a":[]}}"#);
    assert_eq!(flows.show("f-1")["cost"], 0.75);
}

#[test]
fn artifacts_of_every_name_and_content_arrive_as_they_were() {
    let names = [
        "plain",
        "with space",
        "it's \"quoted\"",
        "a\\b",
        "sub/$HOME/`x`",
        "-rf",
        "\u{e9}\u{1f600}",
        "tab\there",
    ];
    let mut script = String::from("cd \"$RESTAGE_ARTIFACTS\"; mkdir -p 'sub/$HOME'; ");
    for name in names {
        let quoted = name.replace('\'', "'\\''");
        write!(script, "cat \"$OLDPWD/bytes\" > './{quoted}'; ").unwrap();
    }
    script.push_str("chmod +x plain; ln -s plain link; rm link");
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", &script, json!({ "artifacts": ["**"] })),
        stage("b", "cp -r \"$RESTAGE_INPUTS/a\" copy; ! echo x 2>/dev/null > \"$RESTAGE_INPUTS/a/plain\" || \
            echo evil > \"$RESTAGE_INPUTS/a/with space\"; ./copy/plain 2>/dev/null; true", json!({ "needs": ["a"] })),
        stage("c", "cmp bytes \"$RESTAGE_INPUTS/a/with space\" && cmp bytes \"$RESTAGE_INPUTS/a/plain\"",
            json!({ "needs": ["b"] })),
    ] } }));
    let bytes: Vec<u8> =
        (0..300_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(flows.path("bytes"), &bytes).unwrap();
    flows.ok(&["run", "f"]);
    for name in names {
        assert!(std::fs::read(flows.path("copy").join(name)).unwrap() == bytes, "{name:?}");
    }
    assert_ne!(std::fs::metadata(flows.path("copy/plain")).unwrap().permissions().mode() & 0o100, 0);
    let row = flows.stage("f-1", "a");
    let listed = row["artifacts"].as_array().unwrap();
    assert_eq!(listed.len(), names.len());
    // The same bytes are kept once.
    assert!(listed.iter().all(|one| one["hash"] == listed[0]["hash"] && one["size"] == bytes.len()));
}

#[test]
fn artifacts_that_are_not_as_declared_fail_the_stage() {
    let cases = [
        ("true", "*.png"),
        ("touch $RESTAGE_ARTIFACTS/a.png $RESTAGE_ARTIFACTS/b.txt", "b.txt"),
        ("touch $RESTAGE_ARTIFACTS/a.png; ln -s /etc/passwd $RESTAGE_ARTIFACTS/b.png", "b.png"),
        ("touch $RESTAGE_ARTIFACTS/a.png; mkfifo $RESTAGE_ARTIFACTS/b.png", "b.png"),
        ("touch $RESTAGE_ARTIFACTS/\"$(printf 'x\\377.png')\"", "x"),
        // It takes away what it was given.
        ("rm -rf $RESTAGE_ARTIFACTS", "no file in $RESTAGE_ARTIFACTS matches"),
        ("d=$(dirname $RESTAGE_OUTPUT); chmod -R u+w $d; rm -rf $d", "no file in $RESTAGE_ARTIFACTS matches"),
    ];
    let all: serde_json::Map<String, Value> = cases
        .iter()
        .enumerate()
        .map(|(index, (script, _))| {
            (
                format!("f{index}"),
                json!({ "stages": [{ "name": "a", "command": script, "artifacts": ["*.png"] }] }),
            )
        })
        .collect();
    let flows = Flows::new(&Value::Object(all));
    for index in 0..cases.len() {
        flows.ok(&["run", &format!("f{index}"), "--detach"]);
    }
    for (index, (script, why)) in cases.iter().enumerate() {
        let run = format!("f{index}-1");
        flows.until(&run, "failed");
        let row = flows.stage(&run, "a");
        let error = row["error"].as_str().unwrap();
        assert!(error.contains(why), "{script}: {error}");
    }
    // Where nothing was to be left, nothing is missed.
    flows.configure(&json!({ "g": { "stages": [
        { "name": "a", "command": "d=$(dirname $RESTAGE_OUTPUT); chmod -R u+w $d; rm -rf $d" },
        { "name": "b", "needs": ["a"], "command": "rm -rf .restage/runs/g-1" },
        { "name": "c", "needs": ["b"], "command": ["true"] },
    ] } }));
    let (code, _, told) = flows.run(&["run", "g"]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn a_large_state_neither_ends_the_connection_nor_is_cut() {
    let big = "x".repeat(4 << 20);
    let flows = Flows::new(&json!({ "f": { "stages": [
        { "name": "a", "command": "(printf a=; cat big) > $RESTAGE_OUTPUT", "outputs": ["a"] },
        { "name": "b", "command": "(printf b=; cat big) > $RESTAGE_OUTPUT", "outputs": ["b"] },
        { "name": "c", "command": "(printf c=; cat big) > $RESTAGE_OUTPUT", "outputs": ["c"] },
        { "name": "end", "command": "wc -c < $RESTAGE_STATE > size", "needs": ["a", "b", "c"] },
    ] } }));
    flows.write("big", &big);
    flows.ok(&["run", "f"]);
    assert!(flows.read("size").trim().parse::<usize>().unwrap() > 3 * big.len());
}

#[test]
fn a_degraded_stage_is_used_downstream_and_can_be_retried() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo '{\"k\":1,\"status\":\"degraded\"}' > $RESTAGE_OUTPUT; \
            [ ! -e \"$PWD/whole\" ] || echo '{\"k\":2}' > $RESTAGE_OUTPUT", json!({ "outputs": ["k"], "allow_degraded": true })),
        stage("b", "cat $RESTAGE_STATE > state", json!({ "needs": ["a"] })),
        stage("beside", "", json!({})),
    ] }, "g": { "stages": [
        stage("a", "exit 7", json!({ "degraded_exit_codes": [7] })),
    ] } }));
    let told = flows.ends(4, &["run", "f"]);
    assert!(told.contains("Degraded: f-1/a"), "{told}");
    assert_eq!(
        (flows.show("f-1")["status"].as_str(), flows.read("state").trim()),
        (Some("degraded"), "{\"k\":1}")
    );
    flows.ends(0, &["run", "f", "--allow-degraded"]);
    flows.write("whole", "");
    flows.ran();
    // What is degraded may be retried without force, and by default is.
    flows.ends(0, &["retry", "f-1"]);
    assert_eq!(
        (flows.ran(), flows.read("state").trim().to_owned()),
        (vec!["a".into(), "b".into()], "{\"k\":2}".into())
    );
    assert_eq!(flows.show("f-3")["status"], "succeeded");
    flows.ends(0, &["retry", "f-2", "--from", "b", "--force", "--allow-degraded"]);
    assert_eq!((flows.ran(), flows.read("state").trim().to_owned()), (vec!["b".into()], "{\"k\":1}".into()));
    assert_eq!(flows.show("f-4")["status"], "degraded");
    flows.ends(4, &["run", "g"]);
}
