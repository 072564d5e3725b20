//! A listener's side of its feed: its channels, its consumers, its counters, and the events on their way to JavaScript.
//!
//! A seat lives as long as one `startup()` … `shutdown()` of a listener. Its lock is taken after a feed's, never before, and a
//! consumer's signal is called while it is held: a signal must not call back into the seat.

mod audience;
mod by_name;
mod events;
mod filters;
mod routes;
mod staging;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use by_name::ByName;
pub use events::Event;
use events::Events;
use filters::{Filters, Judged};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use routes::Routes;
pub(super) use staging::{Arrived, Unrouted};
use tokio::sync::Notify;

use super::budget::Paused;
use super::buffer::{Coalesce, End, Pressure, Staged, Subscriber};
use super::filter::Filter;
use super::gap::Gap;
use crate::base::Moment;
use crate::base::error::Error;
use crate::base::own_pids::OwnPids;
use crate::observe::{Counters, PlainName};

/// How long after its removal a channel's notifications may still come.
const STRAGGLER_TIME: Duration = Duration::from_secs(10);

/// A listener, as its feed sees it: takes batches and hands them to the listener's consumers.
pub struct Seat {
    inner: Mutex<Inner>,
    events: Events,
    /// Wakes a paused session when a consumer has made room, or is at its end.
    room: Notify,
    /// The error with which the listener gave up.
    gave_up: Mutex<Option<Box<Error>>>,
    /// The backends whose notifications the listener does not want.
    own_pids: Option<Arc<OwnPids>>,
    /// The number of the environment whose thread takes the notifications.
    environment: u64,
    /// How long a notification may wait for others that come with it.
    max_delay: Duration,
    /// The listener's name, which the session tells the server.
    name: Option<PlainName>,
    /// The listener's counters, for `stats()`. Those of [`Seat::settle_counts`] may be behind.
    pub counters: Counters,
    /// Whether its consumer may find others that get the same.
    may_join: AtomicBool,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

/// A consumer at its place in the seat's list.
struct Consumer {
    subscriber: Arc<Subscriber>,
    /// The channels that it wants, by name; `None` wants every subscribed channel.
    wanted: Option<ByName<()>>,
}

/// What reaches a consumer of the notifications on the channels that it wants.
#[derive(Debug, Default)]
pub struct Selection {
    /// Which equal notifications are merged while they wait.
    pub coalesce: Option<Coalesce>,
    /// Which notifications reach it at all.
    pub filter: Option<Filter>,
}

#[derive(Default)]
struct Inner {
    /// A consumer keeps its place until it is removed, so routes name it by its place. Free places are used again.
    consumers: Vec<Option<Consumer>>,
    /// For each place, the part of the present batch that its consumer gets; empty between batches.
    staged: Vec<Staged>,
    routes: Routes,
    /// `None` while no consumer has a filter.
    filters: Option<Box<Filters>>,
    end: Option<End>,
    /// Whether the user was told that a channel is listened to that nobody subscribed to.
    warned_unrouted: bool,
    /// Channels that were removed a moment ago: notifications that are still under way for them are no surprise.
    /// Made for the first.
    removed: Option<Box<HashMap<Box<str>, Instant>>>,
}

impl Seat {
    /// A seat without channels and consumers. Notifications that `own_pids` sent are dropped. `event_signal` is called, from
    /// any thread, when [`Seat::take_events`] has something to give.
    #[must_use]
    pub fn new(own_pids: Option<Arc<OwnPids>>, event_signal: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            inner: Mutex::default(),
            events: Events::new(event_signal),
            room: Notify::new(),
            gave_up: Mutex::default(),
            own_pids,
            environment: 0,
            max_delay: Duration::ZERO,
            name: None,
            counters: Counters::default(),
            may_join: AtomicBool::new(false),
        }
    }

    /// The seat of a listener in an environment of this number, where a notification may wait so long for others that come with it.
    #[must_use]
    pub fn in_environment(self, environment: u64, max_delay: Duration) -> Self {
        Self {
            environment,
            max_delay,
            ..self
        }
    }

    /// The seat of a listener that has this name.
    #[must_use]
    pub fn named(self, name: Option<&str>) -> Self {
        Self {
            name: name.map(PlainName::of),
            ..self
        }
    }

    pub(crate) fn name(&self) -> Option<&PlainName> {
        self.name.as_ref()
    }

    pub(crate) fn environment(&self) -> u64 {
        self.environment
    }

    pub(crate) fn max_delay(&self) -> Duration {
        self.max_delay
    }

    /// Adds a consumer: it sees the notifications that are read from now on, of the channels that it wants by name, or of
    /// every subscribed channel (`None`).
    pub fn add_subscriber(&self, subscriber: Arc<Subscriber>, wanted: Option<Vec<String>>) {
        self.add_selective(subscriber, wanted, Selection::default());
    }

    /// Adds a consumer, as [`Seat::add_subscriber`] does, that gets a selection.
    pub fn add_selective(
        &self,
        subscriber: Arc<Subscriber>,
        wanted: Option<Vec<String>>,
        selection: Selection,
    ) {
        let mut inner = self.inner.lock();
        if let Some(end) = inner.end.clone() {
            subscriber.end(end, true);
            return;
        }
        inner.leave_audience();
        let place = inner.add(Arc::clone(&subscriber));
        inner.want(place, wanted);
        if selection.coalesce.is_some() || selection.filter.is_some() {
            inner.select(place, &subscriber, selection);
        }
    }

    /// Changes the selection that a consumer gets, also of what it has not taken yet.
    pub fn set_selection(&self, subscriber: &Arc<Subscriber>, selection: Selection) {
        let mut inner = self.inner.lock();
        let Some(place) = inner.place_of(subscriber) else {
            return;
        };
        let filtered = inner.select(place, subscriber, selection);
        drop(inner);
        self.counters
            .filtered
            .fetch_add(filtered, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// Removes a consumer. Entries that it has not taken are dropped.
    pub fn remove_subscriber(&self, subscriber: &Arc<Subscriber>) {
        let mut inner = self.inner.lock();
        let Some(place) = inner.place_of(subscriber) else {
            return;
        };
        inner.unwant(place);
        inner.set_filter(place, None);
        inner.consumers[place] = None;
        inner.staged[place] = Staged::default();
        drop(inner);
        subscriber.close();
        self.look_for_others();
        self.room.notify_waiters();
    }

    /// Changes the channels that a consumer wants, by name; `None` wants every subscribed channel.
    pub fn set_wanted(&self, subscriber: &Arc<Subscriber>, wanted: Option<Vec<String>>) {
        let mut inner = self.inner.lock();
        inner.leave_audience();
        if let Some(place) = inner.place_of(subscriber) {
            inner.unwant(place);
            inner.want(place, wanted);
        }
    }

    /// Adds or removes one channel of those that a consumer wants by name. No effect on a consumer that wants every channel.
    pub fn set_wants(&self, subscriber: &Arc<Subscriber>, channel: &str, wants: bool) {
        let inner = &mut *self.inner.lock();
        inner.leave_audience();
        let Some(place) = inner.place_of(subscriber) else {
            return;
        };
        let consumer = inner.consumers[place].as_mut();
        let Some(wanted) = consumer.and_then(|consumer| consumer.wanted.as_mut()) else {
            return;
        };
        if wants {
            wanted.get_or_insert_with(channel, || ());
            inner.routes.want(channel, place);
        } else {
            wanted.remove(channel);
            inner.routes.unwant(channel, place);
        }
    }

    /// Routes a channel's notifications to the consumers that want it, under the number that the facade gave it.
    pub fn add_channel(&self, name: &str, id: u32) {
        let mut inner = self.inner.lock();
        inner.leave_audience();
        let before = inner.routes.subscribe(name, id);
        inner.forget(before);
    }

    /// Gives a channel that is routed another number; consumers may still have something of it under the one before. Now and then
    /// gives those of all such numbers under which a buffer has something, and forgets the others.
    pub fn renumber_channel(&self, name: &str, id: u32) -> Option<Vec<u32>> {
        let mut inner = self.inner.lock();
        inner.leave_audience();
        let before = inner.routes.renumber(name, id);
        inner.forget(before);
        if !inner.routes.has_many_former() {
            return None;
        }
        let mut used = HashSet::new();
        for subscriber in inner.subscribers() {
            subscriber.note_channels(&mut used);
        }
        Some(inner.routes.keep_former(&used))
    }

    /// Stops routing a channel.
    pub fn remove_channel(&self, name: &str) {
        let mut inner = self.inner.lock();
        inner.leave_audience();
        let before = inner.routes.unsubscribe(name);
        inner.forget(before);
        let now = Instant::now();
        let removed = inner.removed.get_or_insert_default();
        // Each time their number has doubled: to look at all of them for each would take the longer, the more there are.
        if removed.len().is_power_of_two() {
            removed.retain(|_, since| now.duration_since(*since) < STRAGGLER_TIME);
        }
        removed.insert(name.into(), now);
        drop(inner);
        self.look_for_others();
    }

    /// Stops routing a channel, if it is still routed under this number. Says whether it was.
    pub(crate) fn remove_route(&self, name: &str, id: u32) -> bool {
        let mut inner = self.inner.lock();
        let current = inner.routes.get(name).map(|(current, _)| current);
        let is_it = current == Some(id);
        if is_it {
            inner.leave_audience();
            let before = inner.routes.unsubscribe(name);
            inner.forget(before);
        }
        is_it
    }

    /// Whether a channel is routed.
    pub(crate) fn has_channel(&self, name: &str) -> bool {
        self.inner.lock().routes.get(name).is_some()
    }

    /// The names of the channels that are routed.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        self.inner.lock().routes.subscribed()
    }

    /// Hands a batch to the consumers, in order, and gives the strongest wish of theirs. `unrouted` judges a notification on a
    /// channel to which the listener is not subscribed, by its channel and its payload. `ready` gets the consumers that are to be
    /// signalled, which the caller does once all seats have their part: consumers that are signalled one after the other wake
    /// JavaScript once.
    pub(super) fn take_batch<'batch>(
        &self,
        confirmed: Moment,
        arrived: impl Iterator<Item = Arrived<'batch>>,
        unrouted: impl FnMut(&str, &str) -> Unrouted,
        ready: &mut Vec<Arc<Subscriber>>,
    ) -> Pressure {
        let mut inner = self.inner.lock();
        let own_pids = self.own_pids.as_deref();
        // Without a filter nothing of a single notification asks for one.
        let staged = if inner.filters.is_some() {
            inner.stage::<true>(confirmed, arrived, own_pids, unrouted)
        } else {
            inner.stage::<false>(confirmed, arrived, own_pids, unrouted)
        };
        let pressure = inner.deliver(ready);
        drop(inner);
        self.counters
            .received
            .fetch_add(staged.count, Ordering::Relaxed);
        if staged.filtered > 0 {
            self.counters
                .filtered
                .fetch_add(staged.filtered, Ordering::Relaxed);
        }
        if let Some(channel) = staged.unexpected {
            self.event(Event::Warning(format!(
                "a notification came on channel `{channel}`, to which this listener is not subscribed, and was \
                 dropped: subscribe with addChannel() or addCallback(), not with LISTEN"
            )));
        }
        pressure
    }

    /// Resolves when no consumer asks for a pause any more.
    pub(super) async fn wait_for_room(&self) {
        let budget = {
            let inner = self.inner.lock();
            let mut budgets = inner.subscribers().filter_map(|it| it.budget());
            budgets.next().cloned()
        };
        let paused = budget.as_ref().map(|budget| budget.pause());
        let never = Notify::new();
        loop {
            let room = self.room.notified();
            let room_in_pool = paused.as_ref().map_or(&never, Paused::room).notified();
            tokio::pin!(room, room_in_pool);
            // Registered before the check, so that room made meanwhile is not missed.
            room.as_mut().enable();
            room_in_pool.as_mut().enable();
            let full = self
                .inner
                .lock()
                .subscribers()
                .any(|subscriber| subscriber.pressure() == Pressure::Pause);
            if !full {
                return;
            }
            tokio::select! {
                () = room => {}
                () = room_in_pool => {}
            }
        }
    }

    /// To be called after draining, so that a paused session looks again.
    pub fn made_room(&self) {
        self.room.notify_waiters();
    }

    /// Gives every consumer the gap before a verified session.
    pub(super) fn insert_gap(&self, gap: &Gap) {
        for subscriber in self.inner.lock().subscribers() {
            subscriber.change().insert_gap(gap.clone());
        }
    }

    /// Ends every consumer's stream. Without `keep`, what is buffered is dropped.
    pub fn end(&self, end: &End, keep: bool) {
        let mut inner = self.inner.lock();
        inner.end.get_or_insert_with(|| end.clone());
        for subscriber in inner.subscribers() {
            subscriber.end(end.clone(), keep);
        }
        drop(inner);
        self.room.notify_waiters();
    }

    /// The listener is at its end: consumers get what is buffered, then the error.
    pub(crate) fn give_up(&self, error: Error) {
        *self.gave_up.lock() = Some(Box::new(error.clone()));
        self.end(&End::Failed(Box::new(error.clone())), true);
        self.event(Event::Closed { error });
    }

    /// Resolves when the listener has given up.
    pub(crate) async fn given_up(&self) {
        loop {
            let ended = self.room.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end meanwhile is not missed.
            ended.as_mut().enable();
            if self.gave_up.lock().is_some() {
                return;
            }
            ended.await;
        }
    }

    /// The error with which the listener gave up, if it did.
    pub(crate) fn gave_up(&self) -> Option<Error> {
        self.gave_up.lock().as_deref().cloned()
    }

    /// Queues an event for JavaScript.
    pub(super) fn event(&self, event: Event) {
        self.events.push(event);
    }

    /// Takes the events that are waiting.
    #[must_use]
    pub fn take_events(&self) -> VecDeque<Event> {
        self.events.take()
    }
}

impl Inner {
    fn subscribers(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        let consumers = self.consumers.iter().flatten();
        consumers.map(|consumer| &consumer.subscriber)
    }

    fn place_of(&self, subscriber: &Arc<Subscriber>) -> Option<usize> {
        let is_it = |consumer: &Consumer| Arc::ptr_eq(&consumer.subscriber, subscriber);
        self.consumers
            .iter()
            .position(|consumer| consumer.as_ref().is_some_and(is_it))
    }

    /// Gives a consumer a free place, without any wish.
    fn add(&mut self, subscriber: Arc<Subscriber>) -> usize {
        let consumer = Some(Consumer {
            subscriber,
            wanted: Some(ByName::default()),
        });
        if let Some(free) = self.consumers.iter().position(Option::is_none) {
            self.consumers[free] = consumer;
            return free;
        }
        if self.consumers.is_empty() {
            // Most of thousands of seats have no second consumer.
            self.consumers.reserve_exact(1);
            self.staged.reserve_exact(1);
        }
        self.consumers.push(consumer);
        self.staged.push(Staged::default());
        self.consumers.len() - 1
    }

    /// Notes the channels that the consumer at `place` wants. It has no other wish at that time.
    fn want(&mut self, place: usize, wanted: Option<Vec<String>>) {
        match &wanted {
            None => self.routes.want_everything(place),
            Some(names) => {
                for name in names {
                    self.routes.want(name, place);
                }
            }
        }
        if let Some(consumer) = &mut self.consumers[place] {
            consumer.wanted = wanted.map(ByName::from_iter);
        }
    }

    /// Takes back all wishes of the consumer at `place`.
    fn unwant(&mut self, place: usize) {
        let Some(consumer) = &mut self.consumers[place] else {
            return;
        };
        match consumer.wanted.replace(ByName::default()) {
            None => self.routes.unwant_everything(place),
            Some(names) => {
                for (name, ()) in names.iter() {
                    self.routes.unwant(name, place);
                }
            }
        }
    }

    /// Gives the consumer at `place` a selection. Says how many of the notifications that it has not taken are not of it.
    fn select(&mut self, place: usize, subscriber: &Subscriber, selection: Selection) -> u64 {
        let Selection { coalesce, filter } = selection;
        self.set_filter(place, filter);
        let mut channels = None;
        subscriber.select(coalesce, |notification, payload| {
            let channels = channels.get_or_insert_with(|| self.routes.by_number());
            let (Some(filters), Some(&(channel_id, channel))) =
                (&mut self.filters, channels.get(&notification.channel))
            else {
                // Of a channel that is not subscribed to any more nothing is delivered anyway.
                return true;
            };
            let judged = Judged {
                channel,
                channel_id,
                payload,
            };
            filters.next();
            filters.passes(place, judged)
        })
    }

    fn set_filter(&mut self, place: usize, filter: Option<Filter>) {
        if self.filters.is_none() && filter.is_none() {
            return;
        }
        let filters = self.filters.get_or_insert_default();
        filters.set(place, filter);
        if filters.is_empty() {
            self.filters = None;
        }
    }

    /// A channel has lost this number.
    fn forget(&mut self, channel_id: Option<u32>) {
        if let (Some(filters), Some(channel_id)) = (&mut self.filters, channel_id) {
            filters.forget(channel_id);
        }
    }
}
