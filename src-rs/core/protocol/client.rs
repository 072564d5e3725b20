//! Sends requests on a connection.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_postgres::CancelToken;

use super::copy_feed::CopyFeed;
use super::driven::{Driven, Loan, Shared, Shortcut};
use super::message::{DataRow, Malformed, Message, TransactionStatus};
use super::parameters::Parameters;
use super::responses::{self, Responses, Sender};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::{Awaited, Lend};

/// The longest message that a server reads, in bytes: it ends the connection at a longer one.
const LONGEST_MESSAGE: usize = 0x3fff_fffe;

/// What is in a message beside a statement's text or its parameters is no longer than this.
const OTHER_BYTES: usize = 1024;

/// Refuses what no server reads, before it is written. `what` is the subject of a sentence.
pub(crate) fn check_length(what: &str, length: usize) -> io::Result<()> {
    let most = LONGEST_MESSAGE - OTHER_BYTES;
    if length <= most {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what} {length} bytes, and the server takes at most {most} at once"),
    ))
}

/// The parameter with the encoding in which a session exchanges text.
const ENCODING: &str = "client_encoding";

/// Whether an encoding is another one than UTF-8.
fn is_foreign(encoding: &str) -> bool {
    let is_utf8 = |name: &&str| encoding.eq_ignore_ascii_case(name);
    !["UTF8", "UTF-8", "UNICODE"].iter().any(is_utf8)
}

/// The facts that a connection and its client share.
#[derive(Debug)]
pub(super) struct State {
    status: AtomicU8,
    /// Requests that were sent, or wait to be, and are not answered.
    outstanding: AtomicUsize,
    is_closed: AtomicBool,
    end: OnceLock<Error>,
    /// How often a statement has made the server forget every prepared statement.
    discards: AtomicUsize,
    parameters: Mutex<Parameters>,
    /// The session exchanges text in another encoding than UTF-8, as far as the server has told.
    is_foreign: AtomicBool,
}

impl State {
    pub(super) fn new(parameters: Parameters) -> Self {
        Self {
            status: AtomicU8::new(TransactionStatus::Idle as u8),
            outstanding: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            end: OnceLock::new(),
            discards: AtomicUsize::new(0),
            is_foreign: AtomicBool::new(parameters.get(ENCODING).is_some_and(is_foreign)),
            parameters: Mutex::new(parameters),
        }
    }

    /// The server has reported a parameter.
    pub(super) fn reported(&self, name: String, value: String) {
        if name == ENCODING {
            self.is_foreign.store(is_foreign(&value), Ordering::Release);
        }
        self.parameters.lock().set(name, value);
    }

    /// A request was answered, and the server tells whether a transaction block is open.
    pub(super) fn answered(&self, status: TransactionStatus) {
        self.status.store(status as u8, Ordering::Release);
        self.outstanding.fetch_sub(1, Ordering::Release);
    }

    /// A statement is complete, with this tag.
    pub(super) fn completed(&self, tag: &str) {
        if matches!(tag, "DISCARD ALL" | "DEALLOCATE ALL") {
            self.discards.fetch_add(1, Ordering::Release);
        }
    }

    /// The connection has ended. The first reason stays.
    pub(super) fn close(&self, reason: Option<&Error>) {
        if let Some(reason) = reason {
            let _ = self.end.set(reason.clone());
        }
        self.is_closed.store(true, Ordering::Release);
    }

    /// Why the connection has ended.
    pub(super) fn end(&self) -> Error {
        match self.end.get() {
            Some(error) if error.server.is_some() => Error {
                kind: ErrorKind::Closed,
                message: format!("the connection to the server is lost: {}", error.message),
                server: None,
                ..error.clone()
            },
            Some(error) => error.clone(),
            None => Error::new(ErrorKind::Closed, "the connection to the server is closed"),
        }
    }
}

/// Messages that are sent together, and answered by one `ReadyForQuery`.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) messages: Bytes,
    /// The request ends with `Sync`, which a server that waits for the data of a `COPY` does not hear.
    pub(super) is_extended: bool,
    /// The data of the `COPY FROM STDIN` that the request is.
    pub(super) feed: Option<CopyFeed>,
}

impl Request {
    /// A request of the simple query protocol.
    pub(crate) fn simple(sql: &str) -> Result<Self> {
        let mut messages = BytesMut::new();
        check_length("its text has", sql.len())
            .and_then(|()| frontend::query(sql, &mut messages))
            .map_err(|error| unencodable(&error))?;
        Ok(Self {
            messages: messages.freeze(),
            is_extended: false,
            feed: None,
        })
    }

    /// A `COPY FROM STDIN`, and where its data comes from. It is of the simple query protocol, in which a server that has
    /// refused the data takes what is still under way, and what follows is a new request.
    pub(crate) fn copy_in(sql: &str, feed: CopyFeed) -> Result<Self> {
        Ok(Self {
            feed: Some(feed),
            ..Self::simple(sql)?
        })
    }

    /// A request of the extended query protocol. `write` writes its messages, without `Sync`.
    pub(crate) fn extended(write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<Self> {
        let mut messages = BytesMut::new();
        write(&mut messages).map_err(|error| unencodable(&error))?;
        frontend::sync(&mut messages);
        Ok(Self {
            messages: messages.freeze(),
            is_extended: true,
            feed: None,
        })
    }
}

/// The error of a statement that cannot be put into a message: it holds a NUL, or is too long.
fn unencodable(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Execute,
        format!("the statement cannot be sent: {error}"),
    )
}

/// An order to the task that drives the connection.
#[derive(Debug)]
pub(super) enum Order {
    Send(Request, Sender),
    /// End now, without a word to the server.
    Abandon,
}

/// A row of the simple query protocol: text, or null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRow(Vec<Option<String>>);

impl TextRow {
    /// The text of a column; `None` if it is null or not there.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_deref()
    }
}

/// Sends requests on one connection. Concurrent requests are sent at once, and answered in their order.
///
/// Dropping it ends the session with Terminate, once what was asked is answered.
pub struct Client {
    orders: Mutex<mpsc::UnboundedSender<Order>>,
    shortcut: OnceLock<Shortcut>,
    state: Arc<State>,
    cancel_token: Option<CancelToken>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        orders: mpsc::UnboundedSender<Order>,
        state: Arc<State>,
        cancel_token: Option<CancelToken>,
    ) -> Self {
        Self {
            orders: Mutex::new(orders),
            shortcut: OnceLock::new(),
            state,
            cancel_token,
        }
    }

    /// Lets requests be sent, and answers be read, around the driver of the connection.
    pub(crate) fn take_shortcut<S>(&self, connection: &Arc<Driven<S>>)
    where
        S: AsyncRead + AsyncWrite + Lend + Unpin + Send + 'static,
    {
        let connection: Arc<dyn Shared> = Arc::clone(connection) as _;
        let _ = self.shortcut.set(Arc::downgrade(&connection));
    }

    /// Lends the connection to this thread, if nothing is under way on it.
    pub(crate) fn lend(&self) -> Option<(Awaited, Loan)> {
        self.shortcut.get()?.upgrade()?.lend()
    }

    /// Has the driver read the answers again, if a thread has borrowed the connection.
    pub(crate) fn recall(&self) {
        if let Some(connection) = self.shortcut.get().and_then(Weak::upgrade) {
            connection.recall();
        }
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.is_closed.load(Ordering::Acquire)
    }

    /// Whether a transaction block is open, as of the last answer.
    #[must_use]
    pub fn transaction_status(&self) -> TransactionStatus {
        match self.state.status.load(Ordering::Acquire) {
            status if status == TransactionStatus::Idle as u8 => TransactionStatus::Idle,
            status if status == TransactionStatus::Active as u8 => TransactionStatus::Active,
            _ => TransactionStatus::Failed,
        }
    }

    /// Whether a request is not answered yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state.outstanding.load(Ordering::Acquire) > 0
    }

    /// How often a statement has made the server forget every prepared statement, as far as its tag tells.
    pub(crate) fn discards(&self) -> usize {
        self.state.discards.load(Ordering::Acquire)
    }

    /// What the server has reported of itself and of the session.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        self.state.parameters.lock().clone()
    }

    /// Whether the session exchanges text in another encoding than UTF-8.
    pub(crate) fn is_foreign(&self) -> bool {
        self.state.is_foreign.load(Ordering::Acquire)
    }

    /// Refuses what may hold text that the server would take, or give, for other text.
    pub(crate) fn check_encoding(&self) -> Result<()> {
        if !self.is_foreign() {
            return Ok(());
        }
        let parameters = self.state.parameters.lock();
        let encoding = parameters.get(ENCODING).unwrap_or_default();
        Err(Error::new(
            ErrorKind::Execute,
            format!(
                "Expected the session's `client_encoding` to be `UTF8`, got `{encoding}`: the server would take text for other text. \
                 Set it back with `executeBatch()`, which takes what is ASCII, and name the encoding of a file where it is read"
            ),
        ))
    }

    /// The key with which the server lets a statement be cancelled.
    #[must_use]
    pub fn cancel_token(&self) -> Option<&CancelToken> {
        self.cancel_token.as_ref()
    }

    /// Drops the socket without a word to the server. Requests that are not answered fail.
    pub fn abandon(&self) {
        self.state.close(None);
        let _ = self.orders.lock().send(Order::Abandon);
    }

    /// Sends a request. Its place among the requests is taken at once.
    pub(crate) fn send(&self, request: Request) -> Responses {
        let (sender, responses) = responses::channel(Arc::clone(&self.state));
        let orders = self.orders.lock();
        self.state.outstanding.fetch_add(1, Ordering::AcqRel);
        let connection = self.shortcut.get().and_then(Weak::upgrade);
        let left = match connection {
            Some(connection) => connection.send_now(request, sender).err(),
            None => Some((request, sender)),
        };
        if let Some((request, sender)) = left {
            // A connection that has ended drops the sender.
            let _ = orders.send(Order::Send(request, sender));
        }
        responses
    }

    /// Sends a request if it is certain to run outside of any transaction block: none is open, and nothing that could open
    /// one is still to be answered.
    pub(crate) fn send_outside_block(
        &self,
        request: Request,
    ) -> std::result::Result<Responses, Request> {
        let (sender, responses) = responses::channel(Arc::clone(&self.state));
        let orders = self.orders.lock();
        if self.is_busy() || self.transaction_status() != TransactionStatus::Idle {
            return Err(request);
        }
        self.state.outstanding.fetch_add(1, Ordering::AcqRel);
        let _ = orders.send(Order::Send(request, sender));
        drop(orders);
        Ok(responses)
    }

    /// A request of the simple query protocol. What is ASCII is the same in all encodings.
    pub(crate) fn simple(&self, sql: &str) -> Result<Request> {
        if !sql.is_ascii() {
            self.check_encoding()?;
        }
        Request::simple(sql)
    }

    /// Runs statements without parameters, separated by semicolons, and gives their rows as text.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<TextRow>> {
        text_rows(self.send(self.simple(sql)?)).await
    }

    /// Runs statements without parameters, separated by semicolons, and drops their rows as they come.
    pub(crate) async fn batch_execute(&self, sql: &str) -> Result<()> {
        each_row(self.send(self.simple(sql)?), |_| Ok(())).await
    }

    /// Runs a statement without parameters that has one row, and gives that as text. What a server sends beyond it is not kept.
    pub async fn first_row(&self, sql: &str) -> Result<Option<TextRow>> {
        let mut first = None;
        let keep = |row: DataRow| {
            if first.is_none() {
                first = Some(text_row(&row)?);
            }
            Ok(())
        };
        each_row(self.send(self.simple(sql)?), keep).await?;
        Ok(first)
    }
}

/// The rows of the answer to a request of the simple query protocol.
pub(crate) async fn text_rows(responses: Responses) -> Result<Vec<TextRow>> {
    let mut rows = Vec::new();
    let keep = |row: DataRow| {
        rows.push(text_row(&row)?);
        Ok(())
    };
    each_row(responses, keep).await?;
    Ok(rows)
}

fn text_row(row: &DataRow) -> Result<TextRow> {
    let values = row.values().all().map_err(|error| malformed(&error))?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(TextRow(values.into_iter().map(|it| it.map(text)).collect()))
}

/// Reads the answer to a request of the simple query protocol to its end, and hands each row on.
async fn each_row(
    mut responses: Responses,
    mut take: impl FnMut(DataRow) -> Result<()>,
) -> Result<()> {
    let mut refused = None;
    let mut copied = false;
    loop {
        match responses.next().await {
            None => return Err(responses.lost(refused)),
            Some(Message::DataRow(row)) => take(row)?,
            Some(Message::ErrorResponse(error)) => drop(refused.get_or_insert(error)),
            Some(Message::CopyIn | Message::CopyOut) => copied = true,
            Some(Message::ReadyForQuery(_)) => break,
            Some(_) => {}
        }
    }
    if copied {
        return Err(copy_refused());
    }
    match refused {
        Some(error) => Err(Error::database(*error)),
        None => Ok(()),
    }
}

/// The error of a statement that streams data between the server and us.
pub(crate) fn copy_refused() -> Error {
    Error::new(
        ErrorKind::Execute,
        "COPY FROM STDIN and COPY TO STDOUT cannot be run as statements: use `copyFrom()` and `copyTo()`",
    )
}

/// The error of a message that cannot be read.
pub(crate) fn malformed(error: &Malformed) -> Error {
    Error::new(ErrorKind::Closed, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_server_reads_is_refused_with_its_length_and_the_limit() {
        let most = LONGEST_MESSAGE - OTHER_BYTES;
        assert!(check_length("its text has", most).is_ok());
        let error = check_length("its text has", most + 1).map_err(|error| unencodable(&error));
        assert_eq!(
            error.expect_err("too long").message,
            "the statement cannot be sent: its text has 1073740799 bytes, and the server takes at most 1073740798 at once"
        );
    }
}
