//! The channels that listeners are meant to listen to.

use hashbrown::{HashMap, HashSet};
use smol_str::SmolStr;

use crate::deliver::feed::{SeatId, SeatIds};

/// Names of channels. Those of up to 23 bytes stand in the table itself.
pub(crate) type ChannelNames = HashSet<SmolStr>;

/// A set of channels that knows in which order they came, and for whom.
///
/// LISTENs go out in this order. Up to version 18, PostgreSQL compares each notification with the channels of a session
/// from the first to the last (`IsListeningOn` in its `async.c`), so who has many asks for the busiest first.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    channels: HashMap<SmolStr, Wish>,
    last: u64,
}

#[derive(Debug)]
struct Wish {
    /// The channel's place in the order.
    place: u64,
    /// Who wishes it, the lowest number first.
    seats: SeatIds,
}

impl Desired {
    pub(crate) fn insert(&mut self, channel: String, seat: SeatId) {
        self.last += 1;
        let wish = self.channels.entry(channel.into()).or_insert_with(|| Wish {
            place: self.last,
            seats: SeatIds::new(),
        });
        if let Err(place) = wish.seats.binary_search(&seat) {
            wish.seats.insert(place, seat);
        }
    }

    /// A seat no longer wishes a channel.
    pub(crate) fn remove(&mut self, channel: &str, seat: SeatId) {
        let Some(wish) = self.channels.get_mut(channel) else {
            return;
        };
        if let Ok(place) = wish.seats.binary_search(&seat) {
            wish.seats.remove(place);
        }
        if wish.seats.is_empty() {
            self.channels.remove(channel);
        }
    }

    /// Nobody gets a channel.
    pub(crate) fn forget(&mut self, channel: &str) {
        self.channels.remove(channel);
    }

    pub(crate) fn contains(&self, channel: &str) -> bool {
        self.channels.contains_key(channel)
    }

    /// Whether a seat wishes a channel.
    pub(crate) fn is_wish_of(&self, channel: &str, seat: SeatId) -> bool {
        let wish = self.channels.get(channel);
        wish.is_some_and(|wish| wish.seats.binary_search(&seat).is_ok())
    }

    /// The channels for which `wanted` is true, in order.
    pub(crate) fn in_order(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut chosen: Vec<_> = self
            .channels
            .iter()
            .filter(|(channel, _)| wanted(channel))
            .map(|(channel, wish)| (wish.place, channel))
            .collect();
        chosen.sort_unstable();
        chosen
            .into_iter()
            .map(|(_, channel)| channel.to_string())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_stay_in_the_order_in_which_they_came() {
        let (one, other) = (SeatId::of(1), SeatId::of(2));
        let names = (0..100).map(|n| format!("channel {}", (n * 37) % 100));
        let mut desired = Desired::default();
        for name in names.clone() {
            desired.insert(name, one);
        }
        assert_eq!(
            desired.in_order(|_| true),
            names.clone().collect::<Vec<_>>()
        );

        // One that is there keeps its place, whoever wishes it; one that comes again comes last.
        desired.insert("channel 37".to_owned(), other);
        desired.remove("channel 37", one);
        desired.remove("channel 74", one);
        desired.insert("channel 74".to_owned(), one);
        let mut expected: Vec<_> = names.filter(|name| name != "channel 74").collect();
        expected.push("channel 74".to_owned());
        assert_eq!(desired.in_order(|_| true), expected);

        expected.retain(|name| name.ends_with('7'));
        assert_eq!(desired.in_order(|name| name.ends_with('7')), expected);
        assert!(desired.contains("channel 74") && !desired.contains("channel 100"));
    }

    #[test]
    fn a_channel_is_wished_until_the_last_of_its_seats_is_gone() {
        let (one, other) = (SeatId::of(1), SeatId::of(2));
        let mut desired = Desired::default();
        for seat in [other, one, one] {
            desired.insert("a".to_owned(), seat);
        }
        desired.remove("a", one);
        assert!(desired.contains("a"));
        assert!(desired.is_wish_of("a", other) && !desired.is_wish_of("a", one));
        desired.remove("a", one);
        desired.remove("a", other);
        assert!(!desired.contains("a"));
        desired.insert("a".to_owned(), one);
        desired.insert("a".to_owned(), other);
        desired.forget("a");
        assert!(!desired.contains("a"));
    }
}
