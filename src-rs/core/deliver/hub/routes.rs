//! Who wants which channel.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use smol_str::SmolStr;

use crate::deliver::subscriber::Subscriber;

/// Places in the hub's list of subscribers. Shared by all channels that go to the same consumers: what thousands of channels have in
/// common is then found in the processor's cache.
type Members = Arc<[usize]>;

/// Where the notifications of a channel go.
pub(super) struct Route {
    /// The number that the facade gave the channel.
    pub(super) id: u32,
    pub(super) members: Members,
}

/// The routes of all channels.
#[derive(Default)]
pub(super) struct Routes {
    /// Names of up to 23 bytes are in the table itself: of thousands of channels each is found with one look less into memory.
    by_channel: HashMap<SmolStr, Route>,
    /// The different ones that the routes have, or had.
    members: HashSet<Members>,
}

impl Routes {
    pub(super) fn get(&self, channel: &str) -> Option<&Route> {
        self.by_channel.get(channel)
    }

    pub(super) fn insert(&mut self, channel: &str, id: u32, subscribers: &[Arc<Subscriber>]) {
        let members = members(&mut self.members, channel, subscribers);
        self.by_channel
            .insert(channel.into(), Route { id, members });
    }

    pub(super) fn remove(&mut self, channel: &str) {
        self.by_channel.remove(channel);
    }

    /// One of the subscribers wants other channels than before, or one more or fewer.
    pub(super) fn rebuild(&mut self, subscribers: &[Arc<Subscriber>]) {
        self.members.clear();
        for (channel, route) in &mut self.by_channel {
            route.members = members(&mut self.members, channel, subscribers);
        }
    }

    /// One of the subscribers wants this channel, or no longer.
    pub(super) fn rebuild_one(&mut self, channel: &str, subscribers: &[Arc<Subscriber>]) {
        if let Some(route) = self.by_channel.get_mut(channel) {
            route.members = members(&mut self.members, channel, subscribers);
        }
    }
}

/// Those of the subscribers that want a channel.
fn members(
    known: &mut HashSet<Members>,
    channel: &str,
    subscribers: &[Arc<Subscriber>],
) -> Members {
    let wants = |(index, subscriber): (usize, &Arc<Subscriber>)| {
        subscriber.lock().wants(channel).then_some(index)
    };
    let members: Members = subscribers.iter().enumerate().filter_map(wants).collect();
    Arc::clone(known.get_or_insert(members))
}
