//! The stream of a server session and of the sessions that take its place, and the listeners that hear it.
//!
//! A feed lives as long as its supervisor; sessions come and go below it, seats above it. Several sessions may be in the making at
//! once: the feed keeps what each of them delivers apart, and publishes only what belongs to the one that is verified first. The
//! feed's lock is taken before a seat's, never after.

mod arrival;
mod audiences;
mod due;
mod fences;
mod place;
mod routing;
mod seats;
mod served;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use arrival::Arrival;
use due::Due;
use fences::{OpenFence, OpenFences};
pub(crate) use fences::{Reply, next_fence};
use hashbrown::HashMap;
use parking_lot::Mutex;
pub(crate) use place::FeedPlace;
use place::Unverified;
pub(crate) use seats::{SeatId, SeatIds};
use seats::{Seats, Stage};
pub use served::Served;
use served::Signs;
use tokio::sync::{Notify, oneshot};

use super::gap::Gap;
use super::seat::{Event, Seat};
use crate::base::error::Error;
use crate::inbound::{ReceivedBatch, ReceivedNotification, Stop};

/// The notifications of a supervisor's sessions, on their way to the [`Seat`]s of listeners.
pub struct Feed {
    inner: Mutex<Inner>,
    /// Wakes whoever waits for a verified session, or for room.
    changed: Notify,
    /// Wakes the supervisor when a consumer overflowed under the policy `error`.
    overflowed: Notify,
    fence_channel: String,
    /// Whether what is sent on the session is the listener's own doing.
    is_private: bool,
    /// The round trip of the last answered heartbeat, in microseconds; 0 before the first.
    round_trip_us: AtomicU64,
    /// The backend of the session; 0 while there is none.
    backend: AtomicI32,
    /// The signs of life of the session, or of the last one while there is none.
    signs: Mutex<Option<Signs>>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    seats: Seats,
    fences: OpenFences,
    /// How many sessions were begun. Each has the number of its beginning.
    begun: u64,
    /// The session that publishes; `None` between its end and the verified start of the next one. A driver that outlives its
    /// session is not heard.
    current: Option<u64>,
    /// The sessions that are not verified. The gap before their notifications is not known yet.
    unverified: HashMap<u64, Unverified>,
    /// The probe of the session with this number, and who is told when it comes.
    probes: HashMap<u64, (u32, oneshot::Sender<()>)>,
    /// The seat that is on its way here. Only a private feed has one.
    arrival: Option<(SeatId, Arrival)>,
    /// The seats of which a consumer overflowed under the policy `error`.
    overflowed: Vec<SeatId>,
    /// Set when no session will follow, and no seat may come.
    is_over: bool,
    /// The error with which the supervisor gave up.
    gave_up: Option<Error>,
}

/// How a seat left a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It had left before.
    Before,
    /// Others are still there.
    Others,
    /// It was the last: the feed is over.
    Last,
}

impl Inner {
    /// Takes a seat away. Its fences are to be dropped once the lock is released.
    fn leave(&mut self, id: SeatId, channels: &[String]) -> (Left, Vec<(u32, OpenFence)>) {
        if !self.seats.leave(id) {
            return (Left::Before, Vec::new());
        }
        for channel in channels {
            self.seats.remove_channel(id, channel);
        }
        // Its number will be another's.
        self.overflowed.retain(|overflowed| *overflowed != id);
        let given_up = self.fences.take_of(id);
        if self.seats.count() > 0 {
            return (Left::Others, given_up);
        }
        self.is_over = true;
        (Left::Last, given_up)
    }
}

impl Feed {
    /// A feed for listeners that share its session.
    pub(crate) fn shared() -> Self {
        // Long enough that no other channel has this name by accident.
        let channel = format!("pglisten_fence_{:016x}", rand::random::<u64>());
        Self::new(channel, false)
    }

    /// A feed for one listener.
    pub(crate) fn private() -> Self {
        Self {
            is_private: true,
            ..Self::shared()
        }
    }

    /// A feed for a listener that comes from another feed: both hear the same fences.
    pub(crate) fn private_beside(other: &Self) -> Self {
        Self::new(other.fence_channel.clone(), true)
    }

    fn new(fence_channel: String, is_private: bool) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            overflowed: Notify::new(),
            fence_channel,
            is_private,
            round_trip_us: AtomicU64::new(0),
            backend: AtomicI32::new(0),
            signs: Mutex::default(),
        }
    }

    /// The private channel of `sync()`, of probes and of seats that move.
    #[must_use]
    pub fn fence_channel(&self) -> &str {
        &self.fence_channel
    }

    /// Gives a listener a seat, at which it hears nothing before [`Feed::joined`]. `None`: the feed is over.
    pub(crate) fn sit(&self, seat: &Arc<Seat>, retries: bool) -> Option<SeatId> {
        self.seat(seat, Stage::Joining { retries })
    }

    /// Gives a seat to a listener that still hears another feed.
    pub(crate) fn expect(&self, seat: &Arc<Seat>) -> Option<SeatId> {
        self.seat(seat, Stage::Arriving)
    }

    fn seat(&self, seat: &Arc<Seat>, stage: Stage) -> Option<SeatId> {
        let mut inner = self.inner.lock();
        (!inner.is_over).then(|| inner.seats.add(Arc::clone(seat), stage))
    }

    /// Takes the seat of a listener with these channels away: nothing more reaches it from here, and its fences are given up.
    pub(crate) fn leave(&self, id: SeatId, channels: &[String]) -> Left {
        let mut inner = self.inner.lock();
        let (left, given_up) = inner.leave(id, channels);
        drop(inner);
        drop(given_up);
        left
    }

    /// Whether a listener has this seat, and has not left it.
    pub(crate) fn is_taken(&self, id: SeatId) -> bool {
        self.inner.lock().seats.is_taken(id)
    }

    /// The supervisor has heard that this seat was left: its number may be used again.
    pub(crate) fn free(&self, id: SeatId) {
        self.inner.lock().seats.free(id);
    }

    /// How many seats there are.
    pub(crate) fn seats(&self) -> usize {
        self.inner.lock().seats.count()
    }

    /// The longest that a notification may wait for others, as all listeners allow it. `None`: some of them are in another
    /// environment than this one.
    pub(crate) fn delay_in(&self, environment: u64) -> Option<Duration> {
        self.inner.lock().seats.delay_in(environment)
    }

    /// Routes a channel to a seat, unless it was left.
    pub(crate) fn add_channel(&self, id: SeatId, channel: &str) {
        self.inner.lock().seats.add_channel(id, channel);
    }

    /// Routes channels to a seat, unless it was left.
    pub(crate) fn add_channels(&self, id: SeatId, channels: &[String]) {
        let mut inner = self.inner.lock();
        for channel in channels {
            inner.seats.add_channel(id, channel);
        }
    }

    /// Routes a channel to a seat no more.
    pub(crate) fn remove_channel(&self, id: SeatId, channel: &str) {
        self.inner.lock().seats.remove_channel(id, channel);
    }

    /// The server refused a channel to which a listener gave this number: it is routed no more.
    pub(crate) fn refuse_channel(&self, id: SeatId, channel: &str, number: u32) {
        let mut inner = self.inner.lock();
        let seat = inner.seats.get(id).map(|sitting| Arc::clone(&sitting.seat));
        if seat.is_some_and(|seat| seat.remove_route(channel, number)) {
            inner.seats.remove_channel(id, channel);
        }
    }

    /// A seat's first LISTENs are committed: it hears its channels from now on. A seat that comes from another feed waits for the
    /// fence between the two.
    pub(crate) fn joined(&self, id: SeatId, process_id: i32) {
        let mut inner = self.inner.lock();
        if let Some(sitting) = inner.seats.get_mut(id)
            && matches!(sitting.stage, Stage::Joining { .. })
        {
            sitting.stage = Stage::In;
            sitting.seat.event(Event::Connected { process_id });
        }
    }

    /// Hands a batch on, in order, if it comes from the session that publishes; holds it if it comes from a session that is not
    /// verified. Says whether and why reading should stop.
    pub(crate) fn publish(&self, session: u64, batch: &ReceivedBatch) -> Option<Stop> {
        let (arrived, broken) = batch.read();
        let broken = broken.map(Stop::Broken);
        if arrived.len() == 0 {
            return broken;
        }
        let mut due = Due::default();
        let mut inner = self.inner.lock();
        fail_point!("publish");
        if inner.probes.contains_key(&session) {
            self.look_for_probe(session, batch.read().0, &mut inner.probes);
        }
        if let Some(unverified) = inner.unverified.get_mut(&session) {
            unverified.hold(batch);
            return broken;
        }
        if inner.current != Some(session) {
            return broken;
        }
        let stop = self.take(&mut inner, batch, &mut due);
        drop(inner);
        drop(due);
        broken.or(stop)
    }

    /// Tells whoever waits for a session's probe, if the probe is in this batch.
    fn look_for_probe<'batch>(
        &self,
        session: u64,
        mut arrived: impl Iterator<Item = ReceivedNotification<'batch>>,
        probes: &mut HashMap<u64, (u32, oneshot::Sender<()>)>,
    ) {
        let Some((probe, _)) = probes.get(&session) else {
            return;
        };
        let probe = probe.to_string();
        if arrived.any(|it| it.channel == self.fence_channel && it.payload == probe)
            && let Some((_, probed)) = probes.remove(&session)
        {
            // Whoever waited may have given up.
            let _ = probed.send(());
        }
    }

    /// The session ended, of which the listeners are told. The notifications of the next one wait until the gap before them is known.
    pub(crate) fn lose(&self, told: &Event) {
        let mut inner = self.inner.lock();
        inner.current = None;
        // A seat that has not come over stays where it was; one that has come shares the loss.
        if let Some((id, mut arrival)) = inner.arrival.take() {
            if arrival.is_released
                && let Some(sitting) = inner.seats.get_mut(id)
            {
                sitting.stage = Stage::In;
            }
            arrival.tell(Ok(false));
        }
        for sitting in inner.seats.all_mut() {
            if let Some(departure) = sitting.departure.take() {
                departure.to.give_arrival_up(departure.fence);
            }
        }
        // Under the same lock: no listener that has heard of the loss goes to another session before it.
        inner.seats.announce(told);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A session is verified: every consumer gets the gap before it, if there is one, then what was held for it. From now on it is
    /// the session that publishes.
    pub(crate) fn resume(&self, session: &FeedPlace, gap: Option<&Gap>) {
        let mut due = Due::default();
        let mut inner = self.inner.lock();
        inner.current = Some(session.number);
        if let Some(gap) = gap {
            inner.seats.insert_gap(gap);
        }
        let unverified = inner.unverified.remove(&session.number);
        for batch in unverified.into_iter().flat_map(|it| it.held) {
            // The session's driver knows already when the stream cannot be read on. A full consumer asks for its pause again with
            // the next batch.
            let _ = self.take(&mut inner, &batch, &mut due);
        }
        drop(inner);
        drop(due);
        self.changed.notify_waiters();
    }

    /// Counts a new session in the place of a lost one.
    pub(crate) fn count_reconnect(&self) {
        for seat in self.inner.lock().seats.hearing() {
            seat.counters.reconnects.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the listeners what happened to the session.
    pub(crate) fn announce(&self, event: &Event) {
        self.inner.lock().seats.announce(event);
    }

    /// Resolves when a consumer overflowed under the policy `error`.
    pub(crate) async fn overflowed(&self) {
        self.overflowed.notified().await;
    }

    /// Ends the listeners of which a consumer overflowed under the policy `error`, and takes their seats.
    pub(crate) fn expel_overflowed(&self, error: &Error) -> Vec<(SeatId, Vec<String>)> {
        let mut ended = Vec::new();
        let mut expelled = Vec::new();
        let mut inner = self.inner.lock();
        for id in std::mem::take(&mut inner.overflowed) {
            let Some(sitting) = inner.seats.get(id) else {
                continue;
            };
            let seat = Arc::clone(&sitting.seat);
            // Under the lock: a channel that comes later finds the seat taken away.
            let channels = seat.channels();
            let (left, given_up) = inner.leave(id, &channels);
            if left != Left::Before {
                expelled.push((id, channels));
                ended.push((seat, given_up));
            }
        }
        drop(inner);
        for (seat, given_up) in ended {
            seat.give_up(error.clone());
            drop(given_up);
        }
        expelled
    }

    /// Whether no seat may come any more.
    pub(crate) fn is_over(&self) -> bool {
        self.inner.lock().is_over
    }

    /// No session will follow.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.is_over = true;
        // Whoever waits for a fence learns of the end from the dropped reply.
        inner.fences.clear();
        inner.arrival = None;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The listeners are at their end: consumers get what is buffered, then the error.
    pub(crate) fn give_up(&self, error: &Error) {
        self.close();
        let mut inner = self.inner.lock();
        inner.gave_up = Some(error.clone());
        let mut ended = Vec::new();
        for sitting in inner.seats.all_mut() {
            if matches!(sitting.stage, Stage::In | Stage::Crossed) {
                ended.push(Arc::clone(&sitting.seat));
            }
            if let Some(departure) = sitting.departure.take() {
                departure.to.give_arrival_up(departure.fence);
            }
        }
        drop(inner);
        for seat in ended {
            seat.give_up(error.clone());
        }
    }

    /// The error with which the supervisor gave up, if it did.
    pub(crate) fn gave_up(&self) -> Option<Error> {
        self.inner.lock().gave_up.clone()
    }

    /// Whether it is for one listener.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    /// Waits until a session publishes. `false`: the feed is over.
    pub(crate) async fn is_up(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.is_over || inner.current.is_some() {
                    return !inner.is_over;
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
impl Feed {
    /// A feed with a seat that hears its channels.
    pub(crate) fn of(seat: &Arc<Seat>) -> Arc<Self> {
        let feed = Arc::new(Self::private());
        let id = feed.sit(seat, false).expect("a new feed is not over");
        feed.add_channels(id, &seat.channels());
        feed.joined(id, 0);
        drop(seat.take_events());
        feed
    }

    /// The session ended.
    pub(crate) fn hold(&self) {
        self.lose(&Event::Disconnected {
            error: Error::new(crate::base::error::ErrorKind::Connect, "lost"),
            process_id: 0,
        });
    }

    /// The first seat.
    pub(crate) fn first_seat(&self) -> Arc<Seat> {
        let inner = self.inner.lock();
        let sitting = inner.seats.all().next().expect("a seat");
        Arc::clone(&sitting.seat)
    }
}
