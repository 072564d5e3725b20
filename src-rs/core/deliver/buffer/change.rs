//! Locks of a buffer: whoever holds one may change the buffer, and the pool's budget is told of its bytes in the end.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::{Pressure, Staged, State, Subscriber};

/// The locked inside of a buffer.
pub(super) struct Locked<'a> {
    subscriber: &'a Subscriber,
    state: MutexGuard<'a, State>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Subscriber {
            budget, counted, ..
        } = self.subscriber;
        let Some(budget) = budget else { return };
        // Only whoever holds the lock changes it.
        let (before, now) = (counted.load(Ordering::Relaxed), self.state.bytes());
        if now != before {
            counted.store(now, Ordering::Relaxed);
            budget.recount(before, now);
        }
    }
}

/// A change of a buffer that is under way. The buffer is locked meanwhile; when the change ends, an armed consumer that has
/// something to take is signalled, after the lock was released: the consumer's thread wants it at once.
pub(in crate::deliver) struct Change<'a> {
    subscriber: &'a Subscriber,
    /// `None` once the change has ended.
    state: Option<Locked<'a>>,
}

impl Deref for Change<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_deref().expect("a change that is under way")
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state
            .as_deref_mut()
            .expect("a change that is under way")
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if self.finish() {
            self.subscriber.signal();
        }
    }
}

impl Change<'_> {
    /// Adds the consumer's part of a batch, and empties that.
    pub(in crate::deliver) fn push_all(&mut self, staged: &mut Staged) -> Pressure {
        let subscriber = self.subscriber;
        subscriber.push_all(self, staged)
    }

    /// Ends the change. Says whether the consumer is to be signalled, which is then up to the caller.
    #[must_use]
    pub(in crate::deliver) fn finish(&mut self) -> bool {
        let Some(mut state) = self.state.take() else {
            return false;
        };
        let is_ready = state.armed && (!state.queue.is_empty() || state.end.is_some());
        if is_ready {
            state.armed = false;
        }
        drop(state);
        if let Some(budget) = &self.subscriber.budget {
            // A buffer that drops its oldest has taken what came: the largest gives way, which may be this one.
            budget.make_room();
        }
        is_ready
    }
}

impl Subscriber {
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked {
            subscriber: self,
            state: self.state.lock(),
        }
    }

    /// Locks the buffer for a change, which ends a membership. An armed consumer is signalled when the guard is dropped.
    pub(in crate::deliver) fn change(&self) -> Change<'_> {
        self.leave_audience();
        Change {
            subscriber: self,
            state: Some(self.lock()),
        }
    }

    /// Locks the buffer for its part of a batch. Larger buffers of the pool have given way where this one would overflow otherwise.
    pub(in crate::deliver) fn change_for(&self, staged: &Staged) -> Change<'_> {
        if let Some(budget) = self.budget.as_ref().filter(|_| !self.gives_way()) {
            let own = self.counted() + staged.0.bytes;
            budget.make_room_for(staged.0.bytes, own, &self.fruitless);
        }
        self.change()
    }
}
