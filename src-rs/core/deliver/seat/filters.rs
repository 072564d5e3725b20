//! The filters of a seat's consumers. Equal ones are one: a notification is judged once by it, for all its consumers.

use hashbrown::HashMap;

use crate::deliver::filter::Filter;

/// A notification, as filters judge it.
#[derive(Clone, Copy)]
pub(super) struct Judged<'batch> {
    pub(super) channel: &'batch str,
    /// The number that the facade gave the channel. It is never used for another one.
    pub(super) channel_id: u32,
    pub(super) payload: &'batch [u8],
}

/// A filter, and what it has judged.
#[derive(Debug)]
struct Distinct {
    filter: Filter,
    /// How many consumers have it.
    users: usize,
    /// Whether it selects a channel, by the channel's number.
    selects: HashMap<u32, bool>,
    /// The number of the notification that it judged last.
    last: u64,
    /// Whether that notification passed.
    passed: bool,
}

/// The filters of a seat.
#[derive(Debug, Default)]
pub(super) struct Filters {
    distinct: Vec<Option<Distinct>>,
    /// For the place of each consumer, the place of its filter.
    of_consumers: Vec<Option<usize>>,
    /// The number of the present notification.
    present: u64,
    /// Memory for reading JSON.
    nesting: Vec<u64>,
}

impl Filters {
    /// Gives the consumer at `place` this filter, or none.
    pub(super) fn set(&mut self, place: usize, filter: Option<Filter>) {
        if self.of_consumers.len() <= place {
            self.of_consumers.resize(place + 1, None);
        }
        let before = self.of_consumers[place].take();
        self.of_consumers[place] = filter.map(|filter| self.share(filter));
        if let Some(before) = before
            && let Some(distinct) = &mut self.distinct[before]
        {
            distinct.users -= 1;
            if distinct.users == 0 {
                self.distinct[before] = None;
            }
        }
    }

    /// The place of a filter, which has one more user.
    fn share(&mut self, filter: Filter) -> usize {
        let known = self.distinct.iter_mut().enumerate().find_map(|(at, it)| {
            let it = it.as_mut().filter(|it| it.filter == filter)?;
            Some((at, it))
        });
        if let Some((at, distinct)) = known {
            distinct.users += 1;
            return at;
        }
        let distinct = Some(Distinct {
            filter,
            users: 1,
            selects: HashMap::new(),
            last: 0,
            passed: false,
        });
        if let Some(free) = self.distinct.iter().position(Option::is_none) {
            self.distinct[free] = distinct;
            return free;
        }
        self.distinct.push(distinct);
        self.distinct.len() - 1
    }

    /// Whether no consumer has a filter.
    pub(super) fn is_empty(&self) -> bool {
        self.distinct.iter().all(Option::is_none)
    }

    /// The listener uses this channel's number no more.
    pub(super) fn forget(&mut self, channel_id: u32) {
        for distinct in self.distinct.iter_mut().flatten() {
            distinct.selects.remove(&channel_id);
        }
    }

    /// Begins to judge another notification.
    pub(super) fn next(&mut self) {
        self.present += 1;
    }

    /// Whether the present notification passes the filter of the consumer at `place`.
    pub(super) fn passes(&mut self, place: usize, notification: Judged<'_>) -> bool {
        let at = self.of_consumers.get(place).copied().flatten();
        let Some(distinct) = at.and_then(|at| self.distinct[at].as_mut()) else {
            return true;
        };
        if distinct.last != self.present {
            let Judged {
                channel,
                channel_id,
                payload,
            } = notification;
            let Distinct {
                filter, selects, ..
            } = distinct;
            let is_selected = *selects
                .entry(channel_id)
                .or_insert_with(|| filter.selects(channel));
            distinct.passed = is_selected && filter.passes(payload, &mut self.nesting);
            distinct.last = self.present;
        }
        distinct.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(prefix: &str) -> Filter {
        Filter::new(None, Some(prefix.to_owned()), None)
    }

    fn passes(filters: &mut Filters, place: usize, payload: &str) -> bool {
        filters.passes(
            place,
            Judged {
                channel: "channel",
                channel_id: 1,
                payload: payload.as_bytes(),
            },
        )
    }

    #[test]
    fn equal_filters_judge_a_notification_once() {
        let mut filters = Filters::default();
        for (place, filter) in [(0, prefix("a")), (3, prefix("b")), (5, prefix("a"))] {
            filters.set(place, Some(filter));
        }
        assert_eq!(filters.distinct.len(), 2);
        filters.next();
        assert!(passes(&mut filters, 0, "a"));
        // Another text shows that it is not looked at again.
        assert!(passes(&mut filters, 5, "b"));
        assert!(!passes(&mut filters, 3, "a"));
        assert!(passes(&mut filters, 4, "a") && passes(&mut filters, 9, "a"));
        filters.next();
        assert!(!passes(&mut filters, 5, "b"));
    }

    #[test]
    fn a_filter_is_forgotten_with_its_last_consumer() {
        let mut filters = Filters::default();
        filters.set(0, Some(prefix("a")));
        filters.set(1, Some(prefix("a")));
        filters.set(0, Some(prefix("b")));
        filters.set(0, None);
        assert!(!filters.is_empty());
        filters.next();
        assert!(passes(&mut filters, 0, "c") && !passes(&mut filters, 1, "c"));
        filters.set(2, Some(prefix("c")));
        assert_eq!(filters.distinct.len(), 2, "places are used again");
        filters.set(1, None);
        filters.set(2, None);
        assert!(filters.is_empty());
    }

    #[test]
    fn a_channel_is_judged_by_its_name_once() {
        let mut filters = Filters::default();
        filters.set(
            0,
            Some(Filter::new(Some(vec!["chan*".to_owned()]), None, None)),
        );
        let mut judge = |channel, channel_id| {
            filters.next();
            filters.passes(
                0,
                Judged {
                    channel,
                    channel_id,
                    payload: b"",
                },
            )
        };
        assert!(judge("channel", 1) && !judge("other", 2));
        // The numbers are known now.
        assert!(judge("other", 1) && !judge("channel", 2));
        filters.forget(2);
        let selects = |filters: &Filters| filters.distinct[0].as_ref().map(|it| it.selects.len());
        assert_eq!(selects(&filters), Some(1));
    }
}
