//! Sorts a batch by consumer.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;

use super::filters::Judged;
use super::routes::Route;
use super::{Inner, STRAGGLER_TIME};
use crate::base::Moment;
use crate::base::own_pids::OwnPids;
use crate::deliver::buffer::{Notification, Pressure, Staged, Subscriber};
use crate::inbound::ReceivedNotification;

/// What stands next in a listener's stream.
pub(in crate::deliver) enum Arrived<'batch> {
    Notification(ReceivedNotification<'batch>),
    /// The fence that the listener gave this number.
    Fence(u32),
}

/// A notification on a channel to which the listener is not subscribed.
pub(in crate::deliver) enum Unrouted {
    /// It is a fence of the listener, with this number.
    Fence(u32),
    /// It is nothing to tell of.
    Expected,
    /// Nobody asked for it.
    Unexpected,
}

/// The findings of [`Inner::stage`] in a batch, besides the notifications that it sorted.
#[derive(Default)]
pub(super) struct StagedBatch {
    pub(super) count: u64,
    /// How many notifications were kept from a consumer, counted for each.
    pub(super) filtered: u64,
    pub(super) unexpected: Option<String>,
}

impl Inner {
    /// Sorts a batch by consumer, without holding any consumer's lock: the JavaScript thread wants it too.
    pub(super) fn stage<'batch, const IS_FILTERED: bool>(
        &mut self,
        confirmed: Moment,
        arrived: impl Iterator<Item = Arrived<'batch>>,
        own_pids: Option<&OwnPids>,
        mut unrouted: impl FnMut(&str, &str) -> Unrouted,
    ) -> StagedBatch {
        let Self {
            routes,
            filters,
            staged,
            removed,
            warned_unrouted,
            ..
        } = self;
        let received = Moment::now();
        let mut found = StagedBatch::default();
        // Most of a batch is of one channel.
        let mut last: Option<(&str, (u32, &Route))> = None;
        for arrived in arrived {
            let ReceivedNotification {
                process_id,
                channel,
                payload,
            } = match arrived {
                Arrived::Notification(notification) => notification,
                Arrived::Fence(number) => {
                    push_fence(staged, number);
                    continue;
                }
            };
            let known = last.filter(|(name, _)| *name == channel);
            let known = known.or_else(|| Some((channel, routes.get(channel)?)));
            let Some((_, (id, route))) = known else {
                match unrouted(channel, payload) {
                    Unrouted::Fence(number) => push_fence(staged, number),
                    Unrouted::Unexpected
                        if !*warned_unrouted && !was_just_removed(removed, channel) =>
                    {
                        *warned_unrouted = true;
                        found.unexpected = Some(channel.to_owned());
                    }
                    Unrouted::Unexpected | Unrouted::Expected => {}
                }
                continue;
            };
            last = known;
            if own_pids.is_some_and(|own| own.contains(process_id)) {
                continue;
            }
            found.count += 1;
            let notification = Notification {
                channel: id,
                process_id,
                length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                is_ascii: payload.is_ascii(),
                received,
                confirmed,
            };
            let mut filters = filters.as_mut().filter(|_| IS_FILTERED);
            if let Some(filters) = &mut filters {
                filters.next();
            }
            for &place in route.members.iter().chain(routes.everything()) {
                if let Some(filters) = &mut filters {
                    let judged = Judged {
                        channel,
                        channel_id: id,
                        payload: payload.as_bytes(),
                    };
                    if !filters.passes(place, judged) {
                        found.filtered += 1;
                        continue;
                    }
                }
                staged[place].push(notification, payload.as_bytes());
            }
        }
        found
    }

    /// Moves what was staged into the consumers' buffers.
    pub(super) fn deliver(&mut self, ready: &mut Vec<Arc<Subscriber>>) -> Pressure {
        let mut pressure = Pressure::None;
        for (consumer, staged) in self.consumers.iter().zip(&mut self.staged) {
            if staged.is_empty() {
                continue;
            }
            match consumer {
                Some(consumer) => {
                    let mut pushing = consumer.subscriber.change_for(staged);
                    pressure = pressure.max(pushing.push_all(staged));
                    if pushing.finish() {
                        ready.push(Arc::clone(&consumer.subscriber));
                    }
                }
                // A fence is staged for free places too.
                None => *staged = Staged::default(),
            }
        }
        pressure
    }
}

fn push_fence(staged: &mut [Staged], number: u32) {
    for staged in staged {
        staged.push_fence(number);
    }
}

type Removed = Option<Box<HashMap<Box<str>, Instant>>>;

fn was_just_removed(removed: &Removed, channel: &str) -> bool {
    let since = removed.as_ref().and_then(|it| it.get(channel));
    since.is_some_and(|since| since.elapsed() < STRAGGLER_TIME)
}
