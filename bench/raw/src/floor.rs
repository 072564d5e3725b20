//! The least that a listener can do: read, and count messages by their lengths.

use std::io::{self, Read as _};

use crate::session::Session;
use crate::{now, processor_time, tell};

/// As large a read as any client makes.
const CHUNK: usize = 64 * 1024;
const NOTIFICATION: u8 = b'A';
/// A message's type and length.
const HEADER: usize = 5;

pub(crate) fn run(channel: &str, warm_up: u64, count: u64) -> io::Result<()> {
    let mut session = Session::open()?;
    session.run(&format!("LISTEN \"{channel}\""))?;
    tell("{\"up\":true}")?;
    let mut counter = Counter::default();
    let mut chunk = vec![0; CHUNK];
    let mut until = |wanted: u64| -> io::Result<(u64, u64)> {
        let mut first = 0;
        let target = counter.count + wanted;
        while counter.count < target {
            let read = session.socket.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            counter.take(&chunk[..read]);
            if first == 0 && counter.count > target - wanted {
                first = now();
            }
        }
        Ok((first, now()))
    };
    if warm_up > 0 {
        let _ = until(warm_up)?;
    }
    let used = processor_time();
    tell("{\"warm\":true}")?;
    let (first, last) = until(count)?;
    let used = processor_time() - used;
    tell(&format!(
        "{{\"burst\":{{\"count\":{count},\"spanNs\":{},\"processCpuNs\":{used}}}}}",
        last - first
    ))
}

/// Counts notifications in a stream that comes in pieces.
#[derive(Default)]
struct Counter {
    count: u64,
    /// What is known of a header that was cut.
    header: [u8; HEADER],
    header_length: usize,
    /// How much of the current message is still to come.
    body_left: usize,
}

impl Counter {
    fn take(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.body_left.min(bytes.len());
            self.body_left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.header_length).min(bytes.len());
            self.header[self.header_length..self.header_length + taken]
                .copy_from_slice(&bytes[..taken]);
            self.header_length += taken;
            bytes = &bytes[taken..];
            if self.header_length < HEADER {
                return;
            }
            let [kind, length @ ..] = self.header;
            // The length counts itself.
            self.body_left = u32::from_be_bytes(length) as usize - 4;
            self.header_length = 0;
            if kind == NOTIFICATION {
                self.count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn counts_messages_however_they_are_cut() {
        let message = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[kind][..], &length, body].concat()
        };
        let stream = [
            message(b'A', b"first"),
            message(b'S', b"setting"),
            message(b'A', b""),
            message(b'A', &[b'A'; 300]),
        ]
        .concat();
        for size in 1..stream.len() {
            let mut counter = Counter::default();
            for piece in stream.chunks(size) {
                counter.take(piece);
            }
            assert_eq!(counter.count, 3, "in pieces of {size}");
            assert_eq!((counter.header_length, counter.body_left), (0, 0));
        }
    }
}
