//! Who sits at a feed, and where each channel's notifications go.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Feed;
use super::audiences::Audiences;
use crate::deliver::seat::{Event, Seat};
use crate::observe::label;

/// A seat's number at its feed. It is used again only when the supervisor has heard that the seat is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeatId(u32);

/// Seats in the order of their numbers. A few of them take no memory of their own.
pub(crate) type SeatIds = SmallVec<[SeatId; 4]>;

impl SeatId {
    /// The seat at this place of the list.
    pub(crate) fn of(place: u32) -> Self {
        Self(place)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How far a seat is at its feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its first LISTENs are not committed: it hears nothing, and a session that is lost meanwhile is no loss of its own.
    Joining {
        /// Whether it waits through attempts that fail.
        retries: bool,
    },
    /// It hears its channels.
    In,
    /// It comes from another feed, which it still hears.
    Arriving,
    /// The other feed has handed it over; this one has not come to the fence between the two.
    Crossed,
    /// Another feed has it now, and it has not left yet.
    HandedOver,
    /// It left. Its number is not free yet.
    Gone,
}

/// A seat that is about to hear another feed from a fence on.
pub(super) struct Departure {
    pub(super) fence: u32,
    pub(super) to: Arc<Feed>,
}

/// A seat at its feed.
pub(super) struct Sitting {
    pub(super) seat: Arc<Seat>,
    pub(super) stage: Stage,
    pub(super) departure: Option<Departure>,
    /// Whether its consumer is a member of an audience, as far as the feed has heard.
    pub(super) is_member: bool,
    /// The present batch's part for this seat; empty between batches.
    pub(super) staged: Vec<Staged>,
}

/// A place in a batch's part for one seat.
pub(super) enum Staged {
    /// The notification at this place of the batch.
    Notification(u32),
    /// The fence that the listener gave this number.
    Fence(u32),
}

impl Sitting {
    fn hears_of(&self, event: &Event) -> bool {
        match (event, self.stage) {
            (_, Stage::Gone | Stage::HandedOver) => false,
            (_, Stage::In)
            | (Event::Notice(_) | Event::Warning(_), _)
            | (Event::Disconnected { .. }, Stage::Crossed) => true,
            (
                Event::AttemptFailed { .. } | Event::Reconnecting { .. },
                Stage::Joining { retries },
            ) => retries,
            _ => false,
        }
    }
}

fn delay_of(seat: &Seat) -> (u64, Duration) {
    (seat.environment(), seat.max_delay())
}

/// The seats of a feed.
#[derive(Default)]
pub(super) struct Seats {
    pub(super) sittings: Vec<Option<Sitting>>,
    free: Vec<SeatId>,
    /// How many have not left.
    count: usize,
    /// How many of those are of listeners of an environment that allow a notification to wait so long for others. JavaScript's thread
    /// asks for each notification, so nothing here is found by a look at all seats.
    delays: BTreeMap<(u64, Duration), usize>,
    /// Who is subscribed to a channel, the lowest number first.
    pub(super) routes: HashMap<SmolStr, SeatIds>,
    /// The seat that is alone at the feed, if one is.
    sole: Option<SeatId>,
    /// The seats for which something of the present batch is staged.
    pub(super) touched: Vec<SeatId>,
    pub(super) audiences: Audiences,
}

impl Seats {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The longest that a notification may wait for others, as all listeners allow it. `None`: some of them are in another environment
    /// than this one, or there is none.
    pub(super) fn delay_in(&self, environment: u64) -> Option<Duration> {
        let ((first, shortest), _) = self.delays.first_key_value()?;
        let ((last, _), _) = self.delays.last_key_value()?;
        (*first == environment && *last == environment).then_some(*shortest)
    }

    pub(super) fn add(&mut self, seat: Arc<Seat>, stage: Stage) -> SeatId {
        *self.delays.entry(delay_of(&seat)).or_default() += 1;
        let sitting = Some(Sitting {
            seat,
            stage,
            departure: None,
            is_member: false,
            staged: Vec::new(),
        });
        self.count += 1;
        let id = if let Some(id) = self.free.pop() {
            self.sittings[id.index()] = sitting;
            id
        } else {
            self.sittings.push(sitting);
            SeatId(u32::try_from(self.sittings.len() - 1).unwrap_or(u32::MAX))
        };
        self.find_sole();
        id
    }

    /// Takes a seat out, whose number stays taken. `false`: it has left already.
    pub(super) fn leave(&mut self, id: SeatId) -> bool {
        match self.get_mut(id) {
            Some(sitting) if sitting.stage != Stage::Gone => {
                sitting.stage = Stage::Gone;
                if let Some(departure) = sitting.departure.take() {
                    departure.to.give_arrival_up(departure.fence);
                }
                let delay = delay_of(&sitting.seat);
                self.count -= 1;
                if let Entry::Occupied(mut seats) = self.delays.entry(delay) {
                    *seats.get_mut() -= 1;
                    if *seats.get() == 0 {
                        seats.remove();
                    }
                }
                self.part_from_audience(id);
                true
            }
            _ => false,
        }
    }

    /// Gives the number of a seat that has left back.
    pub(super) fn free(&mut self, id: SeatId) {
        if self.get(id).is_some_and(|it| it.stage == Stage::Gone) {
            self.sittings[id.index()] = None;
            self.free.push(id);
            self.find_sole();
        }
    }

    fn find_sole(&mut self) {
        let is_alone = self.sittings.len() - self.free.len() == 1;
        self.sole = is_alone.then(|| self.ids().next()).flatten();
    }

    pub(super) fn get(&self, id: SeatId) -> Option<&Sitting> {
        self.sittings.get(id.index())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SeatId) -> Option<&mut Sitting> {
        self.sittings.get_mut(id.index())?.as_mut()
    }

    /// The seat that is alone here, when all that comes is for it.
    pub(super) fn alone(&self) -> Option<(SeatId, &Arc<Seat>)> {
        let id = self.sole?;
        let sitting = self.get(id)?;
        let takes_all =
            sitting.stage == Stage::In && sitting.departure.is_none() && !sitting.is_member;
        takes_all.then_some((id, &sitting.seat))
    }

    /// The numbers of all, those that have left included.
    fn ids(&self) -> impl Iterator<Item = SeatId> + use<'_> {
        let numbered = (0_u32..).zip(&self.sittings);
        numbered.filter_map(|(number, sitting)| sitting.is_some().then_some(SeatId(number)))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Sitting> {
        self.sittings.iter().flatten()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Sitting> {
        self.sittings.iter_mut().flatten()
    }

    /// The seats that hear their channels.
    pub(super) fn hearing(&self) -> impl Iterator<Item = &Arc<Seat>> {
        let hearing = self.all().filter(|sitting| sitting.stage == Stage::In);
        hearing.map(|sitting| &sitting.seat)
    }

    /// Those whose listeners the session serves, or is about to.
    fn served(&self) -> impl Iterator<Item = &Arc<Seat>> {
        let leaving = |stage| matches!(stage, Stage::Gone | Stage::HandedOver);
        let served = self.all().filter(move |sitting| !leaving(sitting.stage));
        served.map(|sitting| &sitting.seat)
    }

    /// The names of the listeners in one line; `None` when none has a name.
    pub(super) fn label(&self) -> Option<String> {
        label(self.served().map(|seat| seat.name()))
    }

    pub(super) fn announce(&self, event: &Event) {
        for sitting in self.all().filter(|sitting| sitting.hears_of(event)) {
            sitting.seat.event(event.clone());
        }
    }

    /// Whether a listener has this seat, and has not left it.
    pub(super) fn is_taken(&self, id: SeatId) -> bool {
        self.get(id).is_some_and(|it| it.stage != Stage::Gone)
    }

    pub(super) fn add_channel(&mut self, id: SeatId, channel: &str) {
        if !self.is_taken(id) {
            return;
        }
        let members = self.routes.entry_ref(channel).or_default();
        // Who has the channel already hears it himself, or as a member of an audience.
        if let Err(place) = members.binary_search(&id) {
            members.insert(place, id);
            self.audiences.note_seat(channel, id, true);
        }
        if let Some(members) = self.routes.get(channel) {
            self.note_seats(members, id);
        }
    }

    pub(super) fn remove_channel(&mut self, id: SeatId, channel: &str) {
        self.audiences.note_seat(channel, id, false);
        let Some(members) = self.routes.get_mut(channel) else {
            return;
        };
        if let Ok(place) = members.binary_search(&id) {
            members.remove(place);
        }
        if members.is_empty() {
            self.routes.remove(channel);
        }
    }
}
