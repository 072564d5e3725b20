//! `COPY` between the server and us, as a stream of bytes.
//!
//! [`Lease::copy_from`](super::lease::Lease::copy_from) gives a [`CopyIn`], to which the data is written, and
//! [`Lease::copy_to`](super::lease::Lease::copy_to) a [`CopyOut`], from which it is read; each beside the future that runs the
//! operation. Both hold a bounded amount of data, and hold up whoever is faster.

mod incoming;
mod outgoing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

pub use incoming::CopyIn;
pub(crate) use incoming::copy_in;
pub use outgoing::CopyOut;
pub(crate) use outgoing::copy_out;

use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::{Message, Responses};
use crate::query::sql_text::{CopyText, copy_text};

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From us to the server.
    In,
    /// From the server to us.
    Out,
}

/// Refuses what is not one streaming `COPY` of that direction, before anything is sent.
pub(crate) fn check(sql: &str, direction: Direction) -> Result<()> {
    let why = match (copy_text(sql), direction) {
        (CopyText::FromClient, Direction::In) | (CopyText::ToClient, Direction::Out) => {
            return Ok(());
        }
        (CopyText::ToClient, Direction::In) => {
            "`COPY … TO STDOUT` gives data and takes none: use `copyTo()`"
        }
        (CopyText::FromClient, Direction::Out) => {
            "`COPY … FROM STDIN` takes data and gives none: use `copyFrom()`"
        }
        (CopyText::OfServer, _) => {
            "this `COPY` reads or writes a file or a program of the server, and nothing streams: use `execute()`"
        }
        (CopyText::Several, _) => "a `COPY` that streams stands alone, without other statements",
        (CopyText::Other, Direction::In) => "Expected a `COPY … FROM STDIN`, got something else",
        (CopyText::Other, Direction::Out) => "Expected a `COPY … TO STDOUT`, got something else",
    };
    Err(Error::new(ErrorKind::Execute, why))
}

/// Ends a `COPY` early: when it is told to, or dropped.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Interrupts the operation, as its bounds do.
    abort: CancellationToken,
    is_given_up: Arc<AtomicBool>,
    is_over: AtomicBool,
}

impl Ending {
    pub(crate) fn new(abort: CancellationToken) -> Self {
        Self {
            abort,
            is_given_up: Arc::default(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Set before the operation is interrupted from here, so not by a bound.
    pub(crate) fn is_given_up(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_given_up)
    }

    /// Interrupts the operation.
    fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
        self.abort.cancel();
    }

    /// Lets the operation end by itself.
    fn let_go(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !*self.is_over.get_mut() {
            self.give_up();
        }
    }
}

/// Reads the rest of the answer to a `COPY`, and gives its number of rows.
struct Answer {
    responses: Responses,
    refused: Option<Error>,
    rows: u64,
    is_whole: bool,
}

impl Answer {
    fn of(responses: Responses) -> Self {
        Self {
            responses,
            refused: None,
            rows: 0,
            is_whole: false,
        }
    }

    /// The next message that is not read here. `None`: the request is answered.
    async fn next(&mut self) -> Result<Option<Message>> {
        if self.is_whole {
            return Ok(None);
        }
        loop {
            match self.responses.next().await {
                None => {
                    let refused = self.refused.take();
                    return Err(refused.unwrap_or_else(|| self.responses.lost(None)));
                }
                Some(Message::ErrorResponse(error)) => {
                    let _ = self.refused.get_or_insert_with(|| Error::database(*error));
                }
                Some(Message::CommandComplete(tag)) => self.rows = rows(&tag),
                Some(Message::ReadyForQuery(_)) => {
                    self.is_whole = true;
                    return Ok(None);
                }
                Some(message) => return Ok(Some(message)),
            }
        }
    }

    /// The outcome, once the request is answered.
    fn outcome(self) -> Result<u64> {
        match self.refused {
            Some(error) => Err(error),
            None => Ok(self.rows),
        }
    }
}

/// The number in a tag such as `COPY 3`.
fn rows(tag: &str) -> u64 {
    let number = tag.strip_prefix("COPY ");
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
