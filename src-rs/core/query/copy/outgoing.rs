//! `COPY TO STDOUT`: from the server to us.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Answer, Ending};
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::{Message, Request};
use crate::query::backend::Backend;

/// A chunk is passed on when it has so many bytes: the way to its reader costs the same whatever its size.
const CHUNK: usize = 64 * 1024;

/// The longest chunk. A longer row is passed on in parts.
const LONGEST_CHUNK: usize = 256 * 1024;

/// How long a shorter chunk waits for more.
const PATIENCE: Duration = Duration::from_millis(5);

/// Reads the data of a `COPY TO STDOUT`. Dropping it gives the `COPY` up.
#[derive(Debug)]
pub struct CopyOut {
    chunks: Mutex<mpsc::Receiver<Vec<u8>>>,
    ending: Ending,
}

impl CopyOut {
    /// A reader, and where its data comes from.
    pub(crate) fn new(ending: Ending) -> (Self, Outlet) {
        // What waits beyond one chunk waits as messages, which are bounded too.
        let (sender, chunks) = mpsc::channel(1);
        let outlet = Outlet {
            sender,
            gathered: Vec::new(),
            since: Instant::now(),
        };
        let chunks = Mutex::new(chunks);
        (Self { chunks, ending }, outlet)
    }

    /// The next chunk, of up to 256 KiB. `None`: there are no more, and the operation has the outcome.
    pub async fn next(&self) -> Option<Vec<u8>> {
        self.chunks.lock().await.recv().await
    }

    /// Interrupts the operation, in whatever state it is. What was not read yet is dropped.
    pub fn give_up(&self) {
        self.ending.give_up();
    }
}

/// Gathers data into chunks, and passes them on to a [`CopyOut`].
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: mpsc::Sender<Vec<u8>>,
    gathered: Vec<u8>,
    /// Since when there is something gathered.
    since: Instant,
}

impl Outlet {
    /// Takes data, and passes it on when it is enough.
    async fn take(&mut self, data: &[u8]) {
        if self.gathered.is_empty() {
            self.since = Instant::now();
        }
        let mut rest = data;
        while self.gathered.len() + rest.len() >= CHUNK {
            let here = rest.len().min(LONGEST_CHUNK - self.gathered.len());
            self.gathered.extend_from_slice(&rest[..here]);
            rest = &rest[here..];
            self.pass_on().await;
        }
        self.gathered.extend_from_slice(rest);
    }

    /// Passes on what is gathered, once its reader has room.
    async fn pass_on(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let next = Vec::with_capacity(CHUNK);
        let chunk = std::mem::replace(&mut self.gathered, next);
        // Without a reader the operation is about to be interrupted.
        let _ = self.sender.send(chunk).await;
    }

    /// The next message of an answer. Does not let what is gathered wait for it for long.
    async fn next(&mut self, answer: &mut Answer) -> Result<Option<Message>> {
        if !self.gathered.is_empty() {
            match timeout_at(self.since + PATIENCE, answer.next()).await {
                Ok(message) => return message,
                Err(_) => self.pass_on().await,
            }
        }
        answer.next().await
    }

    /// Passes data on until the request is answered.
    async fn pass(mut self, answer: &mut Answer) -> Result<()> {
        while let Some(message) = self.next(answer).await? {
            if let Message::CopyData(data) = message {
                self.take(&data).await;
            }
        }
        self.pass_on().await;
        Ok(())
    }
}

/// Runs a `COPY TO STDOUT`, and gives the number of its rows. Once `is_unwanted` is cancelled, data is dropped as it comes, and the outcome
/// is an error, also if the server had sent all of it.
pub(crate) async fn copy_out(
    backend: &Backend,
    sql: &str,
    outlet: Outlet,
    is_unwanted: &CancellationToken,
) -> Result<u64> {
    let mut answer = Answer::of(backend.send(Request::simple(sql)?)?);
    let passing = is_unwanted.run_until_cancelled(outlet.pass(&mut answer));
    if let Some(passed) = passing.await {
        passed?;
        return answer.outcome();
    }
    while answer.next().await?.is_some() {}
    answer
        .outcome()
        .and(Err(Error::new(ErrorKind::Aborted, "the data was dropped")))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn small_data_is_gathered_and_long_data_is_parted() {
        let (out, mut outlet) = CopyOut::new(Ending::new(CancellationToken::new()));
        let reading = tokio::spawn(async move {
            let mut chunks = Vec::new();
            while let Some(chunk) = out.next().await {
                chunks.push(chunk);
            }
            chunks
        });
        let mut all = Vec::new();
        for (length, times) in [(1000, 200), (700_000, 2), (1, 3), (CHUNK, 2)] {
            for number in 0..times {
                let data = vec![number; length];
                outlet.take(&data).await;
                all.extend(data);
            }
        }
        outlet.pass_on().await;
        drop(outlet);
        let chunks = reading.await.unwrap();
        assert_eq!(chunks.concat(), all);
        let (last, others) = chunks.split_last().unwrap();
        assert!(last.len() <= LONGEST_CHUNK);
        for chunk in others {
            assert!(
                (CHUNK..=LONGEST_CHUNK).contains(&chunk.len()),
                "{}",
                chunk.len()
            );
        }
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_the_data_up() {
        let (out, mut outlet) = CopyOut::new(Ending::new(CancellationToken::new()));
        let data = vec![0; CHUNK];
        assert!(outlet.take(&data).now_or_never().is_some());
        assert!(outlet.take(&data).now_or_never().is_none());
        drop(out);
        outlet.take(&data).await;
    }

    #[tokio::test]
    async fn who_drops_the_reader_gives_the_copy_up() {
        let token = CancellationToken::new();
        drop(CopyOut::new(Ending::new(token.clone())));
        assert!(token.is_cancelled());
        let token = CancellationToken::new();
        let ending = Ending::new(token.clone());
        ending.let_go();
        drop(ending);
        assert!(!token.is_cancelled());
    }
}
