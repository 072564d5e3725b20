//! The bytes that parameters become, and the errors of parameters that do not fit.

use super::*;
use crate::query::values::{Choice, Tape};

fn codec(ty: &Type) -> Codec {
    Codec::of(ty, Choice::default())
}

fn encoded(ty: &Type, param: Param) -> std::result::Result<Encoded, String> {
    encode_params(&[param], &[(codec(ty), ty.clone())])
        .map(|mut encoded| encoded.remove(0))
        .map_err(|error| error.message)
}

fn encode(ty: &Type, param: Param) -> std::result::Result<Option<BytesMut>, String> {
    encoded(ty, param).map(|it| it.bytes)
}

fn round_trip(ty: &Type, param: Param) -> Tape {
    let encoded = encoded(ty, param).unwrap();
    assert!(encoded.is_binary);
    let mut tape = Tape::default();
    codec(ty).decode(encoded.bytes(), &mut tape).unwrap();
    tape
}

fn text_of(tape: &Tape) -> String {
    tape.texts.iter().collect()
}

/// The text in which a parameter is sent.
fn sent_text(ty: &Type, param: Param) -> String {
    let encoded = encoded(ty, param).unwrap();
    assert!(!encoded.is_binary);
    String::from_utf8(encoded.bytes.unwrap().to_vec()).unwrap()
}

fn text(text: &str) -> Param {
    Param::Text(text.to_owned())
}

#[test]
fn an_integer_of_the_wrong_kind_or_size_says_what_was_expected() {
    assert_eq!(
        encode(&Type::INT4, Param::Bool(true)).unwrap_err(),
        "Expected parameter $1 (int4) to be an integer between -2147483648 and 2147483647, got `true` (boolean)"
    );
    assert_eq!(
        encode(&Type::INT2, Param::Number(32768.0)).unwrap_err(),
        "Expected parameter $1 (int2) to be an integer between -32768 and 32767, got `32768` (number)"
    );
    for value in [1.5, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        assert!(
            encode(&Type::INT8, Param::Number(value)).is_err(),
            "{value}"
        );
    }
    assert_eq!(
        round_trip(&Type::INT8, Param::BigInt(i64::MIN)).integers,
        [i64::MIN]
    );
    assert_eq!(
        round_trip(&Type::INT2, Param::BigInt(-32768)).numbers,
        [-32768.0]
    );
    assert_eq!(round_trip(&Type::INT2, text("-7")).numbers, [-7.0]);
    // Whether it is a number is the server's to say: from 16 on it is.
    assert_eq!(sent_text(&Type::INT4, text("0x10")), "0x10");
    assert!(encode(&Type::INT8, Param::HugeInt("9223372036854775808".into())).is_err());
}

#[test]
fn long_strings_are_shortened_in_errors() {
    let ty = Type::INT4_ARRAY;
    let literal = Param::HugeInt("9".repeat(1000));
    let error = encode(&ty, literal).unwrap_err();
    assert!(error.ends_with(&format!("got `{}…` (bigint)", "9".repeat(40))));
}

#[test]
fn numeric_takes_strings_numbers_and_bigints() {
    for (param, expected) in [
        (text("1.10"), "1.10"),
        (Param::Number(0.1), "0.1"),
        // Halfway between numbers of 17 digits, of which JavaScript writes the even one.
        (Param::Number(120.728_912_353_515_63), "120.72891235351562"),
        (
            Param::Number(((1_u64 << 60) - 256) as f64),
            "1152921504606846700",
        ),
        (Param::Number(1e21), "1000000000000000000000"),
        (Param::Number(5e-324), &format!("0.{}5", "0".repeat(323))),
        (Param::Number(f64::NAN), "NaN"),
        (Param::Number(f64::NEG_INFINITY), "-Infinity"),
        (Param::BigInt(-7), "-7"),
        (
            Param::HugeInt("170141183460469231731687303715884105728".into()),
            "170141183460469231731687303715884105728",
        ),
    ] {
        assert_eq!(text_of(&round_trip(&Type::NUMERIC, param)), expected);
    }
    assert_eq!(sent_text(&Type::NUMERIC, text("12,5")), "12,5");
    assert!(encode(&Type::NUMERIC, Param::Bool(true)).is_err());
}

#[test]
fn json_takes_text_as_it_is_and_writes_everything_else() {
    for (param, expected) in [
        (text("{\"a\": 1}"), "{\"a\": 1}"),
        (Param::Json("{}".into()), "{}"),
        (Param::Number(1.0), "1"),
        (Param::Bool(false), "false"),
        (Param::Array(vec![text("x"), Param::Null]), "[\"x\",null]"),
    ] {
        assert_eq!(text_of(&round_trip(&Type::JSONB, param.clone())), expected);
        assert_eq!(text_of(&round_trip(&Type::JSON, param)), expected);
    }
    assert_eq!(
        encode(&Type::JSON, Param::Array(vec![Param::BigInt(1)])).unwrap_err(),
        "Expected parameter $1 (json) to be a value that JSON can hold, got an array with a bigint in it"
    );
}

#[test]
fn dates_keep_their_utc_day() {
    let ms = 1_700_000_000_123.0;
    assert_eq!(
        round_trip(&Type::TIMESTAMPTZ, Param::Date(ms)).numbers,
        [ms]
    );
    assert_eq!(
        round_trip(&Type::DATE, Param::Date(ms)).numbers,
        [1_699_920_000_000.0]
    );
    assert_eq!(
        round_trip(&Type::DATE, Param::Date(-1.0)).numbers,
        [-86_400_000.0]
    );
    assert_eq!(sent_text(&Type::DATE, text("2024-01-01")), "2024-01-01");
}

#[test]
fn arrays_keep_their_shape() {
    let int = |value: f64| Param::Number(value);
    let nested = Param::Array(vec![
        Param::Array(vec![int(1.0), Param::Null]),
        Param::Array(vec![int(3.0), int(4.0)]),
    ]);
    let tape = round_trip(&Type::INT4_ARRAY, nested);
    assert_eq!(tape.numbers, [2.0, 2.0, 1.0, 2.0, 1.0, 1.0, 3.0, 4.0]);
    assert_eq!(tape.flags, [1, 1, 0, 1, 1]);
    let empty = [0.0];
    assert_eq!(
        round_trip(&Type::INT4_ARRAY, Param::Array(vec![])).numbers,
        empty
    );
    let deep = Param::Array(vec![Param::Array(vec![]), Param::Array(vec![])]);
    assert_eq!(round_trip(&Type::INT4_ARRAY, deep).numbers, empty);
    let bounded = Param::Bounded(vec![-5], vec![int(7.0)]);
    assert_eq!(
        round_trip(&Type::INT4_ARRAY, bounded).numbers,
        [1.0, 1.0, -5.0, 7.0]
    );
}

#[test]
fn an_array_has_as_many_lower_bounds_as_dimensions() {
    let one = || Param::Array(vec![Param::Number(1.0)]);
    for (bounds, values) in [
        (vec![], vec![Param::Number(1.0)]),
        (vec![2], vec![one()]),
        (vec![2, 3], vec![Param::Number(1.0)]),
        // As text.
        (vec![2], vec![Param::Array(vec![text("0x10")])]),
    ] {
        let dimensions = 1 + usize::from(matches!(values[0], Param::Array(_)));
        let given = bounds.len();
        assert_eq!(
            encode(&Type::INT4_ARRAY, Param::Bounded(bounds, values)).unwrap_err(),
            format!(
                "Expected parameter $1 (int4[]) to be an array of {dimensions} with a lower bound for each dimension, got one of {given}"
            )
        );
    }
    for bounds in [vec![], vec![2]] {
        let tape = round_trip(&Type::INT4_ARRAY, Param::Bounded(bounds, vec![]));
        assert_eq!(tape.numbers, [0.0]);
    }
}

#[test]
fn a_char_beyond_ascii_is_sent_as_the_byte_that_it_is() {
    for (given, byte) in [
        ("", 0),
        ("r", b'r'),
        ("\\", b'\\'),
        ("\\351", 0xe9),
        ("\\000", 0),
    ] {
        assert_eq!(
            encode(&Type::CHAR, text(given)).unwrap().unwrap()[..],
            [byte]
        );
    }
    let array = Param::Array(vec![text("\\377"), Param::Null]);
    assert_eq!(text_of(&round_trip(&Type::CHAR_ARRAY, array)), "\\377");
}

#[test]
fn half_of_a_surrogate_pair_is_told_by_its_name() {
    use tokio_postgres::types::{Field, Kind};
    let fields = vec![Field::new("label".into(), Type::TEXT)];
    let kind = Kind::Composite(fields);
    let labelled = Type::new("labelled".into(), 99_999, kind, "public".into());
    assert_eq!(
        encode(&labelled, object(r#"{"label":"\ud83d"}"#)).unwrap_err(),
        "Expected parameter $1 (labelled) to be a string, a number, a bigint or a boolean, got a string with half of a surrogate pair"
    );
}

#[test]
fn an_array_that_is_not_rectangular_says_where() {
    let int = |value: f64| Param::Number(value);
    assert_eq!(
        encode(
            &Type::INT4_ARRAY,
            Param::Array(vec![int(1.0), Param::Bool(true)])
        )
        .unwrap_err(),
        "Expected element [1] of parameter $1 (int4[]) to be an integer between -2147483648 and 2147483647, got `true` (boolean)"
    );
    assert_eq!(
        encode(
            &Type::INT4_ARRAY,
            Param::Array(vec![
                Param::Array(vec![int(1.0)]),
                Param::Array(vec![int(1.0), int(2.0)])
            ])
        )
        .unwrap_err(),
        "Expected element [1] of parameter $1 (int4[]) to be an array of 1, as long as the ones before it, got one of 2"
    );
    for ragged in [
        vec![Param::Array(vec![int(1.0)]), Param::Null],
        vec![int(1.0), Param::Array(vec![int(1.0)])],
        vec![Param::Array(vec![]), Param::Array(vec![int(1.0)])],
    ] {
        assert!(encode(&Type::INT4_ARRAY, Param::Array(ragged)).is_err());
    }
    let mut deep = int(1.0);
    for _ in 0..7 {
        deep = Param::Array(vec![deep]);
    }
    assert!(
        encode(&Type::INT4_ARRAY, deep)
            .unwrap_err()
            .contains("at most 6 dimensions")
    );
}

#[test]
fn a_number_beyond_float4_is_refused_and_infinity_is_not() {
    assert!(encode(&Type::FLOAT4, Param::Number(1e39)).is_err());
    assert_eq!(
        round_trip(&Type::FLOAT4, Param::Number(f64::INFINITY)).numbers,
        [f64::INFINITY]
    );
}

#[test]
fn an_infinite_moment_is_a_number() {
    let infinite = |ty: Type, value: f64| encode(&ty, Param::Number(value)).unwrap().unwrap();
    assert_eq!(
        infinite(Type::DATE, f64::INFINITY)[..],
        i32::MAX.to_be_bytes()
    );
    assert_eq!(
        infinite(Type::TIMESTAMP, f64::NEG_INFINITY)[..],
        i64::MIN.to_be_bytes()
    );
    let array = Param::Array(vec![Param::Number(f64::NEG_INFINITY)]);
    assert!(
        encode(&Type::TIMESTAMPTZ_ARRAY, array)
            .unwrap()
            .unwrap()
            .ends_with(&i64::MIN.to_be_bytes())
    );
}

#[test]
fn null_fits_every_type() {
    assert_eq!(encode(&Type::INT4, Param::Null).unwrap(), None);
    assert_eq!(encode(&Type::JSONB, Param::Null).unwrap(), None);
}

fn object(json: &str) -> Param {
    Param::Json(json.to_owned())
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn what_has_no_binary_form_of_ours_is_sent_as_the_text_that_the_server_reads() {
    let int = |value: i64| Param::BigInt(value);
    let point = || object(r#"{"x":1,"y":2.5}"#);
    let fields = |fields: &[(&str, Param)]| Param::Fields {
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        json: None,
    };
    for (ty, param, expected) in [
        (
            Type::INTERVAL,
            object(r#"{"months":14,"days":-3,"minutes":0.5}"#),
            "+14 months -3 days +0.5 minutes",
        ),
        (Type::POINT, point(), "(1,2.5)"),
        (
            Type::BOX,
            Param::Array(vec![point(), point()]),
            "(1,2.5),(1,2.5)",
        ),
        (Type::POLYGON, Param::Array(vec![point()]), "((1,2.5))"),
        (
            Type::PATH,
            fields(&[
                ("points", Param::Array(vec![point()])),
                ("closed", Param::Bool(false)),
            ]),
            "[(1,2.5)]",
        ),
        (Type::LINE, object(r#"{"a":1,"b":-1,"c":0}"#), "{1,-1,0}"),
        (
            Type::CIRCLE,
            fields(&[
                ("x", int(1)),
                ("y", int(2)),
                ("radius", Param::Number(f64::INFINITY)),
            ]),
            "<(1,2),Infinity>",
        ),
        (
            Type::INT4_RANGE,
            object(r#"{"lower":1,"upper":5}"#),
            r#"["1","5")"#,
        ),
        (
            Type::INT4_RANGE,
            object(r#"{"lower":null,"upper":5,"upperInclusive":true}"#),
            r#"[,"5"]"#,
        ),
        (
            Type::TSTZ_RANGE,
            fields(&[("lower", Param::Date(0.0)), ("upper", Param::Null)]),
            r#"["1970-01-01T00:00:00.000Z",)"#,
        ),
        (
            Type::INTERVAL,
            Param::Number(f64::NEG_INFINITY),
            "-infinity",
        ),
        (
            Type::TS_RANGE,
            fields(&[("upper", Param::Number(f64::INFINITY))]),
            r#"[,"infinity")"#,
        ),
        (
            Type::INT4MULTI_RANGE,
            Param::Array(vec![object(r#"{"isEmpty":true}"#)]),
            "{empty}",
        ),
        (Type::OID, int(4_294_967_295), "4294967295"),
        (
            Type::XID8,
            Param::HugeInt("18446744073709551615".into()),
            "18446744073709551615",
        ),
        (Type::MONEY, Param::Number(-12.0), "-12"),
        (Type::MONEY, text("12.5"), "12.5"),
        (
            Type::MONEY_ARRAY,
            Param::Array(vec![int(7), text("$1.50")]),
            r#"{"7","$1.50"}"#,
        ),
        (
            Type::FLOAT8,
            Param::HugeInt("18446744073709551616".into()),
            "18446744073709551616",
        ),
        (Type::FLOAT4, int(-(1 << 60)), "-1152921504606846976"),
        (Type::NAME, int(7), "7"),
        (
            Type::INTERVAL,
            object(r#"{"seconds":2147483647,"minutes":1.5}"#),
            "+1.5 minutes +2147483647 seconds",
        ),
        (Type::TEXT, Param::Number(1e21), "1e+21"),
        (Type::TEXT, Param::Bool(true), "true"),
        (Type::FLOAT8, int(1 << 53), "9007199254740992"),
        (Type::INT2_VECTOR, Param::Array(vec![int(1), int(2)]), "1 2"),
        (
            Type::INT4_ARRAY,
            Param::Array(vec![text("0x10"), Param::Null]),
            r#"{"0x10",NULL}"#,
        ),
        (
            Type::TEXT_ARRAY,
            Param::Array(vec![text("a\"b"), int(1)]),
            r#"{"a\"b","1"}"#,
        ),
        (
            Type::BOX_ARRAY,
            Param::Array(vec![text("(1,2),(3,4)"), text("x")]),
            r#"{"(1,2),(3,4)";"x"}"#,
        ),
        (
            Type::BOX_ARRAY,
            Param::Array(vec![
                Param::Array(vec![Param::Null]),
                Param::Array(vec![Param::Array(vec![point(), point()])]),
            ]),
            r#"{{NULL};{"(1,2.5),(1,2.5)"}}"#,
        ),
        (
            Type::INT4MULTI_RANGE_ARRAY,
            Param::Array(vec![Param::Array(vec![]), Param::Null]),
            r#"{"{}",NULL}"#,
        ),
        (
            Type::DATE_RANGE,
            fields(&[("lower", Param::Date(-99_999_999_999_999.0))]),
            r#"["1200-03-15BC",)"#,
        ),
        (
            Type::BYTEA_ARRAY,
            Param::Array(vec![Param::Bytes(vec![1, 255]), text("\\x00")]),
            r#"{"\\x01ff","\\x00"}"#,
        ),
    ] {
        let sent = sent_text(&ty, param);
        if ty == Type::DATE_RANGE {
            assert!(sent.ends_with(" BC\",)"), "{sent}");
        } else {
            assert_eq!(sent, expected, "{ty}");
        }
    }
}

#[test]
fn an_interval_of_whole_amounts_is_sent_in_the_binary_format() {
    let literal = |text: &str| Param::Literal {
        text: text.to_owned(),
        json: String::new(),
    };
    for (param, months, days, microseconds) in [
        (
            object(r#"{"years":1,"months":2,"weeks":-1,"days":4,"hours":-1,"microseconds":5}"#),
            14.0,
            -3.0,
            -3_599_999_995,
        ),
        (literal("+14 months -3 days +5 microseconds"), 14.0, -3.0, 5),
        (
            literal("-1 months +0 days -2562047788 hours -0 minutes -54775808 microseconds"),
            -1.0,
            0.0,
            i64::MIN,
        ),
        (
            Param::Fields {
                fields: vec![("microseconds".into(), Param::BigInt(i64::MAX))],
                json: None,
            },
            0.0,
            0.0,
            i64::MAX,
        ),
    ] {
        let tape = round_trip(&Type::INTERVAL, param);
        assert_eq!(tape.numbers, [months, days]);
        assert_eq!(tape.integers, [microseconds]);
    }
    // What is infinite to newer servers, or has another form, is theirs to read.
    for given in [
        "+2147483647 months +2147483647 days +9223372036854775807 microseconds",
        "+2147483648 days",
        "1 fortnight",
        "https://example.org/",
        "",
    ] {
        assert_eq!(sent_text(&Type::INTERVAL, literal(given)), given);
    }
}

#[test]
fn a_long_time_is_told_in_text_by_units_that_every_server_reads() {
    use tokio_postgres::types::{Field, Kind};
    let fields = vec![Field::new("during".into(), Type::INTERVAL)];
    let kind = Kind::Composite(fields);
    let holder = Type::new("holder".into(), 99_999, kind, "public".into());
    let given = r#"{"during":{"days":1,"seconds":-2147483649,"microseconds":5}}"#;
    assert_eq!(
        sent_text(&holder, object(given)),
        r#"("+1 days -596523 hours -14 minutes -8999995 microseconds")"#
    );
}

#[test]
fn a_composite_takes_its_fields_by_name_or_in_their_order() {
    use tokio_postgres::types::{Field, Kind};
    let fields = vec![
        Field::new("a".into(), Type::INT4),
        Field::new("b".into(), Type::TEXT),
    ];
    let pair = Type::new(
        "pair".into(),
        99_999,
        Kind::Composite(fields),
        "public".into(),
    );
    assert_eq!(
        sent_text(&pair, object(r#"{"b":"x\"\\,","a":1}"#)),
        r#"("1","x""\\,")"#
    );
    assert_eq!(sent_text(&pair, object(r#"{"a":1}"#)), r#"("1",)"#);
    assert_eq!(
        sent_text(&pair, Param::Array(vec![Param::Null, text("")])),
        r#"(,"")"#
    );
    assert_eq!(
        encode(&pair, object(r#"{"c":1}"#)).unwrap_err(),
        "Expected parameter $1 (pair) to be an object with the fields `a`, `b`, got one with `c`"
    );
    assert_eq!(
        encode(&pair, Param::Array(vec![Param::Null])).unwrap_err(),
        "Expected parameter $1 (pair) to be an array of 2, one for each field, got an array of 1"
    );
}

#[test]
fn an_array_of_composites_has_dimensions_unless_it_is_an_array_of_fields() {
    use tokio_postgres::types::{Field, Kind};
    let fields = vec![
        Field::new("a".into(), Type::TEXT),
        Field::new("b".into(), Type::INT4),
    ];
    let pair = Type::new(
        "pair".into(),
        99_999,
        Kind::Composite(fields),
        "public".into(),
    );
    let pairs = Type::new("_pair".into(), 99_998, Kind::Array(pair), "public".into());
    let array = |values: &[Param]| Param::Array(values.to_vec());
    let one = || object(r#"{"a":"x","b":1}"#);
    let written = r#""(\"x\",\"1\")""#.replace(r"\\", r"\");
    for (param, expected) in [
        (
            array(&[array(&[text("x"), Param::BigInt(1)])]),
            format!("{{{written}}}"),
        ),
        (
            array(&[array(&[one(), Param::Null])]),
            format!("{{{{{written},NULL}}}}"),
        ),
        (
            array(&[array(&[text("(x,1)")])]),
            r#"{{"(x,1)"}}"#.to_owned(),
        ),
        // A text that looks like a composite is a field where there are as many texts as fields.
        (
            array(&[
                array(&[text("(a)"), Param::Number(2.0)]),
                array(&[text("b"), Param::Number(3.0)]),
            ]),
            r#"{"(\"(a)\",\"2\")","(\"b\",\"3\")"}"#.to_owned(),
        ),
    ] {
        assert_eq!(sent_text(&pairs, param), expected);
    }
}

#[test]
fn an_array_with_bounds_is_opened_in_a_field_and_is_a_field_itself() {
    use tokio_postgres::types::{Field, Kind};
    let composite = |fields: Vec<Field>| {
        let kind = Kind::Composite(fields);
        Type::new("holder".into(), 99_999, kind, "public".into())
    };
    let holder = composite(vec![
        Field::new("label".into(), Type::TEXT),
        Field::new("ints".into(), Type::INT4_ARRAY),
    ]);
    let holders = Type::new(
        "_holder".into(),
        99_998,
        Kind::Array(holder.clone()),
        "public".into(),
    );
    // Of an array within an array there is JSON text.
    let ints = || Param::Bounded(vec![0, -1], vec![object("[1,2]"), object("[3,null]")]);
    let one = || Param::Fields {
        fields: vec![("ints".into(), ints())],
        json: None,
    };
    let written = sent_text(&holder, one());
    assert_eq!(written, r#"(,"[0:1][-1:0]={{""1"",""2""},{""3"",NULL}}")"#);
    let opened = Param::Bounded(
        vec![0],
        vec![Param::Array(vec![Param::Number(1.0)]), Param::Null],
    );
    assert!(encode(&Type::INT4_ARRAY, opened).is_err());
    // As one of the fields of a composite that is given as an array.
    let fields = Param::Array(vec![Param::Null, Param::Bounded(vec![5], vec![])]);
    for (bounds, expected) in [(None, ""), (Some(vec![7]), "[7:7]=")] {
        let values = vec![fields.clone()];
        let param = match bounds {
            None => Param::Array(values),
            Some(bounds) => Param::Bounded(bounds, values),
        };
        assert_eq!(
            sent_text(&holders, param),
            format!(r#"{expected}{{"(,\"{{}}\")"}}"#)
        );
    }
}

#[test]
fn what_has_no_clear_meaning_is_refused() {
    for (ty, param) in [
        (Type::BOOL, Param::Number(1.0)),
        (Type::TIMESTAMPTZ, Param::Number(1.0)),
        (Type::TIMESTAMPTZ, Param::Number(f64::NAN)),
        (Type::TIME, Param::Number(f64::INFINITY)),
        (Type::TEXT, object("{}")),
        (Type::TEXT, Param::Date(0.0)),
        (Type::INT4, Param::Date(0.0)),
        (Type::FLOAT8, Param::BigInt((1 << 53) + 1)),
        (Type::INTERVAL, object(r#"{"fortnights":1}"#)),
        (Type::INTERVAL, object("{}")),
        (Type::POINT, object(r#"{"x":null,"y":1}"#)),
        (Type::INT4_RANGE, object(r#"{"from":1}"#)),
        (Type::OID, Param::BigInt(-1)),
        (Type::VOID, text("")),
        (Type::INET, Param::Bytes(vec![])),
        (Type::MONEY, object("{}")),
        // With some `lc_monetary` the point separates thousands.
        (Type::MONEY, Param::Number(12.5)),
        (Type::MONEY, Param::Bool(true)),
        (
            Type::MONEY_ARRAY,
            Param::Array(vec![text("1"), Param::Number(0.5)]),
        ),
        (Type::FLOAT8, Param::HugeInt("18446744073709551617".into())),
        (Type::FLOAT8, Param::HugeInt("9".repeat(400))),
        (Type::FLOAT4, Param::BigInt((1 << 24) + 1)),
        // The server would keep the first character of these, and the first 63 bytes of a name.
        (Type::CHAR, Param::Number(65.0)),
        (Type::CHAR, Param::BigInt(65)),
        (Type::CHAR, Param::Bool(true)),
        (Type::CHAR, text("\\+77")),
        (Type::CHAR, text("\\777")),
        (Type::CHAR, text("é")),
        (
            Type::NAME_ARRAY,
            Param::Array(vec![Param::Number(1.0), text(&"x".repeat(64))]),
        ),
        (Type::NAME, Param::HugeInt("9".repeat(64))),
        // A URL.
        (
            Type::BYTEA,
            Param::Literal {
                text: "https://example.org/".into(),
                json: "\"https://example.org/\"".into(),
            },
        ),
        (Type::TEXT, object("\"\\ud83d\"")),
    ] {
        assert!(encode(&ty, param).is_err(), "{ty}");
    }
}
