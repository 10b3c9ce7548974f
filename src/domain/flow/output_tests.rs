use proptest::prelude::*;

use super::*;

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn read(text: impl AsRef<[u8]>, declared: &str) -> Result<Output, OutputError> {
    parse(text.as_ref(), Declared { outputs: &names(declared), allow_degraded: true })
}

fn told(text: impl AsRef<[u8]>, declared: &str) -> String {
    match read(text, declared) {
        Ok(output) => format!("{:?}", output.outputs),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_object_passes_untouched() {
    let text =
        " {\"n\": 12345678901234567890123, \"deep\": {\"z\": [1, {\"z\": 1, \"z\": 2}], \"a\": 1e400}}\n";
    let output = read(text, "n deep").unwrap();
    assert_eq!(output.outputs["n"].text(), "12345678901234567890123");
    assert_eq!(output.outputs["deep"].text(), r#"{"z":[1,{"z":1,"z":2}],"a":1e400}"#);
    assert_eq!((output.degraded, output.cost), (false, None));
}

#[test]
fn lines_are_texts_as_they_stand() {
    let text = "a=1\n\nb = x=y<<z \r\nc<<EOF\n line 1\nd=no\r\n\nEOF\ne<<E\nE\nf=\n";
    let output = read(text, "a b c e f").map_err(|error| error.to_string());
    assert_eq!(
        output.unwrap_err(),
        r#"the output has "b ", which is not declared; "outputs" has "a", "b", "c", "e", "f""#
    );
    let output = read(text.replace("b =", "b="), "a b c e f").unwrap();
    let values: Vec<(&str, &str)> =
        output.outputs.iter().map(|(key, value)| (key.as_str(), value.text())).collect();
    assert_eq!(
        values,
        [
            ("a", r#""1""#),
            ("b", r#"" x=y<<z ""#),
            ("c", r#"" line 1\nd=no\r\n""#),
            ("e", r#""""#),
            ("f", r#""""#)
        ]
    );
}

#[test]
fn nothing_is_no_outputs() {
    for nothing in ["", " \n\t\r\n ", "\u{feff}", "{}", "\u{feff}{ }\n"] {
        assert_eq!(read(nothing, ""), Ok(Output::default()), "{nothing:?}");
    }
    assert_eq!(told("", "a b"), r#"the output lacks "a", "b", declared in "outputs""#);
    assert_eq!(told("\u{feff}a=1", "a"), r#"{"a": "1"}"#);
}

#[test]
fn each_kind_of_slip_is_named() {
    for (text, message) in [
        ("{\"a\": }", r#"the output is no JSON object, at "a": expected value at line 1 column 7"#),
        (
            "{\n \"a\": 1,\n \"b\": truth\n}",
            r#"the output is no JSON object, at "b": expected ident at line 3 column 10"#,
        ),
        (
            "{\"a\": 1,\n\"a\": 2}",
            r#"the output is no JSON object, at "a": it is there twice at line 2 column 3"#,
        ),
        (
            "{\"a\": 1, \"\\u0061\": 2}",
            r#"the output is no JSON object, at "a": it is there twice at line 1 column 17"#,
        ),
        ("{\"a\": 1}\n{\"a\": 2}", "the output is no JSON object: trailing characters at line 2 column 1"),
        ("{\"a\": 1", "the output is no JSON object: EOF while parsing an object at line 1 column 7"),
        (
            "{\"a\": \"x",
            r#"the output is no JSON object, at "a": EOF while parsing a string at line 1 column 8"#,
        ),
        ("{\"a\": NaN}", r#"the output is no JSON object, at "a": expected value at line 1 column 7"#),
        ("{a: 1}", "the output is no JSON object: key must be a string at line 1 column 2"),
        ("{\"a\": 1,}", "the output is no JSON object: trailing comma at line 1 column 9"),
        ("[1]", "the output is a JSON array; write a JSON object, or lines of key=value"),
        ("\"x\"", "the output is a JSON text; write a JSON object, or lines of key=value"),
        ("null", "line 1 of the output is neither key=value nor key<<EOF: \"null\""),
        ("a=1\nhello world\n", "line 2 of the output is neither key=value nor key<<EOF: \"hello world\""),
        ("a=1\n=2", "line 2 of the output has no key before its \"=\""),
        ("<<EOF\nEOF", "line 1 of the output has no key before its \"<<\""),
        ("a<<\nx", "line 1 of the output names nothing that ends \"a\": write a<<EOF"),
        ("\na<<EOF\nx\nEOF2\n", "\"a\" in line 2 of the output never ends: no line is \"EOF\""),
        ("a=1\nb=2\na=3", "\"a\" in line 3 of the output is there already, in line 1"),
        ("a=1", "the output lacks \"b\", declared in \"outputs\""),
        ("a=1\nb=2\nc=3", "the output has \"c\", which is not declared; \"outputs\" has \"a\", \"b\""),
    ] {
        assert_eq!(told(text, "a b"), message, "{text:?}");
    }
    assert_eq!(told("x=1", ""), "the output has \"x\", which is not declared; the stage has no \"outputs\"");
    assert_eq!(
        told(b"a=1\nb=\xff\xfe", "a b"),
        "the output is no UTF-8: the byte at offset 6 (line 2) begins no character"
    );
    let long = told("é".repeat(5_000), "");
    assert!(long.len() < 250 && long.contains('…'), "{long}");
}

#[test]
fn reports_are_no_state_unless_declared() {
    let output = read(r#"{"a": 1, "status": "degraded", "cost": 0.25}"#, "a").unwrap();
    assert_eq!((output.outputs.len(), output.degraded, output.cost), (1, true, Some(0.25)));
    let output = read("status=succeeded\ncost=3\na=1", "a").unwrap();
    assert_eq!((output.outputs.len(), output.degraded, output.cost), (1, false, Some(3.0)));
    let output = read("status=draft\ncost=dear", "status cost").unwrap();
    assert_eq!((output.outputs.len(), output.degraded, output.cost), (2, false, None));
    for (text, message) in [
        ("cost=dear", "the output's \"cost\" is \"dear\"; it has to be a number that is not negative"),
        ("{\"cost\": -1}", "the output's \"cost\" is -1; it has to be a number that is not negative"),
        ("{\"cost\": 1e400}", "the output's \"cost\" is 1e400; it has to be a number that is not negative"),
        ("{\"cost\": [1]}", "the output's \"cost\" is [1]; it has to be a number that is not negative"),
        ("cost=inf", "the output's \"cost\" is \"inf\"; it has to be a number that is not negative"),
        ("status=fine", "the output's \"status\" is \"fine\"; it has to be \"succeeded\" or \"degraded\""),
        ("{\"status\": true}", "the output's \"status\" is true; it has to be \"succeeded\" or \"degraded\""),
    ] {
        assert_eq!(told(text, ""), message);
    }
    let strict = Declared { outputs: &[], allow_degraded: false };
    assert_eq!(
        parse(b"status=degraded", strict).unwrap_err().to_string(),
        "the stage calls itself degraded, and only one with \"allow_degraded\": true may"
    );
    assert!(!parse(b"status=succeeded", strict).unwrap().degraded);
}

#[test]
fn what_is_too_large_is_not_looked_at() {
    let text = vec![b'{'; usize::try_from(MAX_OUTPUT_BYTES).unwrap() + 1];
    assert_eq!(
        parse(&text, Declared { outputs: &[], allow_degraded: false }).unwrap_err().to_string(),
        "the output has 67108865 bytes, and 67108864 (64 MiB) is the limit; write large things as artifacts"
    );
    assert_eq!(check_size(MAX_OUTPUT_BYTES), Ok(()));
}

#[test]
fn half_a_character_is_passed_on_to_nobody() {
    let half = told(r#"{"a": {"k": ["x\ud800y"]}}"#, "a");
    assert!(half.contains(r"it has \ud800, which is half a character"), "{half}");
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(told(&deep, "a").contains("nested deeper than 100 levels"), "{}", told(&deep, "a"));
    assert!(
        told(&deep[..100_000], "a").contains("EOF while parsing"),
        "{}",
        &told(&deep[..100_000], "a")[..80]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _answer = read(&bytes, "a b");
    }

    #[test]
    fn anything_that_looks_nearly_right_gives_an_answer(text in "[ \\n\\r{}\\[\\]\":,=<\\\\uab01EOF\u{feff}é-]{0,60}") {
        match read(&text, "a b") {
            Ok(output) => prop_assert_eq!(output.outputs.len(), 2),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn texts_come_back_as_they_were(a in "[^\\n\\r]{0,40}", b in "([^E\\n\\r]{0,10}\\n){0,5}[^E\\n\\r]{0,10}") {
        let output = read(format!("a={a}\nb<<EOF\n{b}\nEOF\n"), "a b").unwrap();
        prop_assert_eq!(output.outputs["a"].as_string(), Some(a.clone()));
        prop_assert_eq!(output.outputs["b"].as_string(), Some(b.clone()));
        let object = serde_json::to_string(&serde_json::json!({ "a": a, "b": b })).unwrap();
        prop_assert_eq!(read(object, "a b").unwrap(), output);
    }
}

#[test]
fn what_is_nested_too_deep_for_other_readers_is_refused() {
    let of = |levels: usize| format!(r#"{{"k": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let declared = ["k".to_owned()];
    let parsed = |text: String| {
        parse(text.as_bytes(), Declared { outputs: &declared, allow_degraded: false })
            .map_err(|error| error.to_string())
    };
    assert!(parsed(of(100)).is_ok());
    for levels in [101, 100_000] {
        let told = parsed(of(levels)).unwrap_err();
        assert!(told.contains('k') && told.contains("nested deeper than 100 levels"), "{told}");
    }
}
