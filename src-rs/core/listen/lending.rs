//! Lets the thread that takes a session's notifications read its socket too, while there are few of them.
//!
//! To wake one thread for the socket and another for what was read costs more than a lone notification. A session is lent while
//! notifications come steadily. Its driver takes it back when the borrower is busy with something else, when more comes than is read at
//! once, and when nothing comes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::moderation::Moderation;
use crate::base::Awaited;
use crate::connect::wire::Wire;
use crate::inbound::{Inbound, NotificationSink};
use crate::protocol::{Driven, Loan};

/// How often it is looked whether the borrower reads what has come.
const WATCH: Duration = Duration::from_millis(20);
/// After how many looks in a row at which nothing had come a session is taken back.
const MOST_IDLE: u32 = 2;
/// How long a session is not lent again of which more had come than is read at once.
const AFTER_FLOOD: Duration = Duration::from_millis(20);

/// Where the lender of the current session is; empty while there is none.
pub(super) type LenderSlot = Arc<Mutex<Option<Lender>>>;

/// Lends the connection of a session.
#[derive(Debug, Clone)]
pub(super) struct Lender(Arc<Source>);

#[derive(Debug)]
struct Source {
    connection: Weak<Driven<Inbound<Wire>>>,
    arrivals: Arc<NotificationSink>,
    /// Set while a full consumer keeps the session from being read.
    paused: Arc<AtomicBool>,
    runtime: Handle,
    not_before: Mutex<Option<Instant>>,
}

impl Lender {
    /// Lends a connection on the current runtime, where its driver is.
    pub(super) fn of(
        connection: &Arc<Driven<Inbound<Wire>>>,
        arrivals: &Arc<NotificationSink>,
        paused: &Arc<AtomicBool>,
    ) -> Self {
        Self(Arc::new(Source {
            connection: Arc::downgrade(connection),
            arrivals: Arc::clone(arrivals),
            paused: Arc::clone(paused),
            runtime: Handle::current(),
            not_before: Mutex::default(),
        }))
    }

    /// Lends the connection to this thread, if that can be. `max_delay` is how long a notification may wait for others; `None` where this
    /// thread may not read.
    pub(super) fn lend(
        &self,
        max_delay: impl Fn() -> Option<Duration>,
    ) -> Option<(Awaited, ListeningLoan)> {
        let source = &self.0;
        let connection = source.connection.upgrade()?;
        if connection.is_lent() || source.paused.load(Ordering::Relaxed) {
            return None;
        }
        if source
            .not_before
            .lock()
            .is_some_and(|at| Instant::now() < at)
        {
            return None;
        }
        max_delay()?;
        let (awaited, loan) = connection.lend()?;
        // Who has forbidden it meanwhile has recalled nothing, if that was before the loan.
        let Some(max_delay) = max_delay() else {
            loan.give_back();
            return None;
        };
        let loan = Arc::new(loan);
        let reads = Arc::new(AtomicU64::new(0));
        source.runtime.spawn(watch(
            Weak::clone(&source.connection),
            Arc::downgrade(&loan),
            Arc::clone(&reads),
        ));
        let loan = ListeningLoan {
            loan,
            reads,
            taken: source.arrivals.taken(),
            moderation: Moderation::new(max_delay),
            source: Arc::clone(source),
        };
        Some((awaited, loan))
    }

    /// Takes the connection back.
    pub(super) fn recall(&self) {
        if let Some(connection) = self.0.connection.upgrade() {
            connection.recall();
        }
    }
}

/// The loan of a session's connection. Dropped, it is over.
#[derive(Debug)]
pub struct ListeningLoan {
    loan: Arc<Loan>,
    reads: Arc<AtomicU64>,
    /// How many notifications the session had taken at the last read.
    taken: u64,
    moderation: Moderation,
    source: Arc<Source>,
}

/// What a borrower does after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It reads again when the socket can be read.
    WhenReadable,
    /// It reads again after so many milliseconds.
    After(u64),
    /// The loan is over.
    Over,
}

impl ListeningLoan {
    /// Which connection it is of, as [`Loan::connection`] tells it.
    #[must_use]
    pub fn connection(&self) -> usize {
        self.loan.connection()
    }

    /// Has the session read by its driver again. From any thread.
    pub fn give_back(&self) {
        self.loan.give_back();
    }

    /// Reads what has come. `now_ms` is the time of any clock in milliseconds.
    pub fn read(&mut self, now_ms: u64) -> Next {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if !self.loan.read() {
            *self.source.not_before.lock() = Some(Instant::now() + AFTER_FLOOD);
            return Next::Over;
        }
        let taken = self.source.arrivals.taken();
        let read = taken - self.taken;
        self.taken = taken;
        match self.moderation.next(now_ms, read) {
            Some(delay) => Next::After(delay),
            None => Next::WhenReadable,
        }
    }
}

impl Drop for ListeningLoan {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Takes a connection back from a borrower that does not read what has come, or for which nothing comes.
async fn watch(connection: Weak<Driven<Inbound<Wire>>>, loan: Weak<Loan>, reads: Arc<AtomicU64>) {
    let (mut before, mut idle) = (0, 0);
    loop {
        tokio::time::sleep(WATCH).await;
        let (Some(connection), Some(loan)) = (connection.upgrade(), loan.upgrade()) else {
            return;
        };
        let now = reads.load(Ordering::Relaxed);
        if now != before {
            (before, idle) = (now, 0);
            continue;
        }
        idle += 1;
        if idle >= MOST_IDLE || connection.has_come() {
            return loan.give_back();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::cell::Cell;

    use bytes::BytesMut;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connect::dial::drive_shared;
    use crate::connect::wire::{Socket, Transport};
    use crate::protocol::{StartedUp, pair};

    #[tokio::test]
    async fn who_may_not_read_any_more_gets_no_loan_also_when_that_is_so_since_the_first_look() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let (stream, _server) = (stream.await.unwrap(), listener.accept().await.unwrap());
        let wire = Wire::plain(Socket::new(Transport::Tcp(stream)));
        let arrivals = Arc::new(NotificationSink::default());
        let inbound = Inbound::new(wire, Some(Arc::clone(&arrivals)));
        let (_client, connection) = pair(inbound, BytesMut::new(), StartedUp::default(), None);
        let connection = Arc::new(Driven::new(connection));
        let shared = Arc::clone(&connection);
        let driver = tokio::spawn(async move { drive_shared(&shared).await });
        tokio::task::yield_now().await;
        let lender = Lender::of(&connection, &arrivals, &Arc::default());
        let delay = Duration::from_millis(1);

        let looks = Cell::new(0);
        let allowed_once = || (looks.replace(looks.get() + 1) == 0).then_some(delay);
        assert!(lender.lend(allowed_once).is_none());
        assert!(!connection.is_lent(), "the driver reads");
        tokio::task::yield_now().await;
        assert!(lender.lend(|| Some(delay)).is_some());
        driver.abort();
    }
}
