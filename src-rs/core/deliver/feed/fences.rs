//! Fences that are on their way: notifications of our own that mark a place in the stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;

use super::Feed;
use super::seats::{SeatId, Stage};
use crate::base::error::{Error, Result};

/// The answer to who waits for a fence.
pub(crate) type Reply = oneshot::Sender<Result<()>>;

/// A number for a fence or a probe. No other of this process has it: two feeds may have one channel of fences.
pub(crate) fn next_fence() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}

/// A fence whose notification has not come back from the server yet.
pub(super) struct OpenFence {
    pub(super) seat: SeatId,
    /// The number that the listener gave it.
    pub(super) number: u32,
    pub(super) reply: Reply,
}

/// The fences that are open, by the number under which they are notified.
#[derive(Default)]
pub(super) struct OpenFences(HashMap<u32, OpenFence>);

impl OpenFences {
    pub(super) fn add(&mut self, id: u32, fence: OpenFence) {
        self.0.insert(id, fence);
    }

    /// Takes the fence that a notification on the channel of fences stands for. Anybody may notify any channel, so a payload
    /// that names no open fence is ignored.
    pub(super) fn take(&mut self, payload: &str) -> Option<OpenFence> {
        self.remove(payload.parse().ok()?)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<OpenFence> {
        self.0.remove(&id)
    }

    /// Takes the fences of one seat.
    pub(super) fn take_of(&mut self, seat: SeatId) -> Vec<(u32, OpenFence)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.extract_if(|_, fence| fence.seat == seat).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The numbers, from the lowest to the highest.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.0.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }
}

impl Feed {
    /// Registers a fence of a seat, whose listener knows it by `number`. The reply is sent when its notification has come back;
    /// if the feed or the seat is over before, it is dropped. Gives the number under which it is to be notified, or the reply
    /// back if the seat does not hear this feed.
    pub(crate) fn add_fence(
        &self,
        seat: SeatId,
        number: u32,
        reply: Reply,
    ) -> std::result::Result<u32, Reply> {
        let mut inner = self.inner.lock();
        let hears = |stage| matches!(stage, Stage::In | Stage::Joining { .. } | Stage::Crossed);
        let is_here = inner.seats.get(seat).is_some_and(|it| hears(it.stage));
        if inner.is_over || !is_here {
            return Err(reply);
        }
        let id = next_fence();
        let fence = OpenFence {
            seat,
            number,
            reply,
        };
        inner.fences.add(id, fence);
        Ok(id)
    }

    /// The fences whose notification has not come back, in the order of their numbers.
    pub(crate) fn open_fences(&self) -> Vec<u32> {
        self.inner.lock().fences.numbers()
    }

    /// Answers fences that the server refused to notify.
    pub(crate) fn refuse_fences(&self, ids: &[u32], error: &Error) {
        let mut inner = self.inner.lock();
        for id in ids {
            if let Some(fence) = inner.fences.remove(*id) {
                let _ = fence.reply.send(Err(error.clone()));
            }
            let refused = inner.arrival.take_if(|(_, arrival)| arrival.fence == *id);
            if let Some((_, mut arrival)) = refused {
                arrival.tell(Err(error.clone()));
            }
        }
    }
}
