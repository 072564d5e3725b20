//! The search in a JSON text: what `JSON.parse` would find there, and what it would refuse.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn holds(path: &[&str], equals: Scalar, text: &str) -> Option<bool> {
    let path = path.iter().map(|step| (*step).to_owned()).collect();
    JsonCondition::new(path, equals).holds(text.as_bytes(), &mut Vec::new())
}

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

#[test]
fn a_value_is_found_at_its_path() {
    for (path, equals, payload) in [
        (&["a"][..], Scalar::Number(1.0), r#"{"a":1}"#),
        (
            &["a", "b"],
            text("x"),
            r#" { "b" : "x" , "a" : { "b" : "x" } } "#,
        ),
        (&["a", "1"], Scalar::Bool(true), r#"{"a":[false,true]}"#),
        (&["1", "a"], Scalar::Null, r#"[{"a":1},{"a":null}]"#),
        (&["1"], Scalar::Number(2.0), r#"{"1":2}"#),
        (&["1", "0"], Scalar::Number(2.0), "[[3],[2],[1]]"),
        (&[], text("x"), r#""x""#),
        (&[], Scalar::Bool(false), "false"),
        (&[""], Scalar::Number(0.0), r#"{"":-0}"#),
        (&["__proto__"], Scalar::Number(5.0), r#"{"__proto__":5}"#),
    ] {
        assert_eq!(holds(path, equals, payload), Some(true), "{payload}");
    }
}

#[test]
fn another_value_or_path_does_not_hold() {
    for (path, equals, payload) in [
        (&["a"][..], Scalar::Number(1.0), r#"{"a":"1"}"#),
        (&["a"], text("1"), r#"{"a":1}"#),
        (&["a"], Scalar::Null, "{}"),
        (&["a"], Scalar::Null, r#"{"b":null}"#),
        (&["a"], Scalar::Bool(true), r#"{"a":false}"#),
        (&["a"], text("x"), r#"{"a":["x"]}"#),
        (&["a"], text("x"), r#"{"b":{"a":"x"}}"#),
        (&["a", "b"], text("x"), r#"{"a":{"c":{"b":"x"}}}"#),
        (&["a", "b"], text("x"), r#"[{"a":{"b":"x"}}]"#),
        (&["a", "b"], text("x"), r#"{"a":"x","b":"x"}"#),
        (&["01"], Scalar::Number(2.0), "[1,2]"),
        (&["2"], Scalar::Number(2.0), "[1,2]"),
        (&["-1"], Scalar::Number(2.0), "[1,2]"),
        (&["length"], Scalar::Number(2.0), "[1,2]"),
        (&["0", "0"], Scalar::Number(2.0), "[[1],[2],[[2]]]"),
        (&[], text("x"), r#"["x"]"#),
    ] {
        assert_eq!(holds(path, equals, payload), Some(false), "{payload}");
    }
}

#[test]
fn of_members_with_the_same_name_the_last_one_counts() {
    let two = || Scalar::Number(2.0);
    for (payload, expected) in [
        (r#"{"a":1,"a":2}"#, false),
        (r#"{"a":{"b":2},"a":{"b":1}}"#, false),
        (r#"{"a":{"b":1},"a":{"b":2}}"#, true),
        (r#"{"a":{"b":2},"a":{}}"#, false),
        (r#"{"a":{"b":2},"a":7}"#, false),
        (r#"{"a":{"b":2},"a":[]}"#, false),
        (r#"{"a":{"b":1,"b":2}}"#, true),
        (r#"{"a":{"b":2,"b":{}}}"#, false),
        (r#"{"a":{"b":2,"b":[2]}}"#, false),
        (r#"{"a":{"b":2},"\u0061":{"b":1}}"#, false),
        (r#"{"a":{"b":1},"c":{"b":1},"a":{"b":2},"d":{"b":3}}"#, true),
    ] {
        assert_eq!(
            holds(&["a", "b"], two(), payload),
            Some(expected),
            "{payload}"
        );
    }
}

#[test]
fn numbers_are_compared_by_value() {
    for (written, number) in [
        ("1", 1.0),
        ("1.0", 1.0),
        ("1e0", 1.0),
        ("10E-1", 1.0),
        ("0.1e+1", 1.0),
        ("-0", 0.0),
        ("0.1", 0.1),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("9007199254740993.0000000000001", 9_007_199_254_740_994.0),
        ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
        ("5e-324", 5e-324),
        ("1e400", f64::INFINITY),
    ] {
        assert_eq!(
            holds(&[], Scalar::Number(number), written),
            Some(true),
            "{written}"
        );
    }
    assert_eq!(
        holds(&[], Scalar::Number(1.0), "1.0000000000000002"),
        Some(false)
    );
    assert_eq!(holds(&[], Scalar::Number(1.0), "-1"), Some(false));
}

#[test]
fn strings_are_compared_without_their_escapes() {
    for (written, wanted) in [
        (r#""\u0061b\u00fC""#, "abü"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""😀\u0000""#, "😀\0"),
    ] {
        assert_eq!(holds(&[], text(wanted), written), Some(true), "{written}");
        let object = format!("{{{written}:1}}");
        assert_eq!(
            holds(&[wanted], Scalar::Number(1.0), &object),
            Some(true),
            "{object}"
        );
    }
    for (written, wanted) in [
        (r#""\u0061""#, "ab"),
        (r#""\u0061b""#, "a"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ude00\ud83d""#, "😀"),
        (r#""\ud83d\u0041""#, "A"),
        (r#""\ud83dxxxxxx""#, "😀"),
        (r#""\ufffd""#, "\\ufffd"),
    ] {
        assert_eq!(holds(&[], text(wanted), written), Some(false), "{written}");
    }
}

#[test]
fn what_json_parse_refuses_is_no_json() {
    for payload in [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "1 2",
        "{}{}",
        "[1]x",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "nulll",
        "True",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\\",
        "\"a\nb\"",
        "\"\t\"",
        "\u{feff}1",
        "\u{a0}1",
        "{\"a\":1}\0",
        "1,",
        ":",
        ",",
        "{\"a\":1:2}",
        "[1:2]",
        "{\"a\",1}",
        "[1 2]",
        "{\"a\":1]",
        "[1}",
        "[[1]",
        "[1]]",
        "// x\n1",
    ] {
        assert_eq!(
            holds(&["a"], Scalar::Number(1.0), payload),
            None,
            "{payload}"
        );
    }
}

#[test]
fn a_text_of_any_depth_is_read() {
    let depth = 100_000;
    let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(holds(&["0"], Scalar::Null, &nested), Some(false));
    assert_eq!(holds(&["0"], Scalar::Null, &nested[1..]), None);
    let path = vec!["0".to_owned(); depth];
    let condition = JsonCondition::new(path, Scalar::Number(1.0));
    assert_eq!(
        condition.holds(nested.as_bytes(), &mut Vec::new()),
        Some(true)
    );
    let mixed = format!("{}1{}", "{\"a\":[".repeat(depth), "]}".repeat(depth));
    assert_eq!(holds(&["a"], Scalar::Null, &mixed), Some(false));
    let crossed = format!("{}1{}", "{\"a\":[".repeat(depth), "}]".repeat(depth));
    assert_eq!(holds(&["a"], Scalar::Null, &crossed), None);
}

/// The value to which a path leads, as JavaScript would go there.
fn follow<'value>(value: &'value Value, path: &[String]) -> Option<&'value Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => {
            let number = step
                .parse()
                .ok()
                .filter(|it: &usize| it.to_string() == *step)?;
            elements.get(number)
        }
        _ => None,
    })
}

fn is_equal(value: &Value, scalar: &Scalar) -> bool {
    match (value, scalar) {
        (Value::Null, Scalar::Null) => true,
        (Value::Bool(one), Scalar::Bool(other)) => one == other,
        (Value::Number(one), Scalar::Number(other)) => one.as_f64() == Some(*other),
        (Value::String(one), Scalar::Text(other)) => one == other,
        _ => false,
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("0"), Just("1"), Just("ü\"")].prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        prop_oneof![Just(0.5), Just(1.0), Just(-2.5e3)].prop_map(Value::from),
        key().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn wanted() -> impl Strategy<Value = Scalar> {
    scalar().prop_map(|value| match value {
        Value::Bool(value) => Scalar::Bool(value),
        Value::Number(value) => Scalar::Number(value.as_f64().unwrap()),
        Value::String(value) => Scalar::Text(value),
        _ => Scalar::Null,
    })
}

/// A text that looks like JSON: pieces of it in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"b\"",
        "\"0\"",
        "0",
        "1",
        "1.5",
        "true",
        "null",
        " ",
        "\"\\u0061\"",
        "\"",
        "\\",
        "-",
        "e1",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_search_finds_what_a_reader_of_the_whole_would_find(
        value in value(),
        path in prop::collection::vec(key(), 0..4),
        wanted in wanted(),
        is_pretty: bool,
    ) {
        let payload = if is_pretty { format!("{value:#}") } else { value.to_string() };
        let expected = follow(&value, &path).is_some_and(|value| is_equal(value, &wanted));
        let condition = JsonCondition::new(path, wanted);
        prop_assert_eq!(condition.holds(payload.as_bytes(), &mut Vec::new()), Some(expected), "{}", payload);
    }

    #[test]
    fn pieces_of_json_are_judged_as_a_reader_of_the_whole_judges_them(
        payload in pieces(),
        path in prop::collection::vec(key(), 0..3),
        wanted in wanted(),
    ) {
        let value: Option<Value> = serde_json::from_str(&payload).ok();
        let expected = value.map(|it| follow(&it, &path).is_some_and(|it| is_equal(it, &wanted)));
        let condition = JsonCondition::new(path, wanted);
        prop_assert_eq!(condition.holds(payload.as_bytes(), &mut Vec::new()), expected, "{}", payload);
    }

    #[test]
    fn any_text_is_judged(payload: String, path in prop::collection::vec(key(), 0..3)) {
        let condition = JsonCondition::new(path, Scalar::Null);
        let is_json = serde_json::from_str::<Value>(&payload).is_ok();
        let holds = condition.holds(payload.as_bytes(), &mut Vec::new());
        prop_assert_eq!(holds.is_some(), is_json);
    }
}
