//! The sessions of this process that listeners share.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::base::doubt::Doubt;
use crate::connect::config::ConnectKey;
use crate::deliver::feed::{Feed, SeatId};
use crate::deliver::seat::Seat;
use crate::listen::options::{HeartbeatOptions, ListenerOptions, ReconnectOptions};
use crate::listen::supervised::Supervised;

/// Everything that reaches the server or the check of it: listeners for which it is equal may share a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    connect: ConnectKey,
    reconnect: Option<ReconnectOptions>,
    heartbeat: Option<HeartbeatOptions>,
}

/// The sessions that are shared at present. Each ends with the last of its listeners.
static SHARED: Mutex<Option<HashMap<Key, Weak<Supervised>>>> = Mutex::new(None);

/// A seat at the session that all listeners with the same settings share. Starts it when there is none, on the current runtime.
pub(super) fn share(
    options: &ListenerOptions,
    seat: &Arc<Seat>,
    retries: bool,
) -> (Arc<Supervised>, SeatId) {
    let key = Key {
        connect: options.connect.key(),
        reconnect: options.reconnect,
        heartbeat: options.heartbeat,
    };
    let mut shared = SHARED.lock();
    let shared = shared.get_or_insert_default();
    let existing = shared.get(&key).and_then(Weak::upgrade);
    let joined = existing.and_then(|it| {
        let id = it.feed.sit(seat, retries)?;
        Some((it, id))
    });
    let (supervised, id) = joined.unwrap_or_else(|| {
        shared.retain(|_, it| it.upgrade().is_some_and(|it| !it.feed.is_over()));
        let feed = Arc::new(Feed::shared());
        let id = feed.sit(seat, retries).expect("a new feed is not over");
        let doubt = Arc::new(Doubt::default());
        // Nobody who shares it pauses it.
        let setup = options.setup(&doubt, Duration::ZERO);
        let supervised = Supervised::start(setup, options.policy(), doubt, None, feed);
        shared.insert(key, Arc::downgrade(&supervised));
        (supervised, id)
    });
    supervised.doubt.spread_to(&options.doubt);
    (supervised, id)
}

/// A seat at a session of its own.
pub(super) fn alone(
    options: &ListenerOptions,
    seat: &Arc<Seat>,
    retries: bool,
) -> (Arc<Supervised>, SeatId) {
    let feed = Arc::new(Feed::private());
    let id = feed.sit(seat, retries).expect("a new feed is not over");
    (start_alone(options, feed), id)
}

/// Starts a session of one listener, on the current runtime.
pub(super) fn start_alone(options: &ListenerOptions, feed: Arc<Feed>) -> Arc<Supervised> {
    Supervised::start(
        options.setup(&options.doubt, options.max_pause),
        options.policy(),
        Arc::clone(&options.doubt),
        Some(Arc::clone(&options.own_pids)),
        feed,
    )
}
