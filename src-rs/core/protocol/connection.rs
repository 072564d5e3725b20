//! Drives a connection: sends what was asked, and hands each answer to whoever asked.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};
use tokio_postgres::CancelToken;
use tokio_util::io::poll_read_buf;

use super::client::{Client, Order, Request, State};
use super::copy_feed::{CopyFeed, Next};
use super::message::{Malformed, Message};
use super::parameters::Parameters;
use super::responses::Sender;
use crate::base::error::{Error, ErrorKind, ServerMessage};
use crate::base::{Awaited, Lend};

/// How much is read at once.
const READ: usize = 16 * 1024;

/// With less room than this the buffer grows before a read, in bytes.
const LEAST_ROOM: usize = 4 * 1024;

/// How much may be unsent before no more data of a `COPY` is taken, in bytes.
const MOST_UNSENT: usize = 256 * 1024;

/// How long a server may take to end a session that it was told to end. One that is frozen, or a proxy before it, would keep the socket
/// for ever.
const LONGEST_END: Duration = Duration::from_secs(60);

/// A message that answers no request.
#[derive(Debug)]
pub enum Asynchronous {
    /// A notice or warning.
    Notice(Box<ServerMessage>),
    /// A notification that was left in the stream.
    Notification,
}

/// How a connection ended that was not closed by its client.
#[derive(Debug, Clone)]
pub struct ConnectionEnd {
    /// The reason.
    pub error: Error,
    /// Whether the server sent what cannot be read.
    pub is_undecodable: bool,
    /// The notice by which the server had announced its end. The error's message has its text.
    pub notice: Option<Box<ServerMessage>>,
}

impl From<Error> for ConnectionEnd {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_undecodable: false,
            notice: None,
        }
    }
}

impl From<Malformed> for ConnectionEnd {
    fn from(malformed: Malformed) -> Self {
        Self {
            error: Error::new(ErrorKind::Closed, malformed.to_string()),
            is_undecodable: true,
            notice: None,
        }
    }
}

impl From<io::Error> for ConnectionEnd {
    fn from(error: io::Error) -> Self {
        lost(&error.to_string()).into()
    }
}

fn lost(why: &str) -> Error {
    Error::new(
        ErrorKind::Closed,
        format!("the connection to the server is lost: {why}"),
    )
}

/// A request that was sent and is not answered.
#[derive(Debug)]
struct Pending {
    sender: Sender,
    is_extended: bool,
    /// The data of a `COPY FROM STDIN`, until it has ended or the server has refused it.
    feed: Option<CopyFeed>,
}

/// How far the end has come that the client's drop began.
#[derive(Debug, PartialEq, Eq)]
enum Closing {
    NotYet,
    /// Terminate stands in the buffer, or is sent.
    Terminating,
    Closed,
}

/// A connection that has started up. Nothing is sent or read unless it is polled.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    state: Arc<State>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Requests that wait for the end of a `COPY`'s data: the server would take them for a part of it.
    held: VecDeque<(Request, Sender)>,
    /// Bytes to send.
    unsent: BytesMut,
    needs_flush: bool,
    /// Bytes that were read.
    read: BytesMut,
    pending: VecDeque<Pending>,
    closing: Closing,
    /// The rest of the time that the server has to end the session.
    time_to_end: Option<Pin<Box<Sleep>>>,
    /// The notice by which the server has announced its end: one that crashes gives its reason (57P02) in a mere notice before
    /// the socket breaks.
    farewell: Option<Box<ServerMessage>>,
    /// The error with which the server ended the session while requests were waiting.
    last_word: Option<Box<ServerMessage>>,
    /// What the server said during start-up.
    early: VecDeque<Asynchronous>,
}

/// What a server said during start-up, besides how it authenticates.
#[derive(Debug, Default)]
pub(crate) struct StartedUp {
    pub(crate) notices: Vec<ServerMessage>,
    pub(crate) parameters: Parameters,
}

/// A connection on a stream that has started up, and the client for it. `read` is what was read beyond start-up.
pub(crate) fn pair<S>(
    stream: S,
    read: BytesMut,
    early: StartedUp,
    cancel_token: Option<CancelToken>,
) -> (Client, Connection<S>) {
    let (sender, orders) = mpsc::unbounded_channel();
    let state = Arc::new(State::new(early.parameters));
    let connection = Connection {
        stream,
        state: Arc::clone(&state),
        orders,
        held: VecDeque::new(),
        unsent: BytesMut::new(),
        needs_flush: false,
        read,
        pending: VecDeque::new(),
        closing: Closing::NotYet,
        time_to_end: None,
        farewell: None,
        last_word: None,
        early: early
            .notices
            .into_iter()
            .map(|notice| Asynchronous::Notice(Box::new(notice)))
            .collect(),
    };
    (Client::new(sender, state, cancel_token), connection)
}

impl<S> Connection<S> {
    /// Notes that what drives the connection has failed. Requests that are not answered fail with it once the connection is
    /// dropped.
    pub(crate) fn fail(&self, error: &Error) {
        self.state.close(Some(&lost(&error.message)));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Sends and reads, until a message comes that answers no request. `None`: the client closed the session, and the
    /// server closed the socket.
    pub fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Asynchronous, ConnectionEnd>>> {
        if let Some(early) = self.early.pop_front() {
            return Poll::Ready(Some(Ok(early)));
        }
        let polled = self.poll(cx).map_err(|end| self.explained(end));
        match &polled {
            Poll::Ready(Err(end)) => self.state.close(Some(&end.error)),
            Poll::Ready(Ok(None)) => self.state.close(None),
            Poll::Ready(Ok(Some(_))) | Poll::Pending => return polled.map(Result::transpose),
        }
        // Nobody waits for an answer any longer than the session lasts.
        self.orders.close();
        self.pending.clear();
        self.held.clear();
        while self.orders.try_recv().is_ok() {}
        polled.map(Result::transpose)
    }

    /// The end with the reason that the server had announced, if the end itself has none of the server's.
    fn explained(&mut self, mut end: ConnectionEnd) -> ConnectionEnd {
        if end.error.server.is_none()
            && let Some(error) = self.last_word.take()
        {
            return Error::database(*error).into();
        }
        if end.error.server.is_none()
            && let Some(notice) = self.farewell.take()
        {
            end.error.message = format!("{}: {}", end.error.message, notice.message);
            end.notice = Some(notice);
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Asynchronous>, ConnectionEnd>> {
        loop {
            self.take_orders(cx)?;
            let written = self.poll_send(cx)?;
            if self.closing == Closing::Terminating {
                // The server's end of the socket tells that the session is gone; an error tells the same.
                let is_gone =
                    written.is_ready() && Pin::new(&mut self.stream).poll_shutdown(cx).is_ready();
                let time_to_end = &mut self.time_to_end;
                let time_to_end = time_to_end.get_or_insert_with(|| Box::pin(sleep(LONGEST_END)));
                if is_gone || time_to_end.as_mut().poll(cx).is_ready() {
                    self.closing = Closing::Closed;
                } else if written.is_ready() {
                    return Poll::Pending;
                }
            }
            if self.closing == Closing::Closed {
                return Poll::Ready(Ok(None));
            }
            match self.poll_answers(cx)? {
                Poll::Ready(Some(message)) => return Poll::Ready(Ok(Some(message))),
                // An answer made something to be sent.
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether requests can be sent, as far as is known.
    fn is_open(&self) -> bool {
        self.early.is_empty() && self.closing == Closing::NotYet && !self.orders.is_closed()
    }

    /// Whether something waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        !self.orders.is_empty()
            || !self.held.is_empty()
            || !self.unsent.is_empty()
            || self.needs_flush
    }

    /// Sends a request at once, unless others wait to be sent. What cannot be written now is the driver's to write, and so is it to
    /// find out that the connection has ended.
    pub(super) fn send_now(
        &mut self,
        request: Request,
        sender: Sender,
        driver: &Waker,
    ) -> Result<(), (Request, Sender)> {
        if !self.is_open() || self.has_unsent() {
            return Err((request, sender));
        }
        self.held.push_back((request, sender));
        self.begin_held();
        if self.poll_write(&mut Context::from_waker(driver)).is_err() {
            driver.wake_by_ref();
        }
        Ok(())
    }

    fn take_orders(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        if self.closing != Closing::NotYet {
            return Ok(());
        }
        loop {
            match self.orders.poll_recv(cx) {
                Poll::Ready(Some(Order::Send(request, sender))) => {
                    self.held.push_back((request, sender));
                    self.begin_held();
                }
                Poll::Ready(Some(Order::Abandon)) => {
                    return Err(lost("it was given up").into());
                }
                Poll::Ready(None) if self.pending.is_empty() => {
                    frontend::terminate(&mut self.unsent);
                    self.closing = Closing::Terminating;
                    return Ok(());
                }
                Poll::Ready(None) | Poll::Pending => return Ok(()),
            }
        }
    }

    /// Lets the requests begin that have waited for the end of a `COPY`'s data.
    fn begin_held(&mut self) {
        while self.pending.back().is_none_or(|last| last.feed.is_none())
            && let Some((request, sender)) = self.held.pop_front()
        {
            self.unsent.extend_from_slice(&request.messages);
            self.pending.push_back(Pending {
                sender,
                is_extended: request.is_extended,
                feed: request.feed,
            });
        }
    }

    /// Sends what is to be sent, and the data of a `COPY` as it comes. Ready once all of it is on its way.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ConnectionEnd> {
        loop {
            let may_have_more = self.take_copy_data(cx)?;
            let written = self.poll_write(cx)?;
            if written.is_pending() || !may_have_more {
                return Ok(written);
            }
        }
    }

    /// Takes a chunk of the data that the server asks for. `false`: there is none now, and the task is woken for the next.
    fn take_copy_data(&mut self, cx: &Context<'_>) -> Result<bool, ConnectionEnd> {
        let front = self.pending.front().and_then(|front| front.feed.as_ref());
        let Some(feed) = front.filter(|feed| feed.is_open()) else {
            return Ok(false);
        };
        if self.unsent.len() >= MOST_UNSENT {
            return Ok(true);
        }
        match feed.poll_next(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Next::Data(chunk)) => {
                frontend::CopyData::new(chunk)?.write(&mut self.unsent);
                return Ok(true);
            }
            Poll::Ready(Next::Done) => frontend::copy_done(&mut self.unsent),
            Poll::Ready(Next::Failed(why)) => frontend::copy_fail(why, &mut self.unsent)?,
        }
        self.close_feed();
        Ok(true)
    }

    /// The present request takes no more data.
    fn close_feed(&mut self) {
        if let Some(front) = self.pending.front_mut() {
            front.feed = None;
        }
        self.begin_held();
    }

    /// Sends what is to be sent. Ready once all of it is on its way.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ConnectionEnd> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent)? {
                Poll::Ready(0) => return Err(lost("nothing can be sent").into()),
                Poll::Ready(written) => self.unsent.advance(written),
                Poll::Pending => return Ok(Poll::Pending),
            }
            self.needs_flush = true;
        }
        if self.needs_flush {
            if Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.needs_flush = false;
        }
        Ok(Poll::Ready(()))
    }

    /// Reads answers, until a message comes that answers no request. `None`: there is something to send.
    fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<Poll<Option<Asynchronous>>, ConnectionEnd> {
        let polled = self.read_answers(cx);
        if let Some(front) = self.pending.front() {
            front.sender.wake();
        }
        polled
    }

    fn read_answers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<Poll<Option<Asynchronous>>, ConnectionEnd> {
        loop {
            if let Some(front) = self.pending.front()
                && front.sender.poll_room(cx).is_pending()
            {
                return Ok(Poll::Pending);
            }
            let Some(message) = Message::split_off(&mut self.read)? else {
                match self.poll_read(cx)? {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Ok(Poll::Pending),
                }
            };
            match message {
                Message::NoticeResponse(notice) => {
                    if notice.sql_state.starts_with("57P") {
                        self.farewell = Some(notice.clone());
                    }
                    return Ok(Poll::Ready(Some(Asynchronous::Notice(notice))));
                }
                Message::Notification => {
                    return Ok(Poll::Ready(Some(Asynchronous::Notification)));
                }
                Message::ParameterStatus(name, value) => self.state.reported(name, value),
                message => {
                    // The server goes on, so it was no farewell.
                    self.farewell = None;
                    if self.answer(message)? {
                        return Ok(Poll::Ready(None));
                    }
                }
            }
        }
    }

    /// Hands a message to whoever asked. `true`: there is something to send now.
    fn answer(&mut self, message: Message) -> Result<bool, ConnectionEnd> {
        let Some(front) = self.pending.front_mut() else {
            return Err(match message {
                // The last word of a server that ends the session.
                Message::ErrorResponse(error) => Error::database(*error).into(),
                _ => ConnectionEnd {
                    error: Error::new(
                        ErrorKind::Closed,
                        "the server sent an answer to nothing that was asked",
                    ),
                    is_undecodable: true,
                    notice: None,
                },
            });
        };
        match &message {
            Message::ReadyForQuery(status) => {
                // Told first: whoever is woken may send the next request by it.
                self.state.answered(*status);
                front.sender.push(message);
                self.pending.pop_front();
                let is_held = !self.held.is_empty();
                self.begin_held();
                // The end of the session waits for the last answer.
                return Ok(is_held || (self.pending.is_empty() && self.orders.is_closed()));
            }
            Message::CopyIn => {
                if let Some(feed) = &front.feed {
                    feed.open();
                } else {
                    // Nobody has data for it, and the server would wait for ever.
                    frontend::copy_fail(
                        "COPY FROM STDIN cannot be run as a statement",
                        &mut self.unsent,
                    )?;
                    if front.is_extended {
                        // A server that waits for data ignores the Sync that was sent already.
                        frontend::sync(&mut self.unsent);
                    }
                }
                front.sender.push(message);
                return Ok(true);
            }
            Message::CommandComplete(tag) => self.state.completed(tag),
            Message::ErrorResponse(error) if error.severity != "ERROR" => {
                // The session ends with it, which the end of the socket will not explain.
                self.state.close(Some(&Error::database((**error).clone())));
                self.last_word = Some(error.clone());
            }
            _ => {}
        }
        let ends_data = matches!(
            message,
            Message::CommandComplete(_) | Message::ErrorResponse(_)
        );
        front.sender.push(message);
        if ends_data && front.feed.is_some() {
            self.close_feed();
        }
        Ok(false)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ConnectionEnd> {
        // Memory grows with the bytes that come, not with the length that a message announces. What was read before may still be in
        // use, so that more room is new memory.
        if self.read.capacity() - self.read.len() < LEAST_ROOM {
            self.read.reserve(READ);
        }
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)? {
            Poll::Ready(0) => Err(lost("the server closed it").into()),
            Poll::Ready(_) => Ok(Poll::Ready(())),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin> Connection<S> {
    /// Lends the socket, if nothing is under way.
    pub(super) fn lend(&mut self) -> Option<Awaited> {
        if !self.is_open() || self.has_unsent() || !self.pending.is_empty() || !self.read.is_empty()
        {
            return None;
        }
        self.stream.lend()
    }

    pub(super) fn take_back(&mut self) -> io::Result<()> {
        self.stream.take_back()
    }

    /// Lets so many bytes be read while the socket is lent.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.stream.allow(bytes);
    }

    /// Whether there is something to read while the socket is lent.
    pub(super) fn has_come(&self) -> bool {
        self.stream.has_come()
    }

    /// Whether all bytes that were allowed are read.
    pub(super) fn is_used_up(&self) -> bool {
        self.stream.is_used_up()
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.state.close(None);
    }
}

#[cfg(test)]
mod tests;
