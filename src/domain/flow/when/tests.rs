//! What expressions say, what they refuse, and that nothing makes them panic.

use proptest::prelude::*;

use super::*;

fn state() -> JsonMap {
    serde_json::from_str(
        r#"{"mode": "final", "count": 3, "big": 9007199254740993, "flag": true, "off": false, "none": null,
            "list": [1, "b", {"x": [7]}], "map": {"a b": 1, "in": {"deep": 2.5}}, "state": {"x": 1}, "a-b": "ä€",
            "huge": 1e999, "empty": []}"#,
    )
    .unwrap()
}

fn eval(text: &str) -> Result<bool, String> {
    Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).eval(&state())
}

#[test]
fn what_holds_and_what_does_not() {
    for (text, expected) in [
        ("true", true),
        ("null", false),
        ("flag", true),
        ("state.flag and not state.off", true),
        ("!flag || !off", true),
        ("not not flag", true),
        ("not flag or flag and off", false),
        ("(flag or off) and flag", true),
        (r#"mode == "final""#, true),
        ("mode == 'final' and count >= 3", true),
        (r#"state.mode != "final""#, false),
        ("count == 3.0 and count < 3.5 and -1 < count and count > 1e0", true),
        ("big == 9007199254740992", false),
        ("big > 9007199254740992", true),
        ("count == '3'", false),
        ("nowhere == null", true),
        ("nowhere", false),
        ("none == null and exists(none) and not exists(nowhere)", true),
        (
            "exists(list[2].x[0]) and not exists(list[2].y) and not exists(list[9]) and not exists(mode.x)",
            true,
        ),
        ("list[2].x[0] == 7", true),
        ("list == [1, 'b', map] or list[2] == list[2]", true),
        (r#"map["a b"] == 1 and state["map"]["in"].deep == map.in.deep"#, true),
        ("state.state.x == 1", true),
        ("len(list) == 3 and len('ä€') == 2 and len(map) == 2 and len(empty) == 0 and len(a-b) == 2", true),
        ("'b' in list and 2 not in list and not (9 in list)", true),
        ("'a b' in map and 'c' not in map and 'in' in mode", true),
        ("mode in ['draft', 'final'] and mode not in []", true),
        ("'a' < 'b' and 'b' >= 'b'", true),
        // The right side is not asked where the left one decides.
        ("exists(nowhere) and nowhere > 3", false),
        ("flag or nowhere > 3", true),
        (r#""it's \"so\"" == 'it\'s "so"'"#, true),
        (r"'\\n\n' == '\\n\n'", true),
    ] {
        assert_eq!(eval(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    for (text, error) in [
        ("count", "count is a number, and a condition has to be true or false; compare it with something"),
        ("not mode", "mode is a text, and a condition has to be true or false; compare it with something"),
        (
            "nowhere > 3",
            "nowhere is null, or not there and 3 is a number; only two numbers or two texts can be ordered",
        ),
        (
            "mode < count",
            "mode is a text and count is a number; only two numbers or two texts can be ordered",
        ),
        ("len(count) > 1", "count is a number, which has no length"),
        (
            "1 in count",
            "count is a number, where a list, an object or a text is looked into, and 1 is a number",
        ),
        ("1 in mode", "mode is a text, where a list, an object or a text is looked into, and 1 is a number"),
        ("huge > 1", "huge cannot be read: number out of range at line 1 column 5"),
    ] {
        assert_eq!(eval(text), Err(error.into()), "{text}");
    }
}

#[test]
fn what_can_never_be_answered_is_known_before() {
    for (text, error) in [
        ("1", "1 is a number, and a condition has to be true or false; compare it with something"),
        (
            "flag and not 'x'",
            "\"x\" is a text, and a condition has to be true or false; compare it with something",
        ),
        (
            "len(list)",
            "len(list) is a number, and a condition has to be true or false; compare it with something",
        ),
        (
            "[1] or flag",
            "the list is a list, and a condition has to be true or false; compare it with something",
        ),
    ] {
        assert_eq!(Expression::parse(text).unwrap().never().as_deref(), Some(error), "{text}");
    }
    for text in ["flag", "true", "not null or count", "len(list) > 1 and 'a' in list"] {
        assert_eq!(Expression::parse(text).unwrap().never(), None, "{text}");
    }
}

#[test]
fn what_is_no_expression_says_where() {
    for (text, error) in [
        ("", "at column 1: it is empty; write a condition such as key == \"value\""),
        ("a = 1", "at column 3: to compare, write =="),
        ("a == ", "at column 6: expected a key, a text, a number or a parenthesis, found the end"),
        ("a == 1 b", "at column 8: expected a comparison, and, or, or the end, found b"),
        ("(a", "at column 3: expected ), found the end"),
        ("ä == 'x", "at column 6: the text that starts here is not closed"),
        ("a & b", "at column 3: expected a comparison, and, or, or the end, found &"),
        ("a + 1", "at column 3: '+' has no meaning here"),
        ("1 < a < 3", "at column 7: one comparison at a time: join two with and"),
        ("state", "at column 1: state needs a key: state.KEY"),
        ("state[0]", "at column 1: state needs a key: state.KEY"),
        ("a.", "at column 3: expected a key behind the dot, found the end"),
        ("a[b]", "at column 3: expected a place such as [0] or [\"key\"], found b"),
        ("a[-1]", "at column 3: expected a place such as [0] or [\"key\"], found -1"),
        ("lower(a)", "at column 1: there is no function lower; there are exists and len"),
        ("exists('a')", "at column 8: exists(…) takes a key"),
        ("a not b", "at column 7: expected in, found b"),
        ("and", "at column 1: expected a key, found and; a key of that name is state.and"),
        ("x == 1.2.3", "at column 6: 1.2.3 is no number"),
        ("x == 007", "at column 6: 007 is no number"),
    ] {
        assert_eq!(Expression::parse(text).unwrap_err().to_string(), error, "{text}");
    }
    let deep = format!("{}a{}", "(".repeat(2000), ")".repeat(2000));
    let told = Expression::parse(&deep).unwrap_err().to_string();
    assert_eq!(told, "at column 33: more than 32 parentheses in one another");
    assert!(Expression::parse(&"a or ".repeat(1000)).unwrap_err().message.contains("too long"));
}

#[test]
fn the_keys_that_it_reads() {
    let expression =
        Expression::parse("state.b.c == 1 and (exists(a.x) or len(d) in [e, 1]) and not state['f g']")
            .unwrap();
    assert_eq!(expression.keys().into_iter().collect::<Vec<_>>(), ["a", "b", "d", "e", "f g"]);
}

#[test]
fn it_travels_as_its_text() {
    let text = r#""a == \"b\"""#;
    let expression: Expression = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&expression).unwrap(), text);
    assert_eq!(expression.text(), "a == \"b\"");
    assert!(serde_json::from_str::<Expression>("\"a ==\"").is_err());
}

fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a",
        "state",
        ".",
        "[",
        "]",
        "(",
        ")",
        "0",
        "-1",
        "1e5",
        "'x'",
        "\"",
        "'",
        "\\",
        " ",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        "!",
        "and ",
        " or ",
        "not ",
        " in ",
        "&&",
        "||",
        "exists(",
        "len(",
        "list",
        "map",
        "count",
        "mode",
        ",",
        "null",
        "true",
        "huge",
        "1e999",
        "ä",
        "\u{1f980}",
        "\n",
        "=",
        "-",
    ];
    prop_oneof![8 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => "\\PC{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_answered_or_refused(pieces in prop::collection::vec(piece(), 0..25)) {
        let text = pieces.concat();
        match Expression::parse(&text) {
            Ok(expression) => {
                let answer = expression.eval(&state());
                prop_assert_eq!(answer, Expression::parse(expression.text()).unwrap().eval(&state()));
                expression.keys();
                let _ = expression.eval(&JsonMap::new());
            }
            Err(error) => {
                prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1, "{} {:?}", error, text);
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn any_text_is_answered_or_refused(text in ".{0,200}") {
        let _ = Expression::parse(&text).map(|expression| expression.eval(&state()));
    }
}
