//! One server session that listens: connected, set up, subscribed, verified.
//!
//! It lives outside the pool, whose connections discard notifications. A task of its own, the *driver*,
//! polls the connection, hands batches to the feed, and ends when the session does.

mod probe;
mod registration;
mod set_up;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::base::Moment;
use crate::base::clock;
use crate::base::doubt::Doubt;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::cluster::Timeline;
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::dial::{Candidate, Destination, Dialed, dial_host, first_of};
use crate::connect::password::Waits;
use crate::connect::wire::WireFacts;
use crate::deliver::feed::{Feed, FeedPlace};
use crate::inbound::NotificationSink;
use crate::listen::desired::ChannelNames;
use crate::listen::driver::{Driver, SessionEnd};
use crate::listen::lending::Lender;
use crate::listen::liveness::{Liveness, SecondConnection};
use crate::listen::sessions::{ListeningSession, Sessions};
use crate::protocol::{Driven, TextRow};
use crate::query::backend::Backend;
use crate::query::client::Client;
use crate::query::shared_client::SessionClient;

/// The most channels of one LISTEN or UNLISTEN transaction. Up to version 18 PostgreSQL compares each name with all before it, so
/// that 40,000 at once would keep a session from its heartbeats for seconds.
pub(super) const CHUNK: usize = 2000;

/// How often a moment is looked for in which no statement of the user's is running, before a heartbeat does without a verdict.
const TRIES: usize = 3;

/// How long to wait for the driver's word on why a request failed.
const REASON_TIMEOUT: Duration = Duration::from_millis(100);

/// A session that is connected, or being set up.
#[derive(Debug)]
pub struct Session {
    client: Arc<Client>,
    shared: SessionClient,
    lender: Lender,
    /// Dropping a session that was not closed drops its socket: nothing waits for a server that is gone.
    driver: AbortOnDropHandle<SessionEnd>,
    place: FeedPlace,
    /// The facts that the socket notes: when the server was last heard, who answered start-up.
    facts: Arc<WireFacts>,
    arrivals: Arc<NotificationSink>,
    paused: Arc<AtomicBool>,
    connect: Arc<ConnectConfig>,
    doubt: Arc<Doubt>,
    /// Ends when its primary was left behind by its cluster.
    left_behind: Option<AbortOnDropHandle<Error>>,
    /// Where it is.
    destination: Destination,
    /// Its backend.
    pub process_id: i32,
    /// The postmaster's start, which tells a restarted or another server. `None` when it does not say.
    pub server_started: Option<String>,
    /// When it was verified.
    pub since: Instant,
    /// The channels of its LISTENs.
    pub(super) applied: ChannelNames,
    /// The server's digest of all that it listens to, as of the last time that every channel was among it. `None`: our own LISTENs
    /// have changed it since.
    digest: Option<String>,
}

/// How to make a session.
#[derive(Debug, Clone)]
pub struct SessionSetup {
    /// Where to connect.
    pub connect: Arc<ConnectConfig>,
    /// Raised when a session is found silently dead: the pool's connections may be so too.
    pub doubt: Arc<Doubt>,
    /// `tcp_user_timeout` of the server's end: after this long without acknowledgement from us (a frozen
    /// process, a dead network) the server gives the session up, and its place in the notification queue.
    pub server_tcp_user_timeout: Duration,
    /// How long a full consumer may keep us from reading.
    pub max_pause: Duration,
    /// How long the notification may take that proves the delivery of a new session. `None`: it is not asked for.
    pub probe_timeout: Option<Duration>,
    /// The attempts that wait for the user's function for passwords.
    pub asking: Waits,
}

/// The server gives up a client that acknowledges nothing for this long.
const SERVER_TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The server waits this much longer than a pause may last, so that a pause on purpose is never taken for a frozen client.
const PAUSE_MARGIN: Duration = Duration::from_secs(10);

impl SessionSetup {
    /// Sessions on `connect` that raise `doubt`, read without a pause of more than `max_pause`.
    #[must_use]
    pub fn new(connect: Arc<ConnectConfig>, doubt: Arc<Doubt>, max_pause: Duration) -> Self {
        Self {
            connect,
            doubt,
            server_tcp_user_timeout: SERVER_TCP_USER_TIMEOUT.max(max_pause + PAUSE_MARGIN),
            max_pause,
            probe_timeout: None,
            asking: Waits::default(),
        }
    }
}

impl Session {
    /// Connects, sets up, LISTENs on `channels` in one round trip and verifies that the server does, at the first host
    /// that takes it all: a standby, which refuses LISTEN, is passed over. One deadline for each host covers it all; a
    /// failure leaves no session behind.
    pub async fn establish(
        setup: &SessionSetup,
        feed: &Arc<Feed>,
        channels: &[String],
    ) -> Result<Self> {
        first_of(&setup.connect, |candidate| {
            Self::establish_at(setup, feed, candidate, channels)
        })
        .await
    }

    async fn establish_at(
        setup: &SessionSetup,
        feed: &Arc<Feed>,
        candidate: Candidate<'_>,
        channels: &[String],
    ) -> Result<Self> {
        let arrivals = Arc::new(NotificationSink::default());
        let host = candidate.host;
        candidate.asked.note_among(&setup.asking);
        let Dialed {
            client,
            connection,
            facts,
            destination,
        } = dial_host(&setup.connect, candidate, Some(&arrivals)).await?;
        arrivals.confirm(Moment::now());
        fail_point!("attempt");
        let paused = Arc::new(AtomicBool::new(false));
        let place = FeedPlace::take(feed);
        let connection = Arc::new(Driven::new(connection));
        let lender = Lender::of(&connection, &arrivals, &paused);
        let driver = Driver {
            connection,
            feed: Arc::clone(feed),
            number: place.number(),
            paused: Arc::clone(&paused),
            arrivals: Arc::clone(&arrivals),
            max_pause: setup.max_pause,
        };
        let there = destination.clone();
        let backend = Backend::new(
            client,
            Arc::clone(&facts),
            Arc::clone(&setup.connect),
            destination,
            Arc::clone(&setup.doubt),
        );
        let client = Arc::new(Client::unpooled(backend));
        let shared = SessionClient::of(&client);
        let mut session = Self {
            client,
            shared,
            lender,
            driver: AbortOnDropHandle::new(tokio::spawn(driver.run())),
            left_behind: watch_cluster(&setup.connect, &facts, host),
            place,
            facts,
            arrivals,
            paused,
            connect: Arc::clone(&setup.connect),
            doubt: Arc::clone(&setup.doubt),
            destination: there,
            process_id: 0,
            server_started: None,
            since: Instant::now(),
            applied: ChannelNames::new(),
            digest: None,
        };
        if let Err(error) = session.set_up(setup, feed, channels).await {
            // The driver knows why the server ended a session better than the statement that it broke.
            let lost = error.kind == ErrorKind::Closed;
            return Err(if lost {
                session.reason(error).await.error
            } else {
                error
            });
        }
        session.since = Instant::now();
        Ok(session)
    }

    /// Runs our own statements. While the user has a transaction open on this session they are refused: what they do would wait
    /// for its end.
    async fn query_outside_block(&self, query: &str) -> Result<Vec<TextRow>> {
        let answer = self.client.query_outside_block(query, usize::MAX).await?;
        answer.ok_or_else(in_block)
    }

    async fn listen_and_unlisten(&mut self, add: &[String], remove: &[String]) -> Result<()> {
        let mut query = String::new();
        for channel in add {
            query.push_str(&listen(channel));
        }
        for channel in remove {
            query.push_str(&unlisten(channel));
        }
        drop(self.query_outside_block(&query).await?);
        self.digest = None;
        self.applied.extend(add.iter().map(SmolStr::from));
        for channel in remove {
            self.applied.remove(channel.as_str());
        }
        Ok(())
    }

    /// Waits for the answer to a request of ours.
    async fn answered(
        &mut self,
        timeout: Duration,
        what: &str,
        request: impl AsyncFnOnce(&mut Self) -> Result<()> + Send,
    ) -> Result<()> {
        let liveness = self.liveness();
        let answer = liveness.answer(timeout, what, request(self)).await;
        self.doubt_if_silent(&answer);
        answer
    }

    /// Raises a doubt about the pool's connections when the server has not answered.
    fn doubt_if_silent<T>(&self, answer: &Result<T>) {
        if answer.as_ref().is_err_and(|error| error.is_unanswered) {
            self.doubt.raise();
        }
    }

    fn liveness(&self) -> Liveness<SecondConnection> {
        Liveness {
            facts: Arc::clone(&self.facts),
            paused: Arc::clone(&self.paused),
            in_flight: Arc::clone(&self.shared.in_flight),
            beside: SecondConnection {
                connect: Arc::clone(&self.connect),
                destination: self.destination.clone(),
                process_id: self.process_id,
            },
        }
    }

    /// A request that was sent at `asked` has been answered. A notification that was read confirms nothing: notifications
    /// that were committed since may still be under way.
    fn confirm(&self, asked: SystemTime) {
        self.arrivals.confirm(asked.into());
    }
}

impl Sessions for SessionSetup {
    type Session = Session;

    async fn establish(&self, feed: &Arc<Feed>, channels: &[String]) -> Result<Session> {
        Session::establish(self, feed, channels).await
    }

    fn is_asking(&self) -> bool {
        self.asking.is_any()
    }
}

impl ListeningSession for Session {
    fn place(&self) -> &FeedPlace {
        &self.place
    }

    fn process_id(&self) -> i32 {
        self.process_id
    }

    fn server_started(&self) -> Option<&str> {
        self.server_started.as_deref()
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn applied(&self) -> &ChannelNames {
        &self.applied
    }

    fn client(&self) -> SessionClient {
        self.shared.clone()
    }

    fn lender(&self) -> Option<Lender> {
        Some(self.lender.clone())
    }

    fn confirmed(&self) -> SystemTime {
        self.arrivals.confirmed().into()
    }

    fn timeline(&self) -> Option<Timeline> {
        self.facts.timeline.get().copied()
    }

    fn promoted_since(&self, before: Timeline) -> Option<SystemTime> {
        self.connect.cluster.as_ref()?.promoted_since(before)
    }

    fn facts(&self) -> Arc<WireFacts> {
        Arc::clone(&self.facts)
    }

    fn silence(&self) -> Duration {
        self.facts.heard.last().elapsed()
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    async fn change(&mut self, add: &[String], remove: &[String], timeout: Duration) -> Result<()> {
        // It confirms nothing: the answer does not say whether the server still listens to the other channels.
        self.answered(timeout, "LISTEN or UNLISTEN", async |session| {
            session.listen_and_unlisten(add, remove).await
        })
        .await
    }

    async fn fence(&mut self, ids: &[u32], timeout: Duration) -> Result<()> {
        let asked = clock::now();
        self.answered(timeout, "a fence", async |session| {
            let sent = session.notify_registered(ids, usize::MAX).await?;
            sent.then_some(()).ok_or_else(in_block)
        })
        .await?;
        self.confirm(asked);
        Ok(())
    }

    async fn ping(&mut self, timeout: Duration) -> Result<Duration> {
        let (sent, asked) = (Instant::now(), clock::now());
        let liveness = self.liveness();
        let round_trip = async {
            match self.check_registration(TRIES).await {
                // It is an answer too, but no verdict: a cancellation of a statement of the user's can hit it, or their
                // `statement_timeout`.
                Err(error) if error.is_servers_refusal() => Ok(false),
                answer => answer,
            }
        };
        let answer = liveness.answer(timeout, "a heartbeat", round_trip).await;
        self.doubt_if_silent(&answer);
        // While a transaction of the user's is open, the server keeps notifications back: they are not confirmed.
        if answer? {
            self.confirm(asked);
        }
        Ok(sent.elapsed())
    }

    async fn probe(&mut self, timeout: Duration) -> Result<bool> {
        self.probe_delivery(timeout).await
    }

    async fn ended(&mut self) -> SessionEnd {
        tokio::select! {
            biased;
            driven = &mut self.driver => match driven {
                Ok(end) => end,
                Err(error) => Error::of_task("the task that reads the session", error).into(),
            },
            error = outcome_of(&mut self.left_behind) => error.into(),
        }
    }

    async fn reason(&mut self, error: Error) -> SessionEnd {
        if !self.client.is_closed() {
            return error.into();
        }
        // A broken connection fails the requests first; its driver ends in the same poll.
        tokio::time::timeout(REASON_TIMEOUT, self.ended())
            .await
            .unwrap_or_else(|_| error.into())
    }

    async fn close(self, deadline: Instant) -> bool {
        let mut driver = self.driver;
        // A statement of the user's that is running is cancelled: the session ends behind it.
        self.shared.closing.cancel();
        drop(self.client);
        tokio::time::timeout_at(deadline, &mut driver).await.is_ok()
    }
}

/// Watches the cluster of a primary. The task ends with the reason when the primary was left behind.
fn watch_cluster(
    connect: &Arc<ConnectConfig>,
    facts: &WireFacts,
    host: &Host,
) -> Option<AbortOnDropHandle<Error>> {
    let (cluster, timeline) = (connect.cluster.clone()?, *facts.timeline.get()?);
    let (connect, host) = (Arc::clone(connect), host.clone());
    let watch = async move { cluster.watch(&connect, timeline, &host).await };
    Some(AbortOnDropHandle::new(tokio::spawn(watch)))
}

/// The outcome of a task, if there is one.
async fn outcome_of(task: &mut Option<AbortOnDropHandle<Error>>) -> Error {
    match task {
        Some(task) => task
            .await
            .unwrap_or_else(|error| Error::of_task("the task that watches the cluster", error)),
        None => pending().await,
    }
}

/// Where the current session's client can be found; empty while there is none.
pub type ClientSlot = Arc<Mutex<Option<SessionClient>>>;

/// The refusal of what would take effect only at the end of the user's transaction.
fn in_block() -> Error {
    Error::new(
        ErrorKind::Execute,
        "a transaction is open on the listening session (listener.connection): LISTEN, UNLISTEN and NOTIFY take effect \
         when it ends, so end it first",
    )
}

fn listen(channel: &str) -> String {
    format!("LISTEN {};", quote_identifier(channel))
}

fn unlisten(channel: &str) -> String {
    format!("UNLISTEN {};", quote_identifier(channel))
}

fn notify(channel: &str, fence: u32) -> String {
    format!("NOTIFY {}, '{fence}';", quote_identifier(channel))
}

/// A name as a quoted identifier: exact, whatever it holds
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>).
fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text of ours, which holds no backslash, as a literal.
fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted_whole() {
        assert_eq!(quote_identifier("orders"), "\"orders\"");
        assert_eq!(
            quote_identifier("a\";DROP TABLE x;--"),
            "\"a\"\";DROP TABLE x;--\""
        );
    }
}
