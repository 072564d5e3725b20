//! Fences that are on their way: notifications of our own that mark a place in the stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;

use super::seats::SeatId;
use crate::base::error::Result;

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
