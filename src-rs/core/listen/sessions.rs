//! The sessions that a supervisor needs, as traits, so that its decisions can be tested without a server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::desired::ChannelNames;
use super::driver::SessionEnd;
use super::lending::Lender;
use crate::base::error::{Error, Result};
use crate::connect::cluster::Timeline;
use crate::connect::wire::WireFacts;
use crate::deliver::feed::{Feed, FeedPlace};
use crate::query::shared_client::SessionClient;

/// Makes sessions.
pub(super) trait Sessions: Clone + Send + Sync + 'static {
    /// A session of this kind.
    type Session: ListeningSession;

    /// Connects, LISTENs on `channels` and verifies that the server listens. A failure leaves no session behind, and
    /// neither does an attempt that is dropped before its end. Several attempts may be under way at once.
    fn establish(
        &self,
        feed: &Arc<Feed>,
        channels: &[String],
    ) -> impl Future<Output = Result<Self::Session>> + Send;

    /// Whether an attempt that is under way waits for the user's function for passwords, and not for a server.
    fn is_asking(&self) -> bool {
        false
    }
}

/// A session that is connected, subscribed and verified. Dropping it drops its socket.
pub(super) trait ListeningSession: Send {
    /// The session's place at the feed.
    fn place(&self) -> &FeedPlace;

    /// The backend.
    fn process_id(&self) -> i32;

    /// The start of the postmaster, which tells a restarted or another server; `None` when the server does not say.
    fn server_started(&self) -> Option<&str>;

    /// The moment at which the session was verified.
    fn since(&self) -> Instant;

    /// The channels that the server listens to for this session.
    fn applied(&self) -> &ChannelNames;

    /// The client for `listener.connection`.
    fn client(&self) -> SessionClient;

    /// Lends the session's connection to the thread that takes its notifications. `None`: it cannot be lent.
    fn lender(&self) -> Option<Lender>;

    /// The facts that the session's socket notes.
    fn facts(&self) -> Arc<WireFacts>;

    /// How long nothing was heard of the server.
    fn silence(&self) -> Duration;

    /// A moment before which nothing is missing: when the last request was sent that the server has answered.
    fn confirmed(&self) -> SystemTime;

    /// The timeline of the session's primary, where its cluster is watched.
    fn timeline(&self) -> Option<Timeline>;

    /// Since when something may have been notified on this session's server that a session with a primary on `before` has not
    /// heard, because this server was promoted beside that one. `None`: it was not.
    fn promoted_since(&self, before: Timeline) -> Option<SystemTime>;

    /// Whether a full consumer keeps us from reading: then no answer can be heard.
    fn is_paused(&self) -> bool;

    /// Makes the server listen to `add` too, and no longer to `remove`, in one transaction, under a deadline.
    fn change(
        &mut self,
        add: &[String],
        remove: &[String],
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Notifies fences on the private channel if the server still listens to every channel, under a deadline. If it does not,
    /// the session is no good any more.
    fn fence(&mut self, ids: &[u32], timeout: Duration) -> impl Future<Output = Result<()>> + Send;

    /// One round trip under a deadline, which asks whether the server still listens to every channel. Gives the time that it took;
    /// fails when it does not.
    fn ping(&mut self, timeout: Duration) -> impl Future<Output = Result<Duration>> + Send;

    /// One notification to the session's private channel, which has to come back within `timeout`. `false`: it could not be sent,
    /// so that it proves nothing.
    fn probe(&mut self, timeout: Duration) -> impl Future<Output = Result<bool>> + Send;

    /// Resolves when the session has ended.
    fn ended(&mut self) -> impl Future<Output = SessionEnd> + Send;

    /// The reason for which a request failed with `error`: the end of the session, if it has ended too.
    fn reason(&mut self, error: Error) -> impl Future<Output = SessionEnd> + Send;

    /// Sends Terminate and waits until the server has closed the socket, at most until `deadline`; then the socket is
    /// dropped. `false`: it had to be dropped.
    fn close(self, deadline: Instant) -> impl Future<Output = bool> + Send;
}
