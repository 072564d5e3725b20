//! Notifications that were read together, packed: nothing is allocated for a single one.

use memchr::memchr;

use crate::base::Moment;

/// What a notification has before its channel: the process id.
pub(super) const PROCESS_ID: usize = 4;

/// A notification as it was read; its channel and payload stand in [`Batch::text`].
#[derive(Debug, Clone, Copy)]
struct Arrival {
    process_id: i32,
    /// Where the channel starts,
    channel: usize,
    /// where the payload does,
    payload: usize,
    /// and where that ends. Behind both stands a NUL.
    end: usize,
}

/// A notification out of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived<'batch> {
    /// The notifying backend.
    pub process_id: i32,
    /// The channel.
    pub channel: &'batch str,
    /// The payload.
    pub payload: &'batch str,
}

/// Notifications that were read together.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    arrivals: Vec<Arrival>,
    /// Why what follows cannot be read.
    broken: Option<String>,
    /// A moment before which nothing was missing when the first of them was read: an answer that stands behind it in the
    /// stream confirms nothing about it.
    pub confirmed: Moment,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.broken.is_none()
    }

    /// Forgets everything, but keeps the memory for the next.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.arrivals.clear();
        self.broken = None;
    }

    /// The notifications that can be read, and why nothing can after them.
    #[must_use]
    pub fn read(&self) -> (impl ExactSizeIterator<Item = Arrived<'_>>, Option<String>) {
        // All at once: no character goes beyond a NUL, so none goes beyond its notification.
        let (text, broken) = match str::from_utf8(&self.text) {
            Ok(text) => (text, self.broken.clone()),
            Err(error) => {
                let valid = str::from_utf8(&self.text[..error.valid_up_to()]).unwrap_or_default();
                (valid, Some("text that is not UTF-8".to_owned()))
            }
        };
        let readable = self
            .arrivals
            .partition_point(|arrival| arrival.end <= text.len());
        let arrived = self.arrivals[..readable]
            .iter()
            .map(move |arrival| Arrived {
                process_id: arrival.process_id,
                channel: &text[arrival.channel..arrival.payload - 1],
                payload: &text[arrival.payload..arrival.end],
            });
        (arrived, broken)
    }

    /// Takes a notification without its header.
    pub(super) fn push(&mut self, body: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        let parsed = body
            .split_first_chunk::<PROCESS_ID>()
            .and_then(|(id, strings)| {
                let channel_length = memchr(0, strings)?;
                let payload_length = memchr(0, &strings[channel_length + 1..])?;
                let complete = channel_length + payload_length + 2 == strings.len();
                complete.then_some((i32::from_be_bytes(*id), strings, channel_length))
            });
        let Some((process_id, strings, channel_length)) = parsed else {
            self.broken
                .get_or_insert_with(|| "a notification that does not end where it says".to_owned());
            return;
        };
        let channel = self.text.len();
        self.text.extend_from_slice(strings);
        self.arrivals.push(Arrival {
            process_id,
            channel,
            payload: channel + channel_length + 1,
            end: self.text.len() - 1,
        });
    }
}

#[cfg(test)]
impl Batch {
    /// A batch of notifications by backend 1, each a channel and a payload.
    pub(crate) fn of(notifications: &[(&str, &str)]) -> Self {
        let mut batch = Self::default();
        for (channel, payload) in notifications {
            let mut body = 1_i32.to_be_bytes().to_vec();
            for text in [channel, payload] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
            batch.push(&body);
        }
        batch
    }
}
