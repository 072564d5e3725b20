//! The audiences of a feed: for each channel that many seats are subscribed to, the consumers that get its notifications together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Feed;
use super::routing::stage;
use super::seats::{SeatId, SeatIds, Seats, Sitting, Stage, Staged};
use crate::base::Moment;
use crate::deliver::audience::{Audience, Candidate, Common};
use crate::deliver::buffer::{Notification, Subscriber};
use crate::deliver::gap::Gap;
use crate::inbound::ReceivedNotification;

/// The fewest seats of a channel that are worth an audience.
const FEWEST: usize = 4;

/// The audiences of a channel.
#[derive(Default)]
struct Heard {
    name: SmolStr,
    /// One for each environment, or more where members differ.
    audiences: SmallVec<[Arc<Audience>; 1]>,
    /// The seats that are subscribed to the channel, and hear it themselves, in order.
    others: Vec<SeatId>,
    /// The part of the present batch; empty between batches.
    staged: Vec<u32>,
}

/// The audiences of all channels that have some.
#[derive(Default)]
pub(super) struct Audiences {
    places: HashMap<SmolStr, usize>,
    all: Vec<Heard>,
    /// The places for which something of the present batch is staged.
    touched: Vec<usize>,
    /// Set when a member leaves an audience.
    has_left: Arc<AtomicBool>,
}

impl Audiences {
    /// The place of a channel that has audiences. It does not change while a batch is sorted.
    pub(super) fn place(&self, channel: &str) -> Option<usize> {
        self.places.get(channel).copied()
    }

    /// Stages a place of a batch for the audiences of a channel. Gives the seats that hear it themselves.
    pub(super) fn stage(&mut self, channel: usize, place: u32) -> &[SeatId] {
        let heard = &mut self.all[channel];
        if heard.staged.is_empty() {
            self.touched.push(channel);
        }
        heard.staged.push(place);
        &heard.others
    }

    /// A seat is subscribed to a channel from now on, or no more. A member that gets a second channel is about to leave its audience.
    pub(super) fn note_seat(&mut self, channel: &str, id: SeatId, is_subscribed: bool) {
        if let Some(&place) = self.places.get(channel) {
            let heard = &mut self.all[place];
            if is_subscribed {
                heard.add_other(id);
            } else {
                heard.remove_other(id);
            }
        }
    }

    fn open(&mut self, name: SmolStr, sittings: &Sittings, routes: &Routes) -> usize {
        *self.places.entry(name.clone()).or_insert_with(|| {
            let hears = |id: &&SeatId| {
                matches!(sittings.get(id.index()), Some(Some(sitting)) if !sitting.is_member)
            };
            let seats = routes.get(&name).into_iter().flatten();
            self.all.push(Heard {
                others: seats.filter(hears).copied().collect(),
                name,
                ..Heard::default()
            });
            self.all.len() - 1
        })
    }

    fn remove(&mut self, place: usize) {
        let gone = self.all.swap_remove(place);
        self.places.remove(&gone.name);
        if let Some(moved) = self.all.get(place) {
            self.places.insert(moved.name.clone(), place);
        }
    }
}

/// A batch that is being sorted.
pub(super) struct Sorted<'batch> {
    pub(super) confirmed: Moment,
    pub(super) arrived: &'batch [ReceivedNotification<'batch>],
}

type Sittings = [Option<Sitting>];
type Routes = HashMap<SmolStr, SeatIds>;

impl Audiences {
    /// Looks who has left an audience and hears for himself, and forgets audiences that are over.
    pub(super) fn settle(&mut self, sittings: &mut Sittings, routes: &Routes) {
        // Mostly nothing has changed, and there may be thousands.
        if !self.has_left.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut place = 0;
        while place < self.all.len() {
            self.all[place].settle(sittings, routes);
            if self.all[place].audiences.is_empty() {
                self.remove(place);
            } else {
                place += 1;
            }
        }
    }

    /// A seat hears for itself from here on, behind what was for its audience so far.
    pub(super) fn part_from(
        &mut self,
        id: SeatId,
        batch: &Sorted<'_>,
        (sittings, touched): (&mut Sittings, &mut Vec<SeatId>),
        routes: &Routes,
        ready: &mut Vec<Arc<Subscriber>>,
    ) {
        let Some(Some(sitting)) = sittings.get(id.index()) else {
            return;
        };
        if !sitting.is_member {
            return;
        }
        let seat = Arc::clone(&sitting.seat);
        self.flush(batch, (&mut *sittings, touched), routes, ready);
        seat.leave_audience();
        for heard in &mut self.all {
            heard.settle(sittings, routes);
        }
    }

    /// Hands the audiences what was staged for them.
    pub(super) fn flush(
        &mut self,
        batch: &Sorted<'_>,
        (sittings, touched): (&mut Sittings, &mut Vec<SeatId>),
        routes: &Routes,
        ready: &mut Vec<Arc<Subscriber>>,
    ) {
        for place in self.touched.drain(..) {
            let at = (&mut *sittings, &mut *touched);
            self.all[place].flush(batch, at, routes, ready);
        }
    }
}

impl Heard {
    /// The audience of consumers with this in common.
    fn found_or_made(
        &mut self,
        common: Common,
        new: impl FnOnce(Common) -> Arc<Audience>,
    ) -> Arc<Audience> {
        if let Some(known) = self.audiences.iter().find(|it| it.is_of(&common)) {
            return Arc::clone(known);
        }
        let made = new(common);
        self.audiences.push(Arc::clone(&made));
        made
    }

    fn add_other(&mut self, id: SeatId) {
        if let Err(place) = self.others.binary_search(&id) {
            self.others.insert(place, id);
        }
    }

    fn remove_other(&mut self, id: SeatId) {
        if let Ok(place) = self.others.binary_search(&id) {
            self.others.remove(place);
        }
    }

    /// Members have left: they hear for themselves what was for their audience.
    fn part(&mut self, left: &[SeatId], sittings: &mut Sittings, routes: &Routes) {
        if left.is_empty() {
            return;
        }
        let subscribed = routes.get(&self.name);
        for &id in left {
            if let Some(Some(sitting)) = sittings.get_mut(id.index()) {
                sitting.is_member = false;
            }
            if subscribed.is_some_and(|it| it.binary_search(&id).is_ok()) {
                self.add_other(id);
            }
        }
        self.audiences.retain(|audience| !audience.is_over());
    }

    fn settle(&mut self, sittings: &mut Sittings, routes: &Routes) {
        let left: Vec<SeatId> = self
            .audiences
            .iter()
            .flat_map(|it| it.take_left())
            .collect();
        self.part(&left, sittings, routes);
        self.audiences.retain(|audience| !audience.is_over());
    }

    fn flush(
        &mut self,
        batch: &Sorted<'_>,
        (sittings, touched): (&mut Sittings, &mut Vec<SeatId>),
        routes: &Routes,
        ready: &mut Vec<Arc<Subscriber>>,
    ) {
        let received = Moment::now();
        let mut all_left = Vec::new();
        for audience in &self.audiences {
            let notifications = self.staged.iter().map(|&place| {
                let ReceivedNotification {
                    process_id,
                    payload,
                    ..
                } = batch.arrived[place as usize];
                let notification = Notification {
                    // Each audience has its own number.
                    channel: 0,
                    process_id,
                    length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                    is_ascii: payload.is_ascii(),
                    received,
                    confirmed: batch.confirmed,
                };
                (notification, payload.as_bytes())
            });
            let left = audience.push(notifications, ready);
            // Its part of the batch is all of this: its listener had no other channel when the batch began.
            for &id in &left {
                for &place in &self.staged {
                    stage(sittings, touched, id, Staged::Notification(place));
                }
            }
            all_left.extend(left);
        }
        self.staged.clear();
        self.part(&all_left, sittings, routes);
    }
}

impl Seats {
    /// Looks who has left an audience.
    pub(super) fn settle_audiences(&mut self) {
        self.audiences.settle(&mut self.sittings, &self.routes);
    }

    /// A seat hears for itself from now on.
    pub(super) fn part_from_audience(&mut self, id: SeatId) {
        if let Some(Some(sitting)) = self.sittings.get(id.index())
            && sitting.is_member
        {
            sitting.seat.leave_audience();
            self.settle_audiences();
        }
    }

    /// Gives every consumer the gap before a verified session.
    pub(super) fn insert_gap(&mut self, gap: &Gap) {
        self.settle_audiences();
        for heard in &mut self.audiences.all {
            let audiences = heard.audiences.iter();
            let left: Vec<SeatId> = audiences.flat_map(|it| it.insert_gap(gap)).collect();
            heard.part(&left, &mut self.sittings, &self.routes);
        }
        for sitting in self.all() {
            if sitting.stage == Stage::In && !sitting.is_member {
                sitting.seat.insert_gap(gap);
            }
        }
    }

    fn admit(
        &mut self,
        id: SeatId,
        candidate: &Candidate<'_>,
        signal: impl FnOnce(Weak<Audience>) -> Box<dyn Fn() + Send + Sync>,
    ) -> bool {
        self.settle_audiences();
        let Some(sitting) = self.get(id) else {
            return false;
        };
        if sitting.stage != Stage::In || sitting.departure.is_some() || sitting.is_member {
            return false;
        }
        let seat = Arc::clone(&sitting.seat);
        let Some((name, common)) = seat.sole_channel(candidate.subscriber) else {
            return false;
        };
        if self.routes.get(&name).is_none_or(|it| it.len() < FEWEST) {
            return false;
        }
        let has_left = Arc::clone(&self.audiences.has_left);
        let place = self.audiences.open(name, &self.sittings, &self.routes);
        let heard = &mut self.audiences.all[place];
        let audience =
            heard.found_or_made(common, |common| Audience::new(common, has_left, signal));
        let is_member = audience.admit(id, &seat, candidate);
        if is_member {
            heard.remove_other(id);
            if let Some(sitting) = self.get_mut(id) {
                sitting.is_member = true;
            }
        } else {
            heard.audiences.retain(|audience| !audience.is_over());
            if heard.audiences.is_empty() {
                self.audiences.remove(place);
            }
        }
        is_member
    }

    /// Has the seats of a channel look for others that get the same, once there are enough.
    pub(super) fn note_seats(&self, members: &[SeatId], added: SeatId) {
        let among = |id: &SeatId| members.len() == FEWEST || *id == added;
        if members.len() >= FEWEST {
            for &id in members.iter().filter(|id| among(id)) {
                if let Some(sitting) = self.get(id) {
                    sitting.seat.look_for_others();
                }
            }
        }
    }
}

impl Feed {
    /// Has a consumer get its notifications together with others that get the same, if there are such and it waits with an empty buffer.
    /// `signal` makes what tells the environment of a new audience that there is something to drain. Does not wait for the feed.
    pub(crate) fn join_audience(
        &self,
        id: SeatId,
        candidate: &Candidate<'_>,
        signal: impl FnOnce(Weak<Audience>) -> Box<dyn Fn() + Send + Sync>,
    ) -> bool {
        let inner = self.inner.try_lock();
        inner.is_some_and(|mut inner| inner.seats.admit(id, candidate, signal))
    }
}

#[cfg(test)]
mod tests;
