//! Who wants which channel.
//!
//! A consumer either wants every subscribed channel, and then stands in one short list, or wants some by name, and then stands
//! in the routes of those. Opening and closing a consumer of the first kind touches no channel at all.

use std::sync::{Arc, LazyLock};

use hashbrown::{HashMap, HashSet};
use smol_str::SmolStr;

use super::by_name::ByName;

/// Places of consumers in the seat's list. Channels that go to the same consumers share one list, so that for thousands of
/// channels it stays in the processor's cache.
type Members = Arc<[usize]>;

/// The members of a channel that only the first consumer wants: one list for all seats, as most of thousands have no other.
static FIRST_ALONE: LazyLock<Members> = LazyLock::new(|| Arc::new([0]));

/// Unused member lists, and former numbers, are forgotten when there are this many more than after the last time.
const SWEEP_AFTER: usize = 64;

/// Where the notifications of a channel go.
#[derive(Debug)]
pub(super) struct Route {
    /// The number that the facade gave the channel; `None` while the listener is not subscribed to it.
    id: Option<u32>,
    /// The consumers that want this channel by its name.
    pub(super) members: Members,
}

/// The routes of all channels.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_channel: ByName<Route>,
    /// The consumers that want every subscribed channel.
    everything: Vec<usize>,
    /// The different lists of members, but for [`FIRST_ALONE`] and the empty one.
    known: Option<Box<HashSet<Members>>>,
    known_after_sweep: usize,
    /// Made for the first.
    former: Option<Box<Former>>,
}

/// The numbers that channels had before, under which notifications may still be buffered.
#[derive(Debug, Default)]
struct Former {
    names: HashMap<u32, SmolStr>,
    after_sweep: usize,
}

impl Routes {
    /// The number and the route of a channel that the listener is subscribed to.
    pub(super) fn get(&self, channel: &str) -> Option<(u32, &Route)> {
        let route = self.by_channel.get(channel)?;
        Some((route.id?, route))
    }

    /// The channel that the listener is subscribed to, if there is only one.
    pub(super) fn sole(&self) -> Option<(&SmolStr, u32, &Route)> {
        let numbered = self.by_channel.iter();
        let mut subscribed = numbered.filter_map(|(name, route)| Some((name, route.id?, route)));
        let sole = subscribed.next()?;
        subscribed.next().is_none().then_some(sole)
    }

    /// The channels that the listener is subscribed to, in the order of their numbers.
    pub(super) fn subscribed(&self) -> Vec<String> {
        let numbered = self.by_channel.iter();
        let mut subscribed: Vec<(u32, &SmolStr)> = numbered
            .filter_map(|(name, route)| Some((route.id?, name)))
            .collect();
        subscribed.sort_unstable();
        subscribed
            .into_iter()
            .map(|(_, name)| name.to_string())
            .collect()
    }

    /// The consumers that want every subscribed channel.
    pub(super) fn everything(&self) -> &[usize] {
        &self.everything
    }

    /// The channels that the listener is subscribed to, each with its present number, by all numbers under which there may be
    /// something of them.
    pub(super) fn by_number(&self) -> HashMap<u32, (u32, &str)> {
        let numbered = self.by_channel.iter();
        let present = numbered.filter_map(|(name, route)| Some((route.id?, name)));
        let former = self.former.iter().flat_map(|former| &former.names);
        let former = former.filter_map(|(number, name)| {
            let (id, _) = self.get(name)?;
            Some((*number, (id, name.as_str())))
        });
        present
            .map(|(id, name)| (id, (id, name.as_str())))
            .chain(former)
            .collect()
    }

    /// The listener is subscribed to a channel, under this number. Gives the number before, if it has another one now.
    pub(super) fn subscribe(&mut self, channel: &str, id: u32) -> Option<u32> {
        let before = route(&mut self.by_channel, channel).id.replace(id);
        before.filter(|before| *before != id)
    }

    /// A channel has another number from now on; what is buffered under the one before stays that channel's. Gives that number.
    pub(super) fn renumber(&mut self, channel: &str, id: u32) -> Option<u32> {
        let before = self.subscribe(channel, id)?;
        let former = self.former.get_or_insert_default();
        former.names.insert(before, channel.into());
        Some(before)
    }

    /// Whether it is time to look which former numbers are still in use.
    pub(super) fn has_many_former(&self) -> bool {
        let is_many = |it: &Former| it.names.len() > 2 * it.after_sweep + SWEEP_AFTER;
        self.former.as_deref().is_some_and(is_many)
    }

    /// Keeps those of the former numbers that are among `used`, and gives them.
    pub(super) fn keep_former(&mut self, used: &HashSet<u32>) -> Vec<u32> {
        let Some(former) = &mut self.former else {
            return Vec::new();
        };
        former.names.retain(|number, _| used.contains(number));
        former.after_sweep = former.names.len();
        former.names.keys().copied().collect()
    }

    /// The listener is no longer subscribed to a channel. Consumers go on to want it. Gives the number that it had.
    pub(super) fn unsubscribe(&mut self, channel: &str) -> Option<u32> {
        let route = self.by_channel.get_mut(channel)?;
        let before = route.id.take();
        self.forget_if_unused(channel);
        before
    }

    /// A consumer wants every subscribed channel.
    pub(super) fn want_everything(&mut self, place: usize) {
        self.everything.push(place);
    }

    /// A consumer no longer wants every subscribed channel.
    pub(super) fn unwant_everything(&mut self, place: usize) {
        self.everything.retain(|other| *other != place);
    }

    /// A consumer wants a channel.
    pub(super) fn want(&mut self, channel: &str, place: usize) {
        let route = route(&mut self.by_channel, channel);
        if !route.members.contains(&place) {
            let members: Vec<usize> = route.members.iter().copied().chain([place]).collect();
            route.members = shared(&mut self.known, &members);
        }
        self.sweep();
    }

    /// A consumer no longer wants a channel.
    pub(super) fn unwant(&mut self, channel: &str, place: usize) {
        let Some(route) = self.by_channel.get_mut(channel) else {
            return;
        };
        let members: Vec<usize> = route
            .members
            .iter()
            .copied()
            .filter(|other| *other != place)
            .collect();
        route.members = shared(&mut self.known, &members);
        self.forget_if_unused(channel);
        self.sweep();
    }

    fn forget_if_unused(&mut self, channel: &str) {
        let is_unused = |route: &Route| route.id.is_none() && route.members.is_empty();
        if self.by_channel.get(channel).is_some_and(is_unused) {
            self.by_channel.remove(channel);
        }
    }

    /// Forgets member lists that no route has any more.
    fn sweep(&mut self) {
        if let Some(known) = &mut self.known
            && known.len() > 2 * self.known_after_sweep + SWEEP_AFTER
        {
            known.retain(|members| Arc::strong_count(members) > 1);
            self.known_after_sweep = known.len();
        }
    }
}

/// The route of a channel, made when there is none.
fn route<'a>(by_channel: &'a mut ByName<Route>, channel: &str) -> &'a mut Route {
    by_channel.get_or_insert_with(channel, || Route {
        id: None,
        members: Arc::default(),
    })
}

/// The one list with these members.
fn shared(known: &mut Option<Box<HashSet<Members>>>, members: &[usize]) -> Members {
    match members {
        [] => Arc::default(),
        [0] => Arc::clone(&FIRST_ALONE),
        _ => Arc::clone(
            known
                .get_or_insert_default()
                .get_or_insert_with(members, |members| members.into()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(routes: &Routes, channel: &str) -> Option<Vec<usize>> {
        Some(routes.get(channel)?.1.members.to_vec())
    }

    #[test]
    fn a_wanted_channel_has_a_route_only_while_it_is_subscribed_to() {
        let mut routes = Routes::default();
        routes.want("a", 3);
        assert_eq!(members(&routes, "a"), None);
        routes.subscribe("a", 7);
        routes.want("a", 1);
        assert_eq!(members(&routes, "a"), Some(vec![3, 1]));
        routes.subscribe("a", 8);
        assert_eq!(routes.get("a").map(|(id, _)| id), Some(8));
        routes.unsubscribe("a");
        assert_eq!(members(&routes, "a"), None);
        routes.subscribe("a", 9);
        routes.unwant("a", 3);
        assert_eq!(members(&routes, "a"), Some(vec![1]));
    }

    #[test]
    fn channels_without_subscription_and_consumers_are_forgotten() {
        let mut routes = Routes::default();
        for number in 0..1000 {
            let channel = format!("channel {number}");
            routes.subscribe(&channel, number);
            routes.want(&channel, number as usize);
            routes.unsubscribe(&channel);
            routes.unwant(&channel, number as usize);
        }
        assert_eq!(routes.by_channel.iter().count(), 0);
        let known = routes.known.expect("lists of members").len();
        assert!(known <= 2 * SWEEP_AFTER, "{known}");
    }

    #[test]
    fn channels_of_the_same_consumers_share_one_list() {
        let mut routes = Routes::default();
        for channel in ["a", "b"] {
            routes.subscribe(channel, 0);
            routes.want(channel, 1);
            routes.want(channel, 2);
        }
        let [a, b] = ["a", "b"].map(|channel| &routes.get(channel).expect("a route").1.members);
        assert!(Arc::ptr_eq(a, b));
    }
}
