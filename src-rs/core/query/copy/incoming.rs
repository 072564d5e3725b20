//! `COPY FROM STDIN`: from us to the server.

use super::{Answer, Ending};
use crate::base::error::Result;
use crate::protocol::{CopyFeed, CopyWriter, Request};
use crate::query::backend::Backend;

/// Writes the data of a `COPY FROM STDIN`. Dropped before [`CopyIn::finish`], it gives the `COPY` up: nothing is stored.
#[derive(Debug)]
pub struct CopyIn {
    writer: CopyWriter,
    ending: Ending,
}

impl CopyIn {
    pub(crate) fn new(writer: CopyWriter, ending: Ending) -> Self {
        Self { writer, ending }
    }

    /// Waits until the server takes data, and there is room for a chunk. `false`: it takes no more, and the outcome of the
    /// operation tells why.
    pub async fn ready(&self) -> bool {
        self.writer.ready().await
    }

    /// Writes a chunk, at best of some ten KiB, once there is room for it. `false`: the server takes no more.
    ///
    /// Where a chunk ends means nothing to the server. Writers take turns: one at a time may wait.
    pub async fn write(&self, chunk: Vec<u8>) -> bool {
        self.writer.write(chunk.into()).await
    }

    /// Ends the data. The operation has the outcome.
    pub fn finish(&self) {
        self.ending.let_go();
        self.writer.finish();
    }

    /// Ends the data because it cannot be had whole: the operation fails, and nothing is stored.
    pub fn fail(&self) {
        self.ending.let_go();
        self.writer.fail("the source of the data failed");
    }

    /// Interrupts the operation, in whatever state it is.
    pub fn give_up(&self) {
        self.ending.give_up();
    }
}

/// Runs a `COPY FROM STDIN`. Gives the number of rows that were stored.
pub(crate) async fn copy_in(backend: &Backend, sql: &str, feed: CopyFeed) -> Result<u64> {
    let mut answer = Answer::of(backend.send(Request::copy_in(sql, feed)?)?);
    while answer.next().await?.is_some() {}
    answer.outcome()
}
