//! Consumers of one environment that get the same notifications, out of one buffer.
//!
//! ```text
//!                    ┌──────────┐ drained once   ┌─ callback of member 1
//! feed ── one push ─►│  shared  │──────────────► ├─ callback of member 2
//!                    └──────────┘                └─ …
//! ```
//!
//! A consumer becomes a member while it waits with an empty buffer. It stops being one as soon as its stream differs from those of the
//! others: a fence, its end, another channel, a second consumer of its listener. Then what waits in the shared buffer is copied into its
//! own, and its seat takes part in each batch again.
//!
//! The lock of an audience is taken after those of a feed and of a seat, and before those of buffers. A member may leave on any thread
//! without the feed's lock, so it notes its seat in `left`, and the feed looks there before and after it sorts a batch.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::budget::Budget;
use super::buffer::{Bounds, Drained, Entry, Lost, Notification, Overflow, Staged, Subscriber};
use super::feed::SeatId;
use super::gap::Gap;
use super::seat::Seat;
use crate::observe::BufferCounters;

/// What all members of an audience have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// The number of their environment.
    pub environment: u64,
    /// The number that each of their facades gave the channel.
    pub channel: u32,
    /// The bounds of their buffers.
    pub bounds: Bounds,
    /// The budget of their pool.
    pub budget: Option<Arc<Budget>>,
}

impl PartialEq for Common {
    fn eq(&self, other: &Self) -> bool {
        let is_same_budget = match (&self.budget, &other.budget) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        is_same_budget
            && (self.environment, self.channel, self.bounds)
                == (other.environment, other.channel, other.bounds)
    }
}

/// Consumers that get the same notifications.
pub struct Audience {
    common: Common,
    shared: Arc<Subscriber>,
    /// Counts what the shared buffer drops.
    counters: Arc<BufferCounters>,
    inner: Mutex<Inner>,
    /// Set when `left` gets a seat; the same for all audiences of a feed.
    has_left: Arc<AtomicBool>,
}

#[derive(Default)]
struct Inner {
    /// By the ids of the consumers.
    members: BTreeMap<u32, Member>,
    /// Changes with the members.
    generation: u32,
    /// The members; `None` when they have changed since somebody wanted to know.
    known: Option<Members>,
    /// The seats of members that left, of which the feed has not heard.
    left: Vec<SeatId>,
    /// How many notifications were pushed.
    received: u64,
    /// The part of the present batch; empty between batches.
    staged: Staged,
}

/// The members of an audience at one moment.
#[derive(Debug, Clone)]
pub struct Members {
    /// Their ids, in order.
    pub ids: Arc<[u32]>,
    /// Their own buffers, in the same order.
    buffers: Arc<[Weak<Subscriber>]>,
    /// Changes with the members.
    pub generation: u32,
}

impl Inner {
    fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.known = None;
    }

    fn known(&mut self) -> Members {
        let Self {
            members,
            known,
            generation,
            ..
        } = self;
        let known = known.get_or_insert_with(|| Members {
            ids: members.keys().copied().collect(),
            buffers: members.values().map(|it| it.buffer.clone()).collect(),
            generation: *generation,
        });
        known.clone()
    }
}

/// A consumer of an audience, and the counts of the audience that its listener's counters have already.
struct Member {
    seat_id: SeatId,
    seat: Weak<Seat>,
    buffer: Weak<Subscriber>,
    received: u64,
    dropped: u64,
}

/// Where a consumer is a member: as such it has nothing in its own buffer.
pub(super) struct Membership {
    audience: Arc<Audience>,
    id: u32,
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}

/// A consumer that is to become a member.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The id under which the environment finds it, and by which members are in order.
    pub id: u32,
    /// Its buffer.
    pub subscriber: &'a Arc<Subscriber>,
}

impl Audience {
    /// An audience without members. `has_left` is set when a member leaves; `signal` makes what is called when there is something to drain.
    pub(super) fn new(
        common: Common,
        has_left: Arc<AtomicBool>,
        signal: impl FnOnce(Weak<Self>) -> Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let counters = Arc::<BufferCounters>::default();
        Arc::new_cyclic(|audience| {
            let signal = signal(Weak::clone(audience));
            let shared = Subscriber::new(common.bounds, signal, Arc::clone(&counters));
            shared.arm();
            let shared = match &common.budget {
                Some(budget) => shared.within(budget),
                None => Arc::new(shared),
            };
            Self {
                common,
                shared,
                counters,
                inner: Mutex::default(),
                has_left,
            }
        })
    }

    /// Whether consumers with these bounds can have one buffer: a policy that affects a session is each listener's own.
    pub(super) fn allows(bounds: &Bounds) -> bool {
        matches!(bounds.overflow, Overflow::DropOldest | Overflow::DropNewest)
    }

    pub(super) fn is_of(&self, common: &Common) -> bool {
        self.common == *common
    }

    /// Takes a consumer in that waits with an empty buffer. `false`: it does not, or the members have not taken everything.
    pub(super) fn admit(
        self: &Arc<Self>,
        seat_id: SeatId,
        seat: &Arc<Seat>,
        candidate: &Candidate<'_>,
    ) -> bool {
        let mut inner = self.inner.lock();
        let membership = Membership {
            audience: Arc::clone(self),
            id: candidate.id,
        };
        if !self.shared.is_empty() || !candidate.subscriber.become_member(membership) {
            return false;
        }
        let member = Member {
            seat_id,
            seat: Arc::downgrade(seat),
            buffer: Arc::downgrade(candidate.subscriber),
            received: inner.received,
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        };
        inner.members.insert(candidate.id, member);
        inner.changed();
        true
    }

    /// Adds notifications for all members. Gives the seats of those that
    /// have left, which get these notifications themselves.
    pub(super) fn push<'batch>(
        &self,
        notifications: impl Iterator<Item = (Notification, &'batch [u8])>,
        ready: &mut Vec<Arc<Subscriber>>,
    ) -> Vec<SeatId> {
        let mut inner = self.inner.lock();
        let left = take(&mut inner.left);
        if inner.members.is_empty() {
            return left;
        }
        for (notification, payload) in notifications {
            let channel = self.common.channel;
            let notification = Notification {
                channel,
                ..notification
            };
            inner.staged.push(notification, payload);
            inner.received += 1;
        }
        if !inner.staged.is_empty() {
            let mut change = self.shared.change_for(&inner.staged);
            // No policy of an audience is felt by a session.
            let _ = change.push_all(&mut inner.staged);
            if change.finish() {
                ready.push(Arc::clone(&self.shared));
            }
        }
        left
    }

    /// Gives all members the gap before a verified session, and says whose seats get it themselves.
    pub(super) fn insert_gap(&self, gap: &Gap) -> Vec<SeatId> {
        let mut inner = self.inner.lock();
        let left = take(&mut inner.left);
        if !inner.members.is_empty() {
            self.shared.change().insert_gap(gap.clone());
        }
        left
    }

    /// Takes the seats of members that have left since the last look.
    pub(super) fn take_left(&self) -> Vec<SeatId> {
        take(&mut self.inner.lock().left)
    }

    /// Whether nobody is left, and the feed has heard of all who were.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.inner.lock();
        inner.members.is_empty() && inner.left.is_empty()
    }

    /// Takes up to `max` entries out of the shared buffer and shows each to `show`, as [`Subscriber::drain`] does. Gives the members for
    /// whom they are, too. No lock is held while entries are shown: whoever leaves meanwhile is still one of those.
    pub fn drain(&self, max: usize, show: impl FnMut(Entry, &[u8])) -> (Drained, Members) {
        let mut inner = self.inner.lock();
        let taken = self.shared.take(max);
        let members = inner.known();
        drop(inner);
        (self.shared.show(taken, show), members)
    }

    /// Puts back what could not be handed over to these members, as [`Subscriber::lose`] does. Those who have left since get it in their
    /// own buffers.
    pub fn lose(&self, lost: &Lost, members: &Members) {
        let inner = self.inner.lock();
        // Under the lock: whoever leaves later takes it along.
        if !inner.members.is_empty() {
            self.shared.lose(lost.clone());
        }
        let of = members.ids.iter().zip(&*members.buffers);
        let left: Vec<_> = of
            .filter(|(id, _)| !inner.members.contains_key(id))
            .filter_map(|(_, buffer)| buffer.upgrade())
            .collect();
        drop(inner);
        for buffer in left {
            buffer.lose(lost.clone());
        }
    }

    /// Adds what was counted for a member to its listener's counters.
    fn settle(&self, inner: &mut Inner, id: u32) {
        let received = inner.received;
        let Some(member) = inner.members.get_mut(&id) else {
            return;
        };
        let dropped = self.counters.dropped.load(Ordering::Relaxed);
        if let Some(seat) = member.seat.upgrade() {
            let counters = &seat.counters;
            let more = received - member.received;
            counters.received.fetch_add(more, Ordering::Relaxed);
            let more = dropped - member.dropped;
            counters.buffers.dropped.fetch_add(more, Ordering::Relaxed);
        }
        (member.received, member.dropped) = (received, dropped);
    }
}

impl Membership {
    pub(super) fn shared(&self) -> &Subscriber {
        &self.audience.shared
    }

    /// Counts for the listener what it was sent as a member so far.
    pub(super) fn settle(&self) {
        let mut inner = self.audience.inner.lock();
        self.audience.settle(&mut inner, self.id);
    }

    /// Ends the membership. `take_over` is called for a member, while the shared buffer does not change.
    pub(super) fn end(&self, take_over: impl FnOnce(&Subscriber)) {
        let Self { audience, id } = self;
        let mut inner = audience.inner.lock();
        audience.settle(&mut inner, *id);
        let Some(member) = inner.members.remove(id) else {
            return;
        };
        inner.changed();
        inner.left.push(member.seat_id);
        audience.has_left.store(true, Ordering::Release);
        take_over(&audience.shared);
        if inner.members.is_empty() {
            audience.shared.forget();
        }
    }
}
