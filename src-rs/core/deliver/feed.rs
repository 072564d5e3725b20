//! The stream of a server session and of the sessions that take its place, whoever listens to them.
//!
//! A feed lives as long as its supervisor; sessions come and go below it. Several sessions may be in the making at once: the feed
//! keeps what each of them delivers apart, and publishes only what belongs to the one that is verified first. The feed's lock is
//! taken before a seat's, never after.

mod place;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use parking_lot::Mutex;
pub(crate) use place::FeedPlace;
use place::{Unverified, probe_of};
use tokio::sync::{Notify, oneshot};

use super::buffer::{End, Pressure};
use super::gap::Gap;
use super::seat::{Event, Seat};
use crate::base::error::{Error, Result};
use crate::inbound::{ReceivedBatch, ReceivedNotification, Stop};

/// The notifications of a supervisor's sessions, on their way to the listener's [`Seat`].
pub struct Feed {
    inner: Mutex<Inner>,
    seat: Arc<Seat>,
    /// Wakes the drivers of sessions that wait to be verified.
    verified: Notify,
    fence_channel: String,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    fences: OpenFences,
    /// How many sessions were begun. Each has the number of its beginning.
    begun: u64,
    /// The session that publishes; `None` between its end and the verified start of the next one. A driver that outlives its
    /// session is not heard.
    current: Option<u64>,
    /// The sessions that are not verified. The gap before their notifications is not known yet.
    unverified: HashMap<u64, Unverified>,
    /// Told when the probe of the session with this number comes.
    probes: HashMap<u64, oneshot::Sender<()>>,
    /// Set when no session will follow.
    is_over: bool,
    /// The error with which the listener gave up.
    gave_up: Option<Error>,
}

/// Fences whose notification has not come back from the server yet.
#[derive(Default)]
pub(super) struct OpenFences(HashMap<u32, oneshot::Sender<Result<()>>>);

impl OpenFences {
    /// Takes the fence that a notification on the fence channel stands for. Anybody may notify any channel, so a payload that
    /// names no open fence is ignored.
    pub(super) fn take(&mut self, payload: &str) -> Option<(u32, oneshot::Sender<Result<()>>)> {
        self.0.remove_entry(&payload.parse::<u32>().ok()?)
    }
}

impl Feed {
    /// A feed for one listener.
    #[must_use]
    pub fn new(seat: Arc<Seat>) -> Self {
        Self {
            inner: Mutex::default(),
            seat,
            verified: Notify::new(),
            // Long enough that no other channel has this name by accident.
            fence_channel: format!("pglisten_fence_{:016x}", rand::random::<u64>()),
        }
    }

    /// The listener's side.
    #[must_use]
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// The private channel of `sync()` and of probes.
    #[must_use]
    pub fn fence_channel(&self) -> &str {
        &self.fence_channel
    }

    /// Hands a batch on, in order, if it comes from the session that publishes; holds it if it comes from a session that is not
    /// verified. Says whether and why reading should stop.
    pub(crate) fn publish(&self, session: u64, batch: &ReceivedBatch) -> Option<Stop> {
        let (arrived, broken) = batch.read();
        let broken = broken.map(Stop::Broken);
        if arrived.len() == 0 {
            return broken;
        }
        let mut inner = self.inner.lock();
        crate::fail_point!("publish");
        if inner.probes.contains_key(&session) {
            self.look_for_probe(session, batch.read().0, &mut inner.probes);
        }
        if let Some(unverified) = inner.unverified.get_mut(&session) {
            return broken.or(unverified.hold(batch));
        }
        if inner.current != Some(session) {
            return broken;
        }
        let fences = (self.fence_channel.as_str(), &mut inner.fences);
        let taken = self.seat.take_batch(batch.confirmed, arrived, fences);
        drop(inner);
        pass(taken.fences);
        broken.or((taken.pressure == Pressure::Pause).then_some(Stop::Pause))
    }

    /// Tells whoever waits for a session's probe, if the probe is in this batch.
    fn look_for_probe<'batch>(
        &self,
        session: u64,
        mut arrived: impl Iterator<Item = ReceivedNotification<'batch>>,
        probes: &mut HashMap<u64, oneshot::Sender<()>>,
    ) {
        let probe = probe_of(session).to_string();
        if arrived.any(|it| it.channel == self.fence_channel && it.payload == probe)
            && let Some(probed) = probes.remove(&session)
        {
            // Whoever waited may have given up.
            let _ = probed.send(());
        }
    }

    /// Resolves when no consumer asks for a pause any more, and no more than is allowed is held for the session.
    pub(crate) async fn wait_for_room(&self, session: u64) {
        loop {
            let verified = self.verified.notified();
            tokio::pin!(verified);
            // Registered before the check, so that a session that is verified meanwhile is not missed.
            verified.as_mut().enable();
            if !self.holds_too_much(session) {
                break;
            }
            verified.await;
        }
        self.seat.wait_for_room().await;
    }

    fn holds_too_much(&self, session: u64) -> bool {
        let inner = self.inner.lock();
        let unverified = inner.unverified.get(&session);
        unverified.is_some_and(Unverified::is_full)
    }

    /// Registers a fence; the receiver resolves when its notification has come back. A feed that is over drops the sender,
    /// which answers whoever waits.
    pub(crate) fn add_fence(&self, id: u32, reply: oneshot::Sender<Result<()>>) {
        let mut inner = self.inner.lock();
        if !inner.is_over {
            inner.fences.0.insert(id, reply);
        }
    }

    /// The fences whose notification has not come back, in the order of their numbers.
    pub(crate) fn open_fences(&self) -> Vec<u32> {
        let mut fences: Vec<u32> = self.inner.lock().fences.0.keys().copied().collect();
        fences.sort_unstable();
        fences
    }

    /// Answers fences that the server refused to notify.
    pub(crate) fn refuse_fences(&self, ids: &[u32], error: &Error) {
        let mut inner = self.inner.lock();
        for id in ids {
            if let Some(reply) = inner.fences.0.remove(id) {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    /// The session ended. The notifications of the next one wait until the gap before them is known.
    pub(crate) fn hold(&self) {
        self.inner.lock().current = None;
    }

    /// A session is verified: every consumer gets the gap before it, if there is one, then what was held for it. From now on it is
    /// the session that publishes.
    pub(crate) fn resume(&self, session: &FeedPlace, gap: Option<&Gap>) {
        let mut inner = self.inner.lock();
        inner.current = Some(session.number);
        if let Some(gap) = gap {
            self.seat.insert_gap(gap);
        }
        let mut passed = Vec::new();
        let unverified = inner.unverified.remove(&session.number);
        for batch in unverified.into_iter().flat_map(|it| it.held) {
            // The session's driver knows already when the stream cannot be read on. A full consumer asks for its pause again with
            // the next batch.
            let (arrived, _) = batch.read();
            let fences = (self.fence_channel.as_str(), &mut inner.fences);
            let taken = self.seat.take_batch(batch.confirmed, arrived, fences);
            passed.extend(taken.fences);
        }
        drop(inner);
        pass(passed);
        self.verified.notify_waiters();
    }

    /// Counts a new session in the place of a lost one.
    pub(crate) fn count_reconnect(&self) {
        self.seat
            .counters
            .reconnects
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the listener what happened to the session.
    pub(crate) fn announce(&self, event: Event) {
        self.seat.event(event);
    }

    /// No session will follow: every consumer's stream ends. Without `keep`, what is buffered is dropped.
    pub fn end(&self, end: &End, keep: bool) {
        let mut inner = self.inner.lock();
        inner.is_over = true;
        // Whoever waits for a fence learns of the end from the dropped sender.
        inner.fences.0.clear();
        drop(inner);
        self.seat.end(end, keep);
    }

    /// The error with which the listener gave up, if it did.
    pub(crate) fn gave_up(&self) -> Option<Error> {
        self.inner.lock().gave_up.clone()
    }

    /// The listener is at its end: consumers get what is buffered, then the error.
    pub(crate) fn give_up(&self, error: Error) {
        self.inner.lock().gave_up = Some(error.clone());
        self.end(&End::Failed(error.clone()), true);
        self.announce(Event::Closed { error });
    }
}

/// Answers whoever waits for these fences.
fn pass(fences: Vec<oneshot::Sender<Result<()>>>) {
    for reply in fences {
        // Nobody waits for the fence of a `sync()` that was aborted.
        let _ = reply.send(Ok(()));
    }
}
