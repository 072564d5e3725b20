//! A connection that a task drives, while whoever asks something sends it without waiting for that task, and may even read the
//! answers.
//!
//! Each thread that is woken for a statement costs more than a short statement itself. So the thread of whoever asks can borrow the
//! connection: it sends, waits for the socket, and reads. The driver takes the connection back when it has something to do: when
//! somebody else asks, when an answer is long, when the client is dropped.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Request;
use super::connection::{Asynchronous, Connection, ConnectionEnd};
use super::responses::Sender;
use crate::base::error::Error;
use crate::base::panic::contained;
use crate::base::{Awaited, Lend};

/// The longest request that is sent by whoever asks, in bytes. To encrypt a longer one takes time of a thread that has other work.
const LONGEST_REQUEST: usize = 16 * 1024;

/// How much a borrower reads at once, in bytes. The rest of a longer answer is the driver's to read.
const READ_AT_ONCE: usize = 32 * 1024;

/// A connection that its driver polls, and that others use meanwhile.
#[derive(Debug)]
pub struct Driven<S> {
    inner: Mutex<Inner<S>>,
    /// Whether a thread has borrowed the connection, to be asked without waiting for a driver that reads a long answer.
    is_lent: AtomicBool,
}

#[derive(Debug)]
struct Inner<S> {
    connection: Connection<S>,
    driver: Option<Waker>,
    /// The thread that has borrowed the connection, and which loan that is.
    borrower: Option<(ThreadId, u64)>,
    /// How often the connection was lent.
    loans: u64,
    /// What the borrower has read that is for the driver.
    found: Option<Polled>,
}

/// What [`Connection::poll_message`] gives.
type Polled = Option<Result<Asynchronous, ConnectionEnd>>;

impl<S> Driven<S> {
    /// A connection that nothing drives yet.
    pub fn new(connection: Connection<S>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                connection,
                driver: None,
                borrower: None,
                loans: 0,
                found: None,
            }),
            is_lent: AtomicBool::new(false),
        }
    }

    /// Gives whether somebody had borrowed the connection.
    fn end_loan(&self, inner: &mut Inner<S>) -> bool {
        self.is_lent.store(false, Ordering::Release);
        inner.borrower.take().is_some()
    }

    /// Does as [`Connection::fail`] does.
    pub(crate) fn fail(&self, error: &Error) {
        self.inner.lock().connection.fail(error);
    }
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin> Driven<S> {
    /// Does as [`Connection::poll_message`] does, and takes the connection back from whoever has borrowed it. One task polls, from the
    /// first poll to the last.
    pub fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Polled> {
        let mut inner = self.inner.lock();
        if !inner
            .driver
            .as_ref()
            .is_some_and(|it| it.will_wake(cx.waker()))
        {
            inner.driver = Some(cx.waker().clone());
        }
        self.end_loan(&mut inner);
        if let Some(found) = inner.found.take() {
            return Poll::Ready(found);
        }
        if let Err(error) = inner.connection.take_back() {
            return Poll::Ready(Some(Err(error.into())));
        }
        inner.connection.poll_message(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin + Send + 'static> Driven<S> {
    /// Lends the connection to this thread, if nobody has borrowed it and nothing is under way on it.
    pub(crate) fn lend(self: Arc<Self>) -> Option<(Awaited, Loan)> {
        Shared::lend(self)
    }

    /// Has the driver take the connection back from whoever has borrowed it.
    pub(crate) fn recall(&self) {
        Shared::recall(self);
    }

    /// Whether a thread has borrowed the connection.
    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent.load(Ordering::Relaxed)
    }

    /// Whether there is something that the borrower has not read.
    pub(crate) fn has_come(&self) -> bool {
        // It is locked while somebody reads.
        let inner = self.inner.try_lock();
        inner.is_some_and(|inner| inner.borrower.is_some() && inner.connection.has_come())
    }
}

/// A connection that a thread has borrowed.
pub struct Loan {
    connection: Weak<dyn Shared>,
    number: u64,
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").finish_non_exhaustive()
    }
}

impl Loan {
    /// Reads what has come, on the thread that has borrowed the connection. `false`: the loan is over.
    #[must_use]
    pub fn read(&self) -> bool {
        let connection = self.connection.upgrade();
        connection.is_some_and(|connection| connection.read(self.number))
    }

    /// Which connection it is of: the same number for each of its loans, and for those of no other connection for as long as there is one.
    #[must_use]
    pub fn connection(&self) -> usize {
        self.connection.as_ptr().addr()
    }

    /// Has the connection read by its driver again. From any thread.
    pub fn give_back(&self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.give_back(self.number);
        }
    }
}

/// What may be done with a connection from any thread.
pub(super) trait Shared: Send + Sync {
    /// Sends a request at once. Gives it back if it has to go to the driver: others wait to be sent, the connection is being polled, or
    /// another thread has borrowed it.
    fn send_now(&self, request: Request, sender: Sender) -> Result<(), (Request, Sender)>;

    /// Lends the connection to this thread, if it has not borrowed it yet and nothing is under way on it.
    fn lend(self: Arc<Self>) -> Option<(Awaited, Loan)>;

    /// Has the driver take the connection back.
    fn recall(&self);

    /// Has the driver take the connection back, if the loan of that number is not over.
    fn give_back(&self, number: u64);

    /// Does as [`Loan::read`] does, for the loan of that number.
    fn read(&self, number: u64) -> bool;
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin + Send + 'static> Shared for Driven<S> {
    fn send_now(&self, request: Request, sender: Sender) -> Result<(), (Request, Sender)> {
        if request.messages.len() > LONGEST_REQUEST || request.feed.is_some() {
            return Err((request, sender));
        }
        let Some(mut inner) = self.inner.try_lock() else {
            return Err((request, sender));
        };
        let Inner {
            connection,
            driver: Some(driver),
            borrower,
            ..
        } = &mut *inner
        else {
            return Err((request, sender));
        };
        if borrower.is_some_and(|(borrower, _)| borrower != thread::current().id()) {
            return Err((request, sender));
        }
        connection.send_now(request, sender, driver)?;
        if borrower.is_some() && connection.has_unsent() {
            // Only the driver waits until more can be sent.
            driver.wake_by_ref();
        }
        Ok(())
    }

    fn lend(self: Arc<Self>) -> Option<(Awaited, Loan)> {
        // It is locked while the driver reads, and nothing can be lent then.
        let mut inner = self.inner.try_lock()?;
        if inner.borrower.is_some() || inner.driver.is_none() {
            return None;
        }
        let awaited = inner.connection.lend()?;
        inner.loans += 1;
        let number = inner.loans;
        inner.borrower = Some((thread::current().id(), number));
        self.is_lent.store(true, Ordering::Release);
        drop(inner);
        let shared: Arc<dyn Shared> = self;
        let connection = Arc::downgrade(&shared);
        Some((awaited, Loan { connection, number }))
    }

    fn recall(&self) {
        if self.is_lent.load(Ordering::Acquire) {
            let mut inner = self.inner.lock();
            if self.end_loan(&mut inner)
                && let Some(driver) = &inner.driver
            {
                driver.wake_by_ref();
            }
        }
    }

    fn give_back(&self, number: u64) {
        if self.is_lent.load(Ordering::Acquire) {
            let mut inner = self.inner.lock();
            if inner.borrower.is_some_and(|(_, loan)| loan == number) {
                self.end_loan(&mut inner);
                if let Some(driver) = &inner.driver {
                    driver.wake_by_ref();
                }
            }
        }
    }

    fn read(&self, number: u64) -> bool {
        let mut inner = self.inner.lock();
        if inner.borrower != Some((thread::current().id(), number)) {
            return false;
        }
        // A panic ends the connection, as one of the driver's does, and not the loan alone: nobody would read on.
        let read = contained("the thread that reads the connection", || {
            fail_point!("borrowed");
            inner.read()
        });
        let read = read.unwrap_or_else(|panicked| {
            inner.connection.fail(&panicked);
            Read::Found(Some(Err(panicked.into())))
        });
        match read {
            Read::All => return true,
            Read::Part => {}
            Read::Found(found) => inner.found = Some(found),
        }
        self.end_loan(&mut inner);
        if let Some(driver) = &inner.driver {
            driver.wake_by_ref();
        }
        false
    }
}

/// How far a borrower has read.
enum Read {
    /// All that has come.
    All,
    /// As far as is allowed, or something is to be sent: the driver goes on.
    Part,
    /// Up to what answers no request, or to the end of the connection: the driver is to hear of it.
    Found(Polled),
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin> Inner<S> {
    fn read(&mut self) -> Read {
        let Self {
            connection,
            driver: Some(driver),
            ..
        } = self
        else {
            return Read::Part;
        };
        connection.allow(READ_AT_ONCE);
        let mut cx = Context::from_waker(driver);
        match connection.poll_message(&mut cx) {
            Poll::Ready(found) => Read::Found(found),
            Poll::Pending if connection.is_used_up() || connection.has_unsent() => Read::Part,
            Poll::Pending => Read::All,
        }
    }
}

/// The way around the driver, as long as there is a connection.
pub(super) type Shortcut = Weak<dyn Shared>;
