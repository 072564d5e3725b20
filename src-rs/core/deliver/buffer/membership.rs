//! A buffer whose consumer is a member of an audience: as long as it is, its entries stand in the audience's buffer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::queue::{Block, Dropped, Queue};
use super::{Drained, Entry, MAX_DRAINED_BYTES, Subscriber};
use crate::deliver::audience::Membership;

/// Entries that were taken out of a shared buffer.
pub(in crate::deliver) struct Taken {
    block: Block,
    /// Whether none was left.
    is_empty: bool,
}

impl Subscriber {
    /// Whether nothing waits here.
    pub(in crate::deliver) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Makes the consumer a member, if it waits with an empty buffer.
    pub(in crate::deliver) fn become_member(&self, membership: Membership) -> bool {
        let state = self.lock();
        let waits = state.armed && state.queue.is_empty() && state.end.is_none();
        if !waits || state.queue.coalesces() {
            return false;
        }
        *self.membership.lock() = Some(Arc::new(membership));
        self.is_member.store(true, Ordering::Release);
        true
    }

    /// The membership, while there is one.
    pub(super) fn membership(&self) -> Option<Arc<Membership>> {
        if !self.is_member.load(Ordering::Acquire) {
            return None;
        }
        self.membership.lock().clone()
    }

    /// Leaves the audience, if the consumer is a member of one: what waits there is copied, as far as the pool has room for it, and stands
    /// here from now on.
    pub fn leave_audience(&self) {
        let Some(membership) = self.membership() else {
            return;
        };
        if let Some(budget) = &self.budget
            && self.lock().end.is_none()
        {
            // Larger buffers give way before this one does.
            let bytes = membership.shared().counted();
            budget.make_room_for(bytes, bytes, &self.fruitless);
        }
        let mut is_ready = false;
        // Whoever else wants to change this buffer waits for the audience's lock, as long as the consumer is a member.
        membership.end(|shared| {
            let shared = shared.lock();
            let mut state = self.lock();
            state.drained_received = shared.drained_received;
            if state.end.is_none() {
                self.copy(&shared.queue, &mut state.queue);
            }
            is_ready = state.armed && !state.queue.is_empty();
            state.armed &= !is_ready;
            // The consumer may not have taken all of what it got together with the others: what follows has to wait here.
            state.takes_handed = false;
            // Here, since from the end of this on the consumer may become a member again.
            self.is_member.store(false, Ordering::Release);
            *self.membership.lock() = None;
        });
        if let Some(budget) = &self.budget {
            budget.make_room();
        }
        if is_ready {
            self.signal();
        }
    }

    /// Copies what waits in a shared buffer into this one, which is empty. That for which the pool has no room is dropped by this
    /// consumer's policy before it is copied, since thousands may leave at once.
    fn copy(&self, shared: &Queue, own: &mut Queue) {
        let room = match &self.budget {
            Some(budget) => budget.allowed(self.counted(), shared.bytes),
            None => shared.bytes,
        };
        let drops = if self.gives_way() {
            Dropped::Oldest
        } else {
            Dropped::Newest
        };
        let dropped = own.copy(shared, room, drops);
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Counts for the listener what it was sent as a member so far.
    pub(in crate::deliver) fn settle(&self) {
        if let Some(membership) = self.membership() {
            membership.settle();
        }
    }

    /// Takes up to `max` entries of the buffer that an audience shares. Taking none arms it.
    pub(in crate::deliver) fn take(&self, max: usize) -> Taken {
        let mut state = self.lock();
        let first = state.queue.take_block(max, MAX_DRAINED_BYTES);
        let Some(mut first) = first else {
            state.armed = true;
            state.queue.rest();
            return Taken {
                block: Block::default(),
                is_empty: true,
            };
        };
        state.drained_received = first.received();
        let block = if first.len() > max {
            let taken = first.split(max);
            state.queue.give_back(first);
            taken
        } else {
            first
        };
        Taken {
            block,
            is_empty: state.queue.is_empty(),
        }
    }

    /// Shows what was taken.
    pub(in crate::deliver) fn show(
        &self,
        taken: Taken,
        mut show: impl FnMut(Entry, &[u8]),
    ) -> Drained {
        let Taken {
            mut block,
            is_empty,
        } = taken;
        let mut shown = 0;
        while block.take(&mut show).is_some() {
            shown += 1;
        }
        self.lock().queue.give_back(block);
        Drained {
            shown,
            is_empty,
            end: None,
        }
    }

    /// Forgets what waits, since nobody will take it.
    pub(in crate::deliver) fn forget(&self) {
        self.lock().queue.clear();
    }
}
