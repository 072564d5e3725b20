//! The bytes that parameters become, and the errors of parameters that do not fit.

use super::*;
use crate::query::values::Value;

fn encode(ty: &Type, param: Param) -> std::result::Result<Option<BytesMut>, String> {
    let codec = Codec::of(ty).expect("a supported type");
    encode_params(&[param], &[(codec, ty.clone())])
        .map(|mut encoded| encoded.remove(0).0)
        .map_err(|error| error.message)
}

fn round_trip(ty: &Type, param: Param) -> Value {
    let raw = encode(ty, param).unwrap();
    Codec::of(ty).unwrap().decode(raw.as_deref()).unwrap()
}

fn text(text: &str) -> Param {
    Param::Text(text.to_owned())
}

#[test]
fn an_integer_of_the_wrong_kind_or_size_says_what_was_expected() {
    assert_eq!(
        encode(&Type::INT4, text("foo")).unwrap_err(),
        "Expected parameter $1 (int4) to be an integer between -2147483648 and 2147483647, got `foo` (string)"
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
        round_trip(&Type::INT8, Param::BigInt(i64::MIN)),
        Value::BigInt(i64::MIN)
    );
    assert_eq!(
        round_trip(&Type::INT2, Param::BigInt(-32768)),
        Value::Int(-32768)
    );
    assert!(encode(&Type::INT8, Param::HugeInt("9223372036854775808".into())).is_err());
}

#[test]
fn long_strings_are_shortened_in_errors() {
    let error = encode(&Type::INT4, text(&"é".repeat(1000))).unwrap_err();
    assert!(error.ends_with(&format!("got `{}…` (string)", "é".repeat(40))));
}

#[test]
fn numeric_takes_strings_numbers_and_bigints() {
    for (param, expected) in [
        (text("1.10"), "1.10"),
        (Param::Number(0.1), "0.1"),
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
        assert_eq!(
            round_trip(&Type::NUMERIC, param),
            Value::Text(expected.to_owned())
        );
    }
    assert!(encode(&Type::NUMERIC, text("12,5")).is_err());
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
        assert_eq!(
            round_trip(&Type::JSONB, param.clone()),
            Value::Text(expected.to_owned())
        );
        assert_eq!(
            round_trip(&Type::JSON, param),
            Value::Text(expected.to_owned())
        );
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
        round_trip(&Type::TIMESTAMPTZ, Param::Date(ms)),
        Value::Date(ms)
    );
    assert_eq!(
        round_trip(&Type::DATE, Param::Date(ms)),
        Value::Date(1_699_920_000_000.0)
    );
    assert_eq!(
        round_trip(&Type::DATE, Param::Date(-1.0)),
        Value::Date(-86_400_000.0)
    );
    assert!(encode(&Type::DATE, text("2024-01-01")).is_err());
}

#[test]
fn arrays_keep_their_shape() {
    let int = |value: f64| Param::Number(value);
    let nested = Param::Array(vec![
        Param::Array(vec![int(1.0), Param::Null]),
        Param::Array(vec![int(3.0), int(4.0)]),
    ]);
    assert_eq!(
        round_trip(&Type::INT4_ARRAY, nested),
        Value::Array(vec![
            Value::Array(vec![Value::Int(1), Value::Null]),
            Value::Array(vec![Value::Int(3), Value::Int(4)]),
        ])
    );
    let empty = Value::Array(vec![]);
    assert_eq!(round_trip(&Type::INT4_ARRAY, Param::Array(vec![])), empty);
    assert_eq!(
        round_trip(
            &Type::INT4_ARRAY,
            Param::Array(vec![Param::Array(vec![]), Param::Array(vec![])])
        ),
        empty
    );
}

#[test]
fn an_array_that_is_not_rectangular_says_where() {
    let int = |value: f64| Param::Number(value);
    assert_eq!(
        encode(&Type::INT4_ARRAY, Param::Array(vec![int(1.0), text("x")])).unwrap_err(),
        "Expected element [1] of parameter $1 (int4[]) to be an integer between -2147483648 and 2147483647, got `x` (string)"
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
        round_trip(&Type::FLOAT4, Param::Number(f64::INFINITY)),
        Value::Float(f64::INFINITY)
    );
}

#[test]
fn null_fits_every_type() {
    assert_eq!(encode(&Type::INT4, Param::Null).unwrap(), None);
    assert_eq!(encode(&Type::JSONB, Param::Null).unwrap(), None);
}
