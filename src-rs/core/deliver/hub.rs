//! Hands what a session reads to the subscribers, and tells JavaScript what happens to the session.
//!
//! One hub lives as long as one `startup()` … `shutdown()` of a listener; sessions come and go below it.

mod events;
mod routes;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use events::Event;
use events::Events;
use hashbrown::HashMap;
use parking_lot::Mutex;
use routes::{Route, Routes};
use tokio::sync::{Notify, oneshot};

use crate::base::Moment;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::deliver::gap::Gap;
use crate::deliver::subscriber::{End, Notification, Pressure, Staged, State, Subscriber};
use crate::inbound::{ReceivedBatch, ReceivedNotification, Stop};
use crate::observe::Counters;

/// How long after its removal a channel's notifications may still come.
const STRAGGLER_TIME: Duration = Duration::from_secs(10);

/// See the module.
pub struct Hub {
    inner: Mutex<Inner>,
    events: Events,
    /// Wakes a paused session when a consumer has made room.
    room: Notify,
    /// Wakes the supervisor when a consumer overflowed under the policy `error`.
    overflowed: Notify,
    has_overflowed: AtomicBool,
    own_pids: Option<Arc<OwnPids>>,
    fence_channel: String,
    /// For `stats()`.
    pub counters: Counters,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    subscribers: Vec<Arc<Subscriber>>,
    /// For each subscriber, what a batch has for it; empty between batches.
    staged: Vec<Staged>,
    routes: Routes,
    /// Fences whose notification has not come back yet.
    fences: HashMap<u32, oneshot::Sender<Result<()>>>,
    /// The number of the session that may publish: a driver that outlives its session is not heard.
    epoch: u64,
    /// Between the end of a session and the verified start of the next.
    holding: bool,
    end: Option<End>,
    /// Whether somebody was told that a channel nobody subscribed to is being listened to.
    warned_unrouted: bool,
    /// Channels that were removed a moment ago: what is still under way for them is no surprise.
    removed: HashMap<Box<str>, Instant>,
}

/// What [`Hub::stage`] found in a batch, besides what it sorted.
#[derive(Default)]
struct Found {
    count: u64,
    fences: Vec<oneshot::Sender<Result<()>>>,
    unrouted: Option<String>,
}

impl Hub {
    /// `own_pids`: drop what these backends sent. `event_signal` is called, from any thread, when
    /// [`Hub::take_events`] has something to give.
    #[must_use]
    pub fn new(own_pids: Option<Arc<OwnPids>>, event_signal: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            inner: Mutex::default(),
            events: Events::new(event_signal),
            room: Notify::new(),
            overflowed: Notify::new(),
            has_overflowed: AtomicBool::new(false),
            own_pids,
            // Long enough that nobody else's channel has this name by accident.
            fence_channel: format!("pglisten_fence_{:016x}", rand::random::<u64>()),
            counters: Counters::default(),
        }
    }

    /// The private channel of `sync()`.
    #[must_use]
    pub fn fence_channel(&self) -> &str {
        &self.fence_channel
    }

    /// Adds a consumer: it sees what is read from now on.
    pub fn add_subscriber(&self, subscriber: Arc<Subscriber>) {
        let mut inner = self.inner.lock();
        if let Some(end) = inner.end.clone() {
            let mut state = subscriber.lock();
            state.end(end, true);
            subscriber.unlock(state);
            return;
        }
        inner.subscribers.push(subscriber);
        inner.rebuild();
    }

    /// Removes a consumer. What it has not taken is gone.
    pub fn remove_subscriber(&self, subscriber: &Arc<Subscriber>) {
        let mut inner = self.inner.lock();
        let is_it = |other| Arc::ptr_eq(other, subscriber);
        let Some(place) = inner.subscribers.iter().position(is_it) else {
            return;
        };
        inner.subscribers.remove(place);
        inner.rebuild();
        drop(inner);
        subscriber.close();
        self.room.notify_waiters();
    }

    /// Changes the channels that a consumer wants, by name; `None` wants all.
    pub fn set_wanted(&self, subscriber: &Arc<Subscriber>, wanted: Option<Vec<String>>) {
        let mut inner = self.inner.lock();
        subscriber.lock().wanted =
            wanted.map(|names| names.into_iter().map(String::into_boxed_str).collect());
        inner.rebuild();
    }

    /// Adds or removes one channel of those that a consumer wants. No effect on one that wants all.
    pub fn set_wants(&self, subscriber: &Arc<Subscriber>, channel: &str, wants: bool) {
        let inner = &mut *self.inner.lock();
        if let Some(wanted) = &mut subscriber.lock().wanted {
            if wants {
                wanted.insert(channel.into());
            } else {
                wanted.remove(channel);
            }
        }
        inner.routes.rebuild_one(channel, &inner.subscribers);
    }

    /// Routes a channel's notifications to those who want it, under the number that the facade gave it.
    pub fn add_channel(&self, name: &str, id: u32) {
        let inner = &mut *self.inner.lock();
        inner.routes.insert(name, id, &inner.subscribers);
    }

    /// Stops routing a channel.
    pub fn remove_channel(&self, name: &str) {
        let mut inner = self.inner.lock();
        inner.routes.remove(name);
        let now = Instant::now();
        inner
            .removed
            .retain(|_, since| now.duration_since(*since) < STRAGGLER_TIME);
        inner.removed.insert(name.into(), now);
    }

    /// Stops routing a channel, if it is still routed under this number.
    pub(crate) fn remove_route(&self, name: &str, id: u32) {
        let mut inner = self.inner.lock();
        if inner.routes.get(name).is_some_and(|route| route.id == id) {
            inner.routes.remove(name);
        }
    }

    /// Hands a batch to the subscribers, in order. Says whether and why reading should stop.
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
        let found = self.stage(&mut inner, batch.confirmed, arrived);
        let pressure = inner.deliver();
        drop(inner);
        self.counters
            .received
            .fetch_add(found.count, Ordering::Relaxed);
        for reply in found.fences {
            let _ = reply.send(Ok(()));
        }
        if pressure == Pressure::Error {
            self.has_overflowed.store(true, Ordering::Relaxed);
            self.overflowed.notify_one();
        }
        if let Some(channel) = found.unrouted {
            self.event(Event::Warning(format!(
                "a notification came on channel `{channel}`, to which this listener is not subscribed, and was \
                 dropped: subscribe with addChannel() or addCallback(), not with LISTEN"
            )));
        }
        broken.or((pressure == Pressure::Pause).then_some(Stop::Pause))
    }

    /// Sorts a batch by subscriber, without holding any subscriber's lock: the JavaScript thread wants it too.
    fn stage<'batch>(
        &self,
        inner: &mut Inner,
        confirmed: Moment,
        arrived: impl Iterator<Item = ReceivedNotification<'batch>>,
    ) -> Found {
        let received = Moment::now();
        let mut found = Found::default();
        // Most of a batch is of one channel.
        let mut last: Option<(&str, &Route)> = None;
        for ReceivedNotification {
            process_id,
            channel,
            payload,
        } in arrived
        {
            let known = last.filter(|(name, _)| *name == channel);
            let known = known.or_else(|| Some((channel, inner.routes.get(channel)?)));
            let Some((_, route)) = known else {
                if channel == self.fence_channel {
                    // Anybody may notify any channel: what is no fence of ours is nobody's.
                    let id = payload.parse::<u32>().ok();
                    if let Some((id, reply)) = id.and_then(|id| inner.fences.remove_entry(&id)) {
                        for staged in &mut inner.staged {
                            staged.push_fence(id);
                        }
                        found.fences.push(reply);
                    }
                } else if !inner.warned_unrouted && !was_just_removed(&inner.removed, channel) {
                    inner.warned_unrouted = true;
                    found.unrouted = Some(channel.to_owned());
                }
                continue;
            };
            last = known;
            if self
                .own_pids
                .as_ref()
                .is_some_and(|own| own.contains(process_id))
            {
                continue;
            }
            found.count += 1;
            let notification = Notification {
                channel: route.id,
                process_id,
                length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                is_ascii: payload.is_ascii(),
                received,
                confirmed,
            };
            for &member in route.members.iter() {
                inner.staged[member].push(notification, payload.as_bytes());
            }
        }
        found
    }

    /// Resolves when no consumer asks for a pause any more.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the check, so that room made meanwhile is not missed.
            room.as_mut().enable();
            let full = self
                .inner
                .lock()
                .subscribers
                .iter()
                .any(|subscriber| subscriber.pressure() == Pressure::Pause);
            if !full {
                return;
            }
            room.await;
        }
    }

    /// To be called after draining, so that a paused session looks again.
    pub fn made_room(&self) {
        self.room.notify_waiters();
    }

    /// Resolves when a consumer overflowed under the policy `error`.
    pub(crate) async fn overflowed(&self) {
        self.overflowed.notified().await;
    }

    /// Whether that has happened.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.has_overflowed.load(Ordering::Relaxed)
    }

    /// Registers a fence; the receiver resolves when its notification has come back.
    pub(crate) fn add_fence(&self, id: u32, reply: oneshot::Sender<Result<()>>) {
        let mut inner = self.inner.lock();
        // At the end nobody would answer; a dropped sender does.
        if inner.end.is_none() {
            inner.fences.insert(id, reply);
        }
    }

    /// The fences whose notification has not come back.
    pub(crate) fn open_fences(&self) -> Vec<u32> {
        let mut fences: Vec<u32> = self.inner.lock().fences.keys().copied().collect();
        fences.sort_unstable();
        fences
    }

    /// The server refused these fences.
    pub(crate) fn refuse_fences(&self, ids: &[u32], error: &Error) {
        let mut inner = self.inner.lock();
        for id in ids {
            if let Some(reply) = inner.fences.remove(id) {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    /// A session is about to be made: from now on only it may publish, under the number this gives.
    pub(crate) fn begin_session(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.epoch
    }

    /// The session ended: what the next one delivers waits until the gap before it is known.
    pub(crate) fn hold(&self) {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.holding = true;
    }

    /// The next session failed before it was verified.
    pub(crate) fn discard_held(&self) {
        self.inner.lock().epoch += 1;
        self.each(State::discard_held);
    }

    /// A session is verified: every consumer gets the gap before it, if there is one, then what was held.
    pub(crate) fn resume(&self, gap: Option<&Gap>) {
        let mut inner = self.inner.lock();
        inner.holding = false;
        for subscriber in &inner.subscribers {
            let mut state = subscriber.lock();
            state.resume(gap.cloned());
            subscriber.unlock(state);
        }
    }

    /// Ends every consumer's stream. Without `keep`, what is buffered is gone.
    pub fn end(&self, end: &End, keep: bool) {
        let mut inner = self.inner.lock();
        inner.end.get_or_insert_with(|| end.clone());
        // Whoever waits for a fence learns it from the dropped sender.
        inner.fences.clear();
        drop(inner);
        self.each(|state| state.end(end.clone(), keep));
        self.room.notify_waiters();
    }

    fn each(&self, mut change: impl FnMut(&mut State)) {
        for subscriber in &self.inner.lock().subscribers {
            let mut state = subscriber.lock();
            change(&mut state);
            subscriber.unlock(state);
        }
    }

    /// Queues an event for JavaScript.
    pub(crate) fn event(&self, event: Event) {
        self.events.push(event);
    }

    /// Takes the events that are waiting.
    #[must_use]
    pub fn take_events(&self) -> VecDeque<Event> {
        self.events.take()
    }
}

impl Inner {
    /// The subscribers are others than before, or want other channels.
    fn rebuild(&mut self) {
        self.staged
            .resize_with(self.subscribers.len(), Staged::default);
        self.routes.rebuild(&self.subscribers);
    }

    /// Moves what was staged into the subscribers' buffers, and signals.
    fn deliver(&mut self) -> Pressure {
        let mut pressure = Pressure::None;
        for (subscriber, staged) in self.subscribers.iter().zip(&mut self.staged) {
            if staged.is_empty() {
                continue;
            }
            let mut state = subscriber.lock();
            pressure = pressure.max(subscriber.push_all(&mut state, staged, self.holding));
            subscriber.unlock(state);
        }
        pressure
    }
}

fn was_just_removed(removed: &HashMap<Box<str>, Instant>, channel: &str) -> bool {
    removed
        .get(channel)
        .is_some_and(|since| since.elapsed() < STRAGGLER_TIME)
}

/// The error of whoever waited for a listener that is gone.
pub(crate) fn listener_closed() -> Error {
    Error::new(ErrorKind::ListenerClosed, "the listener was shut down")
}
