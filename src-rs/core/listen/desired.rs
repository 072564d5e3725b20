//! The channels that a listener is meant to listen to.

use std::collections::HashMap;

/// A set of channels that knows in which order they came.
///
/// LISTENs go out in this order. Up to version 18, PostgreSQL compares each notification with the channels of a session
/// from the first to the last (`IsListeningOn` in its `async.c`), so who has many asks for the busiest first.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    /// Each with its place in the order.
    channels: HashMap<String, u64>,
    last: u64,
}

impl Desired {
    pub(crate) fn insert(&mut self, channel: String) {
        self.last += 1;
        self.channels.entry(channel).or_insert(self.last);
    }

    pub(crate) fn remove(&mut self, channel: &str) {
        self.channels.remove(channel);
    }

    pub(crate) fn contains(&self, channel: &str) -> bool {
        self.channels.contains_key(channel)
    }

    /// The channels for which `wanted` is true, in order.
    pub(crate) fn in_order(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut chosen: Vec<_> = self
            .channels
            .iter()
            .filter(|(channel, _)| wanted(channel))
            .collect();
        chosen.sort_unstable_by_key(|&(_, place)| place);
        chosen
            .into_iter()
            .map(|(channel, _)| channel.clone())
            .collect()
    }
}

impl FromIterator<String> for Desired {
    fn from_iter<I: IntoIterator<Item = String>>(channels: I) -> Self {
        let mut desired = Self::default();
        for channel in channels {
            desired.insert(channel);
        }
        desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_stay_in_the_order_in_which_they_came() {
        let names = (0..100).map(|n| format!("channel {}", (n * 37) % 100));
        let mut desired: Desired = names.clone().collect();
        assert_eq!(
            desired.in_order(|_| true),
            names.clone().collect::<Vec<_>>()
        );

        // One that is there keeps its place; one that comes again comes last.
        desired.insert("channel 37".to_owned());
        desired.remove("channel 74");
        desired.insert("channel 74".to_owned());
        let mut expected: Vec<_> = names.filter(|name| name != "channel 74").collect();
        expected.push("channel 74".to_owned());
        assert_eq!(desired.in_order(|_| true), expected);

        expected.retain(|name| name.ends_with('7'));
        assert_eq!(desired.in_order(|name| name.ends_with('7')), expected);
        assert!(desired.contains("channel 74") && !desired.contains("channel 100"));
    }
}
