//! Hands the batches of a session to the seats that are subscribed to their channels.

use std::sync::Arc;

use super::arrival::hand_over;
use super::audiences::Sorted;
use super::due::Due;
use super::seats::{SeatId, Seats, Sitting, Stage, Staged};
use super::{Feed, Inner};
use crate::base::Moment;
use crate::deliver::buffer::Pressure;
use crate::deliver::seat::{Arrived, Seat, Unrouted};
use crate::inbound::{ReceivedBatch, ReceivedNotification, Stop};

impl Feed {
    /// Hands the part of a batch behind its first `skipped` notifications to the seats that are subscribed.
    pub(super) fn route(
        &self,
        inner: &mut Inner,
        batch: &ReceivedBatch,
        skipped: usize,
        due: &mut Due,
    ) -> Option<Stop> {
        let arrived = batch.read().0.skip(skipped);
        let Inner {
            seats,
            fences,
            overflowed,
            ..
        } = inner;
        let pressure = if let Some((id, seat)) = seats.alone() {
            let Due { ready, passed } = due;
            let unrouted = |channel: &str, payload: &str| {
                if channel != self.fence_channel {
                    return self.unrouted();
                }
                match fences.take(payload) {
                    Some(fence) => {
                        passed.push((fence.seat, fence.reply));
                        Unrouted::Fence(fence.number)
                    }
                    None => Unrouted::Expected,
                }
            };
            let arrived = arrived.map(Arrived::Notification);
            let pressure = seat.take_batch(batch.confirmed, arrived, unrouted, ready);
            note_overflow(overflowed, id, pressure);
            pressure
        } else {
            self.sort(inner, batch.confirmed, &arrived.collect::<Vec<_>>(), due)
        };
        if pressure == Pressure::Error {
            due.withhold(&inner.overflowed);
            self.overflowed.notify_one();
        }
        (pressure == Pressure::Pause).then_some(Stop::Pause)
    }

    /// Hands notifications to several seats.
    fn sort(
        &self,
        inner: &mut Inner,
        confirmed: Moment,
        arrived: &[ReceivedNotification<'_>],
        due: &mut Due,
    ) -> Pressure {
        let Inner {
            seats,
            fences,
            overflowed,
            ..
        } = inner;
        seats.settle_audiences();
        let Seats {
            sittings,
            routes,
            touched,
            audiences,
            ..
        } = seats;
        let batch = Sorted { confirmed, arrived };
        let mut pressure = Pressure::None;
        // Most of a batch is of one channel.
        let mut last: Option<(&str, Hearers<'_>)> = None;
        for (place, notification) in (0_u32..).zip(arrived) {
            let ReceivedNotification {
                channel, payload, ..
            } = *notification;
            let known = last.filter(|(name, _)| *name == channel).or_else(|| {
                let hearers = match audiences.place(channel) {
                    Some(heard) => Hearers::Audiences(heard),
                    None => Hearers::Seats(routes.get(channel)?),
                };
                Some((channel, hearers))
            });
            if let Some((_, hearers)) = known {
                last = known;
                let members = match hearers {
                    Hearers::Seats(members) => members,
                    Hearers::Audiences(heard) => audiences.stage(heard, place),
                };
                for &id in members {
                    stage(sittings, touched, id, Staged::Notification(place));
                }
            } else if channel == self.fence_channel {
                if let Some(fence) = fences.take(payload) {
                    let at = (&mut sittings[..], &mut *touched);
                    audiences.part_from(fence.seat, &batch, at, routes, &mut due.ready);
                    stage(sittings, touched, fence.seat, Staged::Fence(fence.number));
                    due.passed.push((fence.seat, fence.reply));
                } else if let Some((id, sitting)) = departing(sittings, payload) {
                    // What it has heard here comes before what is held for it there.
                    let felt = flush(sitting, confirmed, arrived, || self.unrouted(), due);
                    note_overflow(overflowed, id, felt);
                    pressure = pressure.max(felt);
                    // A listener that is at its end goes nowhere.
                    if !overflowed.contains(&id) {
                        hand_over(sitting, id, fences);
                    }
                }
            }
        }
        let at = (&mut sittings[..], &mut *touched);
        audiences.flush(&batch, at, routes, &mut due.ready);
        for id in touched.drain(..) {
            if let Some(Some(sitting)) = sittings.get_mut(id.index()) {
                let felt = flush(sitting, confirmed, arrived, || self.unrouted(), due);
                note_overflow(overflowed, id, felt);
                pressure = pressure.max(felt);
            }
        }
        pressure
    }

    /// How a notification is judged that no listener here is subscribed to. On a shared session it is one for a listener that has
    /// just left.
    fn unrouted(&self) -> Unrouted {
        if self.is_private {
            Unrouted::Unexpected
        } else {
            Unrouted::Expected
        }
    }

    /// Resolves when no consumer asks for a pause any more, and no more than is allowed is held for a seat that arrives.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that a change meanwhile is not missed.
            changed.as_mut().enable();
            let held_too_much = {
                let inner = self.inner.lock();
                let arrival = inner.arrival.as_ref();
                arrival.is_some_and(|(_, arrival)| arrival.is_full())
            };
            if !held_too_much {
                break;
            }
            changed.await;
        }
        let seats: Vec<Arc<Seat>> = self.inner.lock().seats.hearing().cloned().collect();
        for seat in seats {
            seat.wait_for_room().await;
        }
    }
}

/// Who hears a channel.
#[derive(Clone, Copy)]
enum Hearers<'seats> {
    /// Each for itself.
    Seats(&'seats [SeatId]),
    /// Audiences at this place, and seats beside them.
    Audiences(usize),
}

/// The seat that departs at the fence for which a payload stands.
fn departing<'seats>(
    sittings: &'seats mut [Option<Sitting>],
    payload: &str,
) -> Option<(SeatId, &'seats mut Sitting)> {
    let fence: u32 = payload.parse().ok()?;
    (0_u32..).zip(sittings).find_map(|(number, sitting)| {
        let sitting = sitting.as_mut()?;
        let departure = sitting.departure.as_ref()?;
        (departure.fence == fence).then_some((SeatId::of(number), sitting))
    })
}

/// Stages a place of a batch for a seat that hears its channels.
pub(super) fn stage(
    sittings: &mut [Option<Sitting>],
    touched: &mut Vec<SeatId>,
    id: SeatId,
    staged: Staged,
) {
    if let Some(Some(sitting)) = sittings.get_mut(id.index())
        && sitting.stage == Stage::In
    {
        if sitting.staged.is_empty() {
            touched.push(id);
        }
        sitting.staged.push(staged);
    }
}

/// Hands a seat what was staged for it.
fn flush(
    sitting: &mut Sitting,
    confirmed: Moment,
    arrived: &[ReceivedNotification<'_>],
    unrouted: impl Fn() -> Unrouted,
    due: &mut Due,
) -> Pressure {
    let staged = sitting.staged.drain(..).map(|staged| match staged {
        Staged::Notification(place) => Arrived::Notification(arrived[place as usize]),
        Staged::Fence(number) => Arrived::Fence(number),
    });
    sitting
        .seat
        .take_batch(confirmed, staged, |_, _| unrouted(), &mut due.ready)
}

/// Notes a seat of which a consumer overflowed under the policy `error`.
fn note_overflow(overflowed: &mut Vec<SeatId>, id: SeatId, pressure: Pressure) {
    if pressure == Pressure::Error && !overflowed.contains(&id) {
        overflowed.push(id);
    }
}
