//! The stream of a server session and of the sessions that take its place, whoever listens to them.
//!
//! A feed lives as long as its supervisor; sessions come and go below it. Its lock is taken before a seat's, never after.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::buffer::{End, Pressure};
use super::gap::Gap;
use super::seat::{Event, Seat};
use crate::base::error::{Error, Result};
use crate::inbound::{ReceivedBatch, Stop};

/// The notifications of a supervisor's sessions, on their way to the listener's [`Seat`].
pub struct Feed {
    inner: Mutex<Inner>,
    seat: Arc<Seat>,
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
    /// The number of the session that may publish. A driver that outlives its session has an older number.
    epoch: u64,
    /// Set between the end of a session and the verified start of the next one: notifications wait behind the coming gap.
    holding: bool,
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
            // Long enough that no other channel has this name by accident.
            fence_channel: format!("pglisten_fence_{:016x}", rand::random::<u64>()),
        }
    }

    /// The listener's side.
    #[must_use]
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// The private channel of `sync()`.
    #[must_use]
    pub fn fence_channel(&self) -> &str {
        &self.fence_channel
    }

    /// Hands a batch on, in order, if it comes from the session that may publish. Says whether and why reading should stop.
    pub(crate) fn publish(&self, epoch: u64, batch: &ReceivedBatch) -> Option<Stop> {
        let (arrived, broken) = batch.read();
        let broken = broken.map(Stop::Broken);
        if arrived.len() == 0 {
            return broken;
        }
        let mut inner = self.inner.lock();
        if epoch != inner.epoch {
            return broken;
        }
        let holding = inner.holding;
        let taken = self.seat.take_batch(
            batch.confirmed,
            arrived,
            (&self.fence_channel, &mut inner.fences),
            holding,
        );
        drop(inner);
        for reply in taken.fences {
            // Nobody waits for the fence of a `sync()` that was aborted.
            let _ = reply.send(Ok(()));
        }
        broken.or((taken.pressure == Pressure::Pause).then_some(Stop::Pause))
    }

    /// Resolves when no consumer asks for a pause any more.
    pub(crate) async fn wait_for_room(&self) {
        self.seat.wait_for_room().await;
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

    /// Gives the number of a session that is about to be made: from now on only that session may publish.
    pub(crate) fn begin_session(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.epoch
    }

    /// The session ended. The notifications of the next one wait until the gap before them is known.
    pub(crate) fn hold(&self) {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.holding = true;
    }

    /// The next session failed before it was verified: the gap that follows covers what it delivered.
    pub(crate) fn discard_held(&self) {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        self.seat.discard_held();
    }

    /// A session is verified: every consumer gets the gap before it, if there is one, then what was held.
    pub(crate) fn resume(&self, gap: Option<&Gap>) {
        let mut inner = self.inner.lock();
        inner.holding = false;
        self.seat.resume(gap);
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
