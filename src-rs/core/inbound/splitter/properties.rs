//! Properties of the splitter for every stream and every way to cut it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{message, notification};
use super::*;

/// The notifications of a stream as owned values, why it is broken, and the other messages.
type Outcome = (Vec<(i32, String, String)>, Option<String>, BytesMut);

/// Splits a stream into pieces of these lengths, again and again, and checks how much the splitter keeps.
fn split(stream: &[u8], lengths: &[usize]) -> Outcome {
    let (mut splitter, mut batch, mut rest) = (
        Splitter::default(),
        ReceivedBatch::default(),
        BytesMut::new(),
    );
    let mut left = stream;
    for length in lengths.iter().cycle() {
        let (piece, behind) = left.split_at((*length).min(left.len()));
        splitter.feed(piece, &mut batch, &mut rest);
        assert!(
            splitter.begun.len() < LONGEST,
            "keeps {}",
            splitter.begun.len()
        );
        left = behind;
        if left.is_empty() {
            break;
        }
    }
    assert!(rest.len() <= stream.len());
    let (received, broken) = batch.read();
    let received = received
        .map(|it| (it.process_id, it.channel.to_owned(), it.payload.to_owned()))
        .collect();
    (received, broken, rest)
}

/// A whole message, or bytes that only look like the beginning of one.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (any::<i32>(), "[^\0]{0,20}", "[^\0]{0,40}")
            .prop_map(|(id, channel, payload)| notification(id, &channel, payload.as_bytes())),
        2 => (b'B'..=b'z', bytes()).prop_map(|(kind, body)| message(kind, &body)),
        // Notifications whose body is anything.
        1 => bytes().prop_map(|body| message(NOTIFICATION, &body)),
        // Headers that promise anything.
        1 => (any::<bool>(), any::<[u8; 4]>(), bytes()).prop_map(|(notifies, length, body)| {
            let kind = if notifies { NOTIFICATION } else { b'D' };
            [&[kind], &length[..], &body].concat()
        }),
        1 => bytes(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_gives_the_same_however_it_is_cut(
        pieces in vec(piece(), 0..20),
        lengths in vec(1_usize..100, 1..10),
    ) {
        let stream = pieces.concat();
        prop_assert_eq!(split(&stream, &lengths), split(&stream, &[stream.len()]));
    }

    #[test]
    fn garbage_is_never_kept_beyond_the_longest_notification(
        stream in vec(prop_oneof![Just(NOTIFICATION), Just(0), Just(1), any::<u8>()], 0..1_000),
        length in 1_usize..700,
    ) {
        split(&stream, &[length]);
    }

    #[test]
    fn a_length_just_within_the_bound_is_kept_no_longer_than_that(
        excess in 0_usize..8,
        length in 1_000_usize..100_000,
    ) {
        let longest = u32::try_from(LONGEST - 4 + excess).unwrap();
        let mut stream = vec![NOTIFICATION];
        stream.extend_from_slice(&longest.to_be_bytes());
        stream.resize(3 * LONGEST, b'x');
        split(&stream, &[length]);
    }
}
