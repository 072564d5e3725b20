use super::*;
use crate::query::values::{Choice, Part};

fn read(codec: &Codec, raw: &[u8]) -> Decoded<Tape> {
    let mut tape = Tape::default();
    codec.decode(Some(raw), &mut tape).map(|()| tape)
}

fn number(codec: &Codec, raw: &[u8]) -> f64 {
    read(codec, raw).unwrap().numbers[0]
}

fn text(codec: &Codec, raw: &[u8]) -> String {
    let tape = read(codec, raw).unwrap();
    tape.texts.iter().collect()
}

#[test]
fn a_float4_is_read_as_the_decimal_that_names_it() {
    let read = |value: f32| number(&Codec::Float4, &value.to_be_bytes());
    assert!((read(0.1) - 0.1).abs() == 0.0);
    assert!((read(f32::MAX) - 3.402_823_5e38).abs() == 0.0);
    // Halfway between numbers of 8 digits, of which the server writes the even one.
    assert!((read(12_000_001.0 / 4.0) - 3_000_000.2).abs() == 0.0);
    assert!((read(-4_194_307.0 / 4.0) + 1_048_576.8).abs() == 0.0);
    assert!(read(f32::NEG_INFINITY) == f64::NEG_INFINITY);
    assert!(read(f32::NAN).is_nan());
}

#[test]
fn a_moment_that_a_date_cannot_hold_is_infinite_or_text() {
    let codec = Codec::Moment(Moment::Timestamp, Dates::Milliseconds);
    let of = |value: i64| value.to_be_bytes();
    assert!(number(&codec, &of(i64::MAX)) == f64::INFINITY);
    assert!(number(&codec, &of(i64::MIN)) == f64::NEG_INFINITY);
    assert_eq!(
        text(&codec, &of(9_223_371_331_199_999_999)),
        "294276-12-31 23:59:59.999999"
    );
    assert!((number(&codec, &of(0)) - 946_684_800_000.0).abs() == 0.0);
    // Before the epoch too, microseconds are cut off towards the past.
    assert!((number(&codec, &of(-1)) - 946_684_799_999.0).abs() == 0.0);
    let exact = Codec::Moment(Moment::Timestamp, Dates::Text);
    assert_eq!(text(&exact, &of(i64::MIN)), "-infinity");
    assert_eq!(text(&exact, &of(-1)), "1999-12-31 23:59:59.999999");
}

fn part(codec: Codec, oid: u32) -> Part {
    Part {
        name: String::new(),
        type_name: String::new(),
        oid,
        codec,
    }
}

fn words(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn truncated_input_is_an_error_and_never_a_panic() {
    let int4 = || part(Codec::Int4, 23);
    let array = Codec::Array(Box::new(int4()));
    let range = Codec::Range(Box::new(int4()));
    let multirange = Codec::Multirange(Box::new(part(range.clone(), 3904)));
    let of_range = [&[2][..], &words(&[4, 1, 4, 6])].concat();
    let cases = [
        (array.clone(), words(&[2, 0, 23, 2, 1, 1, 1, 4, 7, 4, 8])),
        (range, of_range.clone()),
        (multirange, [&words(&[1, 17])[..], &of_range].concat()),
        (
            Codec::Composite(vec![int4(), int4()]),
            words(&[2, 23, 4, 1, 23, -1]),
        ),
        (
            Codec::Hstore,
            [&words(&[1, 1])[..], b"k", &words(&[-1])].concat(),
        ),
        (
            Codec::Vector,
            [&[0, 1, 0, 0][..], &1_f32.to_be_bytes()].concat(),
        ),
        (Codec::Interval, words(&[0, 1, 2, 3])),
        (Codec::Network, vec![2, 24, 0, 4, 1, 2, 3, 4]),
        (Codec::Bits, vec![0, 0, 0, 9, 1, 2]),
        (
            Codec::Geometry(Geometry::Path),
            [&[1][..], &words(&[1]), &[0; 16]].concat(),
        ),
        (
            Codec::Geometry(Geometry::Polygon),
            [&words(&[1])[..], &[0; 16]].concat(),
        ),
        (Codec::Geometry(Geometry::Circle), vec![0; 24]),
        (Codec::Tid, vec![0, 0, 0, 7, 0, 3]),
        (Codec::TimeTz, vec![0; 12]),
        (Codec::Numeric, vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 5]),
        (Codec::Uuid, vec![0; 16]),
        (Codec::Bool, vec![1]),
        (Codec::Lsn, vec![0; 8]),
        (Codec::MacAddress, vec![0; 6]),
    ];
    for (codec, whole) in cases {
        assert!(read(&codec, &whole).is_ok(), "{codec:?}");
        for length in 0..whole.len() {
            assert!(
                read(&codec, &whole[..length]).is_err(),
                "{codec:?} {length}"
            );
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(read(&codec, &longer).is_err(), "{codec:?}");
    }
    // Numbers that promise more than there is take no memory.
    assert!(read(&array, &words(&[2, 0, 23, i32::MAX, 1, i32::MAX, 1])).is_err());
    assert!(read(&Codec::Hstore, &words(&[i32::MAX])).is_err());
}

#[test]
fn a_composite_with_other_fields_than_are_known_is_stale() {
    let codec = Codec::Composite(vec![part(Codec::Int4, 23)]);
    assert_eq!(
        read(&codec, &words(&[2, 23, 4, 1, 23, -1])),
        Err(Unread::Stale)
    );
    assert_eq!(read(&codec, &words(&[1, 20, 4, 1])), Err(Unread::Stale));
    assert!(read(&codec, &words(&[1, 23, 4, 1])).is_ok());
}

#[test]
fn an_array_tells_its_lengths_and_lower_bounds() {
    let codec = Codec::of(&tokio_postgres::types::Type::INT4_ARRAY, Choice::default());
    let tape = read(&codec, &words(&[1, 1, 23, 2, 0, 4, 7, -1])).unwrap();
    assert_eq!(tape.numbers, [1.0, 2.0, 0.0, 7.0]);
    assert_eq!(tape.flags, [1, 1, 0]);
}

#[test]
fn an_array_without_elements_has_no_dimensions_whatever_it_tells() {
    let codec = Codec::of(&tokio_postgres::types::Type::INT4_ARRAY, Choice::default());
    for lengths in [
        &[0, 0][..],
        &[i32::MAX, 1, 0, 1],
        &[0, 1, i32::MAX, 1],
        &[i32::MAX, 1, i32::MAX, 1, 0, 1],
    ] {
        let dimensions = i32::try_from(lengths.len() / 2).unwrap();
        let tape = read(&codec, &words(&[&[dimensions, 0, 23], lengths].concat())).unwrap();
        assert_eq!((tape.numbers, tape.flags), (vec![0.0], vec![1]));
    }
}

#[test]
fn a_char_is_written_as_the_server_writes_it() {
    assert_eq!(char_text(0), "");
    assert_eq!(char_text(b'r'), "r");
    assert_eq!(char_text(0o377), "\\377");
}
