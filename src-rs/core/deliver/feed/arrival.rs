//! A seat that comes from another feed, exactly: it hears the other feed up to a fence that both hear, and this one from there on.
//!
//! Notifications have one order for all sessions of a server, so the fence is the same place in both streams.
//!
//! ```text
//! the other feed   n1  n2  F  .  .         up to F to the seat, then no more
//! this feed         .  n2  F  n3  n4       held from F on, until the other feed is at F too
//! ```
//!
//! All that decides is under this feed's lock, which is taken after the other one's. If either session is lost before the other
//! feed is at the fence, nothing has happened: the seat hears the other feed, and another fence is tried.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::due::Due;
use super::fences::{OpenFence, OpenFences};
use super::seats::{Departure, SeatId, Sitting, Stage};
use super::{Feed, Inner};
use crate::base::error::Result;
use crate::inbound::{ReceivedBatch, ReceivedNotification, Stop};

/// The most bytes that are held for a seat that arrives; then the session is not read until the other feed has come so far.
const MAX_HELD_BYTES: usize = 4 << 20;

/// What became of a fence: `Ok(true)`, the seat has come over; `Ok(false)`, a session was lost before.
pub(crate) type Crossing = oneshot::Receiver<Result<bool>>;

/// A seat that is on its way to this feed.
pub(super) struct Arrival {
    pub(super) fence: u32,
    /// What this feed's session has delivered from the fence on; `None` before the fence.
    pub(super) held: Option<Held>,
    /// Whether the other feed is at the fence and has handed the seat over.
    pub(super) is_released: bool,
    told: Option<oneshot::Sender<Result<bool>>>,
}

/// Batches from the fence on.
#[derive(Default)]
pub(super) struct Held {
    /// Each with the number of notifications at its beginning that stand before the fence, and the fence.
    pub(super) batches: Vec<(ReceivedBatch, usize)>,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, batch: ReceivedBatch, skipped: usize) -> Option<Stop> {
        self.bytes += batch.bytes();
        self.batches.push((batch, skipped));
        self.is_full().then_some(Stop::Pause)
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_HELD_BYTES
    }
}

impl Arrival {
    pub(super) fn new(fence: u32) -> (Self, Crossing) {
        let (told, crossing) = oneshot::channel();
        let arrival = Self {
            fence,
            held: None,
            is_released: false,
            told: Some(told),
        };
        (arrival, crossing)
    }

    pub(super) fn is_full(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_full)
    }

    /// Tells who waits for the crossing.
    pub(super) fn tell(&mut self, outcome: Result<bool>) {
        if let Some(told) = self.told.take() {
            // Whoever waited may have been shut down.
            let _ = told.send(outcome);
        }
    }
}

impl Feed {
    /// Hands a batch of the session that publishes to the seats.
    pub(super) fn take(
        &self,
        inner: &mut Inner,
        batch: &ReceivedBatch,
        due: &mut Due,
    ) -> Option<Stop> {
        if inner.arrival.is_none() {
            return self.route(inner, batch, 0, due);
        }
        let (id, mut arrival) = inner.arrival.take()?;
        if let Some(held) = &mut arrival.held {
            let stop = held.push(batch.clone(), 0);
            inner.arrival = Some((id, arrival));
            return stop;
        }
        let fence = arrival.fence.to_string();
        let is_fence =
            |it: ReceivedNotification<'_>| it.channel == self.fence_channel && it.payload == fence;
        let Some(place) = batch.read().0.position(is_fence) else {
            // The seat hears the other feed.
            inner.arrival = Some((id, arrival));
            return None;
        };
        if arrival.is_released {
            if let Some(sitting) = inner.seats.get_mut(id) {
                sitting.stage = Stage::In;
            }
            return self.route(inner, batch, place + 1, due);
        }
        let stop = arrival
            .held
            .get_or_insert_default()
            .push(batch.clone(), place + 1);
        inner.arrival = Some((id, arrival));
        stop
    }

    /// Lets an expected seat come over at a fence, which the other feed and this one hear. `None`: there is no session.
    pub(crate) fn await_arrival(&self, seat: SeatId, fence: u32) -> Option<Crossing> {
        let mut inner = self.inner.lock();
        inner.current?;
        let (arrival, crossing) = Arrival::new(fence);
        inner.arrival = Some((seat, arrival));
        Some(crossing)
    }

    /// A seat stays where it was.
    pub(crate) fn give_arrival_up(&self, fence: u32) {
        let mut inner = self.inner.lock();
        let pending =
            |(_, arrival): &mut (SeatId, Arrival)| arrival.fence == fence && !arrival.is_released;
        let given_up = inner.arrival.take_if(pending);
        drop(inner);
        if let Some((_, mut arrival)) = given_up {
            arrival.tell(Ok(false));
            self.changed.notify_waiters();
        }
    }

    /// Lets a seat go over to another feed at a fence. `false`: there is no session, or the seat is not here.
    pub(crate) fn depart(&self, seat: SeatId, fence: u32, to: &Arc<Self>) -> bool {
        let mut inner = self.inner.lock();
        let is_up = inner.current.is_some();
        inner.seats.part_from_audience(seat);
        let sitting = inner.seats.get_mut(seat);
        match sitting.filter(|sitting| is_up && sitting.stage == Stage::In) {
            Some(sitting) => {
                let to = Arc::clone(to);
                sitting.departure = Some(Departure { fence, to });
                true
            }
            None => false,
        }
    }

    /// A seat does not go to another feed.
    pub(crate) fn stay(&self, seat: SeatId) {
        if let Some(sitting) = self.inner.lock().seats.get_mut(seat) {
            sitting.departure = None;
        }
    }

    /// The other feed is at the fence, and the seat hears it no more. `fences` are those of the seat that are open. `false`: the
    /// seat stays there.
    fn release(&self, fence: u32, fences: &mut Vec<(u32, OpenFence)>) -> bool {
        let mut due = Due::default();
        let mut inner = self.inner.lock();
        let Some((id, mut arrival)) = inner.arrival.take_if(|(_, arrival)| arrival.fence == fence)
        else {
            return false;
        };
        for (number, fence) in fences.drain(..) {
            inner.fences.add(number, OpenFence { seat: id, ..fence });
        }
        arrival.is_released = true;
        arrival.tell(Ok(true));
        let held = arrival.held.take();
        if let Some(sitting) = inner.seats.get_mut(id) {
            sitting.stage = if held.is_some() {
                Stage::In
            } else {
                Stage::Crossed
            };
        }
        match held {
            Some(held) => {
                for (batch, skipped) in held.batches {
                    // A full consumer asks for its pause again with the next batch.
                    let _ = self.route(&mut inner, &batch, skipped, &mut due);
                }
            }
            None => inner.arrival = Some((id, arrival)),
        }
        drop(inner);
        drop(due);
        self.changed.notify_waiters();
        true
    }
}

/// Hands a seat over to the feed for which it departs, if that one still waits for it.
pub(super) fn hand_over(sitting: &mut Sitting, id: SeatId, fences: &mut OpenFences) {
    let Some(departure) = sitting.departure.take() else {
        return;
    };
    let mut open = fences.take_of(id);
    if departure.to.release(departure.fence, &mut open) {
        sitting.stage = Stage::HandedOver;
        return;
    }
    for (number, fence) in open {
        fences.add(number, fence);
    }
}
