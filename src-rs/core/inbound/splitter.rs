//! Takes the messages of a stream apart, however it is cut.

use bytes::BytesMut;

use super::batch::{PROCESS_ID, ReceivedBatch};

/// A message's type and its length, which counts itself
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
const HEADER: usize = 5;
/// `NotificationResponse`.
const NOTIFICATION: u8 = b'A';
/// No notification is longer: names have at most 63 bytes, payloads fewer than a page, and a page at most 32 KiB.
const LONGEST: usize = 64 * 1024;

/// Takes the messages of a stream apart, however it is cut.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The beginning of a message that is cut: a part of its header, or, of a notification, everything so far.
    begun: Vec<u8>,
    /// How many bytes are still to come of a message that is no notification.
    passing: usize,
}

impl Splitter {
    /// Puts notifications into `batch` and everything else behind `rest`.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        batch: &mut ReceivedBatch,
        rest: &mut BytesMut,
    ) {
        if !self.begun.is_empty() {
            bytes = self.finish_begun(bytes, batch, rest);
        }
        while !bytes.is_empty() {
            if self.passing > 0 {
                let here = self.passing.min(bytes.len());
                rest.extend_from_slice(&bytes[..here]);
                self.passing -= here;
                bytes = &bytes[here..];
                continue;
            }
            match message_at(bytes) {
                Some(Message::Notification(length)) if length <= bytes.len() => {
                    batch.push(&bytes[HEADER..length]);
                    bytes = &bytes[length..];
                }
                Some(Message::Other(length)) => self.passing = length,
                Some(Message::Notification(_)) | None => {
                    self.begun.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// Completes the message that was cut, as far as `bytes` go, and gives the bytes behind it.
    fn finish_begun<'bytes>(
        &mut self,
        mut bytes: &'bytes [u8],
        batch: &mut ReceivedBatch,
        rest: &mut BytesMut,
    ) -> &'bytes [u8] {
        loop {
            let wanted = match message_at(&self.begun) {
                Some(Message::Notification(length)) => length,
                Some(Message::Other(length)) => {
                    rest.extend_from_slice(&self.begun);
                    self.passing = length - self.begun.len();
                    self.begun.clear();
                    return bytes;
                }
                None => HEADER,
            };
            if self.begun.len() == wanted && wanted > HEADER {
                batch.push(&self.begun[HEADER..]);
                self.begun.clear();
                return bytes;
            }
            if bytes.is_empty() {
                return bytes;
            }
            let here = (wanted - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
        }
    }
}

/// The kind of a message by its header, with its whole length.
enum Message {
    Notification(usize),
    Other(usize),
}

/// The message that begins here; `None` as long as its header is cut.
fn message_at(bytes: &[u8]) -> Option<Message> {
    let (&[kind, a, b, c, d], _) = bytes.split_first_chunk::<HEADER>()?;
    let length = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
    // A notification of an impossible length is left to `tokio_postgres`, which refuses it.
    let fits = (HEADER + PROCESS_ID + 2..=LONGEST).contains(&length);
    Some(if kind == NOTIFICATION && fits {
        Message::Notification(length)
    } else {
        Message::Other(length.max(HEADER))
    })
}

#[cfg(test)]
mod properties;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    pub(crate) fn notification(process_id: i32, channel: &str, payload: &[u8]) -> Vec<u8> {
        let parts = [
            &process_id.to_be_bytes(),
            channel.as_bytes(),
            b"\0",
            payload,
            b"\0",
        ];
        message(NOTIFICATION, &parts.concat())
    }

    /// Splits a stream that comes in pieces of `size` bytes.
    fn split(stream: &[u8], size: usize) -> (ReceivedBatch, BytesMut) {
        let (mut splitter, mut batch, mut rest) = (
            Splitter::default(),
            ReceivedBatch::default(),
            BytesMut::new(),
        );
        for piece in stream.chunks(size) {
            splitter.feed(piece, &mut batch, &mut rest);
        }
        (batch, rest)
    }

    #[test]
    fn notifications_are_taken_out_however_the_stream_is_cut() {
        let others = [
            message(b'S', b"a setting"),
            message(b'Z', b"I"),
            message(b'D', &[NOTIFICATION; 500]),
        ];
        let stream = [
            notification(1, "first", b"one"),
            others[0].clone(),
            notification(-2, "", b""),
            others[1].clone(),
            others[2].clone(),
            notification(3, "a longer name", "é".repeat(400).as_bytes()),
        ]
        .concat();
        let long = "é".repeat(400);
        for size in 1..=stream.len() {
            let (batch, rest) = split(&stream, size);
            assert_eq!(rest, others.concat(), "in pieces of {size}");
            let (received, broken) = batch.read();
            let received: Vec<_> = received
                .map(|it| (it.process_id, it.channel, it.payload))
                .collect();
            let expected = [
                (1, "first", "one"),
                (-2, "", ""),
                (3, "a longer name", &long),
            ];
            assert_eq!(received, expected, "in pieces of {size}");
            assert_eq!(broken, None);
        }
    }

    #[test]
    fn what_stands_before_broken_text_can_be_read() {
        // Two halves of one character, which must not be put together.
        let stream = [
            notification(1, "a", b"good"),
            notification(2, "a", b"half \xc3"),
            notification(3, "a", b"\xa9 half"),
        ]
        .concat();
        let (batch, _) = split(&stream, stream.len());
        let (received, broken) = batch.read();
        assert_eq!(received.map(|it| it.payload).collect::<Vec<_>>(), ["good"]);
        assert_eq!(broken.as_deref(), Some("text that is not UTF-8"));
    }

    #[test]
    fn a_notification_that_says_a_wrong_length_is_found_out() {
        for body in [
            &b"\0\0\0\x01abc\0def"[..],
            b"\0\0\0\x01abc\0d\0f\0",
            b"\0\0\0\x01abcdef",
        ] {
            let stream = [notification(1, "a", b"good"), message(NOTIFICATION, body)].concat();
            let (batch, _) = split(&stream, 7);
            let (received, broken) = batch.read();
            assert_eq!(received.len(), 1);
            assert!(broken.is_some(), "{body:?}");
        }
    }

    #[test]
    fn a_length_that_no_notification_has_is_not_waited_for() {
        let mut stream = vec![NOTIFICATION];
        stream.extend_from_slice(&i32::MAX.to_be_bytes());
        stream.extend_from_slice(b"whatever");
        let (batch, rest) = split(&stream, stream.len());
        assert_eq!(batch.read().0.len(), 0);
        assert_eq!(rest, stream, "`tokio_postgres` has to refuse it");
    }
}
