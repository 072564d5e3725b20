//! Whether a listener's consumer can be a member of an audience.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smol_str::SmolStr;

use super::{Inner, Seat};
use crate::deliver::audience::{Audience, Common};
use crate::deliver::buffer::Subscriber;

impl Seat {
    /// Whether it may be worth while to ask the feed for others that get the same. Costs nothing.
    #[must_use]
    pub fn may_join(&self) -> bool {
        self.may_join.load(Ordering::Relaxed)
    }

    /// There may be others that get the same.
    pub(in crate::deliver) fn look_for_others(&self) {
        self.may_join.store(true, Ordering::Relaxed);
    }

    /// The channel of which the consumer gets every notification and nothing else, with what it has in common with other such
    /// consumers. `None`: it is not the only consumer of its listener, or there is not one channel, or they are selected.
    pub(in crate::deliver) fn sole_channel(
        &self,
        subscriber: &Arc<Subscriber>,
    ) -> Option<(SmolStr, Common)> {
        let inner = self.inner.lock();
        let bounds = subscriber.bounds();
        let found = inner.sole_channel(subscriber).filter(|_| {
            self.own_pids.is_none() && inner.filters.is_none() && Audience::allows(&bounds)
        });
        // Otherwise it is asked again with each notification.
        self.may_join.store(found.is_some(), Ordering::Relaxed);
        let (name, channel) = found?;
        let common = Common {
            environment: self.environment,
            channel,
            bounds,
            budget: subscriber.budget().cloned(),
        };
        Some((name, common))
    }

    /// Has the counters count what a member of an audience was sent.
    pub fn settle_counts(&self) {
        for subscriber in self.inner.lock().subscribers() {
            subscriber.settle();
        }
    }

    /// From now on the listener's stream is its own.
    pub(in crate::deliver) fn leave_audience(&self) {
        self.inner.lock().leave_audience();
    }
}

impl Inner {
    pub(super) fn leave_audience(&self) {
        for subscriber in self.subscribers() {
            subscriber.leave_audience();
        }
    }

    fn sole_channel(&self, subscriber: &Arc<Subscriber>) -> Option<(SmolStr, u32)> {
        let mut subscribers = self.subscribers();
        let is_sole = Arc::ptr_eq(subscribers.next()?, subscriber) && subscribers.next().is_none();
        if !is_sole || self.end.is_some() {
            return None;
        }
        let place = self.place_of(subscriber)?;
        let (name, id, route) = self.routes.sole()?;
        let is_wanted = route.members.contains(&place) || self.routes.everything().contains(&place);
        is_wanted.then(|| (name.clone(), id))
    }
}
