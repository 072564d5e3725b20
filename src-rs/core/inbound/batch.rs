//! Notifications that were read together, packed: a single notification allocates nothing.

use memchr::memchr;

use crate::base::Moment;

/// The length of the process id, with which the body of a notification begins.
pub(super) const PROCESS_ID: usize = 4;

/// Where a notification stands in [`ReceivedBatch::text`]: its channel, a NUL, its payload, a NUL.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    process_id: i32,
    /// Where the channel starts.
    channel: usize,
    /// Where the payload starts, one byte behind the end of the channel.
    payload: usize,
    /// Where the payload ends.
    end: usize,
}

/// A notification in a [`ReceivedBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedNotification<'batch> {
    /// The process id of the notifying backend.
    pub process_id: i32,
    /// The channel.
    pub channel: &'batch str,
    /// The payload.
    pub payload: &'batch str,
}

/// Notifications that were read together.
#[derive(Debug, Default, Clone)]
pub struct ReceivedBatch {
    text: Vec<u8>,
    offsets: Vec<Offsets>,
    /// Why the stream cannot be read behind the last notification.
    broken: Option<String>,
    /// A moment before which nothing was missing when the first notification was read. It is taken then, since an answer
    /// that stands behind a notification in the stream confirms nothing about that notification.
    pub confirmed: Moment,
}

impl ReceivedBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.broken.is_none()
    }

    /// How many notifications there are.
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The memory that the notifications take.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.offsets.len() * size_of::<Offsets>()
    }

    /// Empties the batch, and keeps its memory for the next one.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.offsets.clear();
        self.broken = None;
    }

    /// The notifications that can be read, and the reason if the stream cannot be read behind them.
    #[must_use]
    pub fn read(
        &self,
    ) -> (
        impl ExactSizeIterator<Item = ReceivedNotification<'_>>,
        Option<String>,
    ) {
        // The text of all notifications is checked at once: no character reaches over a NUL into the next notification.
        let (text, broken) = match str::from_utf8(&self.text) {
            Ok(text) => (text, self.broken.clone()),
            Err(error) => {
                let valid = str::from_utf8(&self.text[..error.valid_up_to()]).unwrap_or_default();
                (valid, Some("text that is not UTF-8".to_owned()))
            }
        };
        let readable = self
            .offsets
            .partition_point(|offsets| offsets.end <= text.len());
        let notifications =
            self.offsets[..readable]
                .iter()
                .map(move |offsets| ReceivedNotification {
                    process_id: offsets.process_id,
                    channel: &text[offsets.channel..offsets.payload - 1],
                    payload: &text[offsets.payload..offsets.end],
                });
        (notifications, broken)
    }

    /// Adds a notification, given without its header.
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
        self.offsets.push(Offsets {
            process_id,
            channel,
            payload: channel + channel_length + 1,
            end: self.text.len() - 1,
        });
    }
}

#[cfg(test)]
impl ReceivedBatch {
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
