//! Consumers' buffers, as the facade drains it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use napi::bindgen_prelude::{Env, Function, Uint32Array};
use napi::sys;
use napi_derive::napi;
use parking_lot::Mutex;
use pglisten_core::base::Moment;
use pglisten_core::base::panic::contained;
use pglisten_core::deliver::audience::Candidate;
use pglisten_core::deliver::buffer::{Bounds, Lost, Overflow, Subscriber};
use pglisten_core::deliver::seat::Seat;
use pglisten_core::fail_point;

use super::audiences::Audiences;
use super::selection::NativeSelection;
use super::{Listener, NativeListeners, unknown};
use crate::binding::batch::{Drainer, Value};
use crate::binding::bridge::{Bridge, BridgeHandle};
use crate::binding::finalize::contained_finalizer;
use crate::binding::wake::{Handed, Payloads, Receiver};

/// Notifications come steadily when they are no further apart than this, in microseconds.
const STEADY_US: u64 = 10_000;

/// The policy for a notification for which there is no room.
#[napi(string_enum = "camelCase")]
pub enum NativeOverflow {
    DropOldest,
    DropNewest,
    Pause,
    Error,
}

impl From<NativeOverflow> for Overflow {
    fn from(overflow: NativeOverflow) -> Self {
        match overflow {
            NativeOverflow::DropOldest => Self::DropOldest,
            NativeOverflow::DropNewest => Self::DropNewest,
            NativeOverflow::Pause => Self::Pause,
            NativeOverflow::Error => Self::Error,
        }
    }
}

/// The bounds of a consumer's buffer.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeBounds {
    pub max_messages: u32,
    pub max_bytes: f64,
    #[napi(ts_type = "`${NativeOverflow}`")]
    pub overflow: NativeOverflow,
}

impl From<NativeBounds> for Bounds {
    fn from(bounds: NativeBounds) -> Self {
        Self {
            max_messages: bounds.max_messages as usize,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked in TypeScript"
            )]
            max_bytes: bounds.max_bytes as usize,
            overflow: bounds.overflow.into(),
        }
    }
}

/// Counts of one consumer.
#[napi(object, object_from_js = false)]
pub struct NativeSubscriberStats {
    pub buffered: f64,
    pub buffered_bytes: f64,
    pub oldest_age_ms: Option<f64>,
    /// Of the batch that was drained last.
    pub drained_age_ms: Option<f64>,
}

/// A consumer, and the seat that fills its buffer.
struct Consumer {
    seat: Arc<Seat>,
    subscriber: Arc<Subscriber>,
    /// Why a notification could not be handed over; told to whoever drains next.
    failed: Mutex<Option<napi::Error>>,
    /// The listener, until it is collected.
    listener: Weak<Listener>,
    bridge: BridgeHandle,
    /// When the last notification was read, in microseconds since 1970, after which there was nothing to take.
    last_read: AtomicU64,
    /// The id under which the facade has the consumer.
    id: u32,
    /// Whether the facade takes what comes for several consumers together.
    joins: AtomicBool,
    /// Whether it is among those who are to join when the members have taken everything.
    waits_to_join: AtomicBool,
    audiences: Arc<Audiences>,
}

impl Receiver for Consumer {
    fn hand_over(&self, env: sys::napi_env, payloads: &mut Payloads) -> Option<Handed> {
        let (notification, made) = self.subscriber.hand_over(|notification, payload| {
            let made = contained("handing a notification over", || {
                fail_point!("hand-over");
                payloads.string(env, payload, notification.is_ascii)
            });
            let made = made.unwrap_or_else(|panic| Err(napi::Error::from_reason(panic.message)));
            (*notification, made)
        })?;
        self.seat.made_room();
        self.kept_up(notification.received);
        self.join();
        match made {
            Ok(payload) => Some(Handed {
                channel: notification.channel,
                process_id: notification.process_id,
                payload,
            }),
            Err(error) => {
                *self.failed.lock() = Some(error);
                self.subscriber.lose(Lost {
                    first: Some(notification),
                    count: 1,
                    ..Lost::default()
                });
                None
            }
        }
    }
}

impl Consumer {
    /// Takes the next entries, as [`Drainer::drain`] does.
    fn drain(&self, drainer: &Drainer, env: Env, max: u32) -> napi::Result<Value> {
        if let Some(error) = self.failed.lock().take() {
            return Err(error);
        }
        let mut few = None;
        let values = drainer.drain(&mut &*self.subscriber, &env, max, &mut few);
        self.seat.made_room();
        if let Some(read) = few {
            self.kept_up(read);
        }
        if drainer.found_nothing() {
            self.join();
        }
        values
    }

    /// Gets what comes together with others from now on, if there are any that get the same, and it waits for it.
    fn join(&self) {
        if !self.seat.may_join() || !self.joins.load(Ordering::Relaxed) {
            return;
        }
        let Some(listener) = self.listener.upgrade() else {
            return;
        };
        let handle = listener.handle.lock();
        let candidate = Candidate {
            id: self.id,
            subscriber: &self.subscriber,
        };
        let is_member = handle
            .as_ref()
            .is_some_and(|it| it.join_audience(&candidate, |made| self.audiences.signal_of(made)));
        // The members may have something to take, or the feed was busy: then it is tried again once they have taken everything.
        if !is_member && self.seat.may_join() && !self.waits_to_join.swap(true, Ordering::Relaxed) {
            self.audiences.note_candidate(self.id);
        }
    }

    /// All has been taken up to a notification that was read at this moment. Where they come steadily, this thread reads the session
    /// itself from now on.
    fn kept_up(&self, read: Moment) {
        // It does so already.
        if self.bridge.is_settling() {
            return;
        }
        let read = read.microseconds();
        let last = self.last_read.swap(read, Ordering::Relaxed);
        if read.saturating_sub(last) < STEADY_US {
            self.bridge.borrow_listening(|| {
                let listener = self.listener.upgrade()?;
                let handle = listener.handle.lock();
                handle.as_ref()?.lend()
            });
        }
    }
}

/// A consumer that is no longer wanted when this is dropped.
struct Wanted(Arc<Consumer>);

impl Drop for Wanted {
    fn drop(&mut self) {
        let Consumer {
            seat, subscriber, ..
        } = &*self.0;
        seat.remove_subscriber(subscriber);
    }
}

/// The bounded buffers of the consumers of an environment, each by the id of its consumer: as listeners, they are no objects of
/// JavaScript.
#[napi(custom_finalize)]
pub struct NativeSubscribers {
    bridge: BridgeHandle,
    all: RefCell<HashMap<u32, Wanted>>,
    audiences: Arc<Audiences>,
}

contained_finalizer!(NativeSubscribers);

#[napi]
impl NativeSubscribers {
    #[napi(constructor, catch_unwind)]
    pub fn new(bridge: &Bridge) -> Self {
        let bridge = bridge.handle();
        Self {
            audiences: Arc::new(Audiences::new(bridge.clone())),
            bridge,
            all: RefCell::default(),
        }
    }

    /// Makes the buffer of a consumer of a listener. `channels` are names; `null` wants every subscribed channel. `selection`: what
    /// of them reaches the consumer; `null` for everything as it comes.
    #[napi(catch_unwind)]
    pub fn make(
        &self,
        subscriber: u32,
        listeners: &NativeListeners,
        listener: u32,
        bounds: NativeBounds,
        channels: Option<Vec<String>>,
        selection: Option<NativeSelection>,
    ) -> napi::Result<()> {
        let listener = listeners.get(listener)?;
        let seat = &listener.seat;
        let bridge = self.bridge.clone();
        let consumer = Arc::new_cyclic(|consumer: &Weak<Consumer>| {
            let consumer = Weak::clone(consumer);
            let reading = bridge.clone();
            let signal = Box::new(move || bridge.signal_or_hand(subscriber, consumer.clone()));
            let counters = Arc::clone(&seat.counters.buffers);
            Consumer {
                listener: Arc::downgrade(&listener),
                bridge: reading,
                last_read: AtomicU64::new(0),
                seat: Arc::clone(seat),
                subscriber: Subscriber::new(bounds.into(), signal, counters)
                    .within(&listener.buffers),
                failed: Mutex::default(),
                id: subscriber,
                joins: AtomicBool::new(false),
                waits_to_join: AtomicBool::new(false),
                audiences: Arc::clone(&self.audiences),
            }
        });
        let selection = selection.map(Into::into).unwrap_or_default();
        seat.add_selective(Arc::clone(&consumer.subscriber), channels, selection);
        self.all.borrow_mut().insert(subscriber, Wanted(consumer));
        Ok(())
    }

    /// Forgets a consumer, and what is buffered for it. Nothing happens when there is none of this id.
    #[napi(catch_unwind)]
    pub fn forget(&self, subscriber: u32) {
        let forgotten = self.all.borrow_mut().remove(&subscriber);
        drop(forgotten);
    }

    fn get(&self, subscriber: u32) -> napi::Result<Arc<Consumer>> {
        let all = self.all.borrow();
        let found = all.get(&subscriber).map(|it| Arc::clone(&it.0));
        found.ok_or_else(|| unknown("consumer", subscriber))
    }

    /// A function that takes the next entries: at most as many as it is told, and as `numbers` has room for. It gives what
    /// `receive` makes of their values, or the value of a single one. None at all arms the signal.
    #[napi(ts_return_type = "(max: number) => unknown", catch_unwind)]
    pub fn drainer<'env>(
        &self,
        env: &'env Env,
        subscriber: u32,
        numbers: Uint32Array,
        #[napi(ts_arg_type = "(...values: Array<unknown>) => Array<unknown>")] receive: Function<
            '_,
            (),
            (),
        >,
    ) -> napi::Result<Function<'env, (), Value>> {
        let consumer = self.get(subscriber)?;
        let drainer = Drainer::new(numbers, &receive)?;
        env.create_function_from_closure("drain", move |call| {
            consumer.drain(&drainer, *call.env, call.first_arg()?)
        })
    }

    /// Arms the signal, if there is nothing to take, and says whether that is so: as a function of [`NativeSubscribers::drainer`] does
    /// that takes nothing. Most of thousands of consumers never need such a function.
    #[napi(catch_unwind)]
    pub fn arm(&self, subscriber: u32) -> napi::Result<bool> {
        let consumer = self.get(subscriber)?;
        let is_armed = consumer.subscriber.arm();
        if is_armed {
            consumer.join();
        }
        Ok(is_armed)
    }

    /// Says whether the consumer takes what comes for several consumers together. If not, what waits for it there is in its own buffer
    /// from now on.
    #[napi(catch_unwind)]
    pub fn set_joins(&self, subscriber: u32, joins: bool) -> napi::Result<()> {
        let consumer = self.get(subscriber)?;
        consumer.joins.store(joins, Ordering::Relaxed);
        if !joins {
            consumer.subscriber.leave_audience();
        }
        Ok(())
    }

    /// The consumer has more to do before it can take what follows: it will drain its own buffer before it is signalled again.
    #[napi(catch_unwind)]
    pub fn leave_audience(&self, subscriber: u32) -> napi::Result<()> {
        let consumer = self.get(subscriber)?;
        consumer.subscriber.leave_audience();
        consumer.subscriber.stop_handing();
        Ok(())
    }

    /// A function that takes the next entries for consumers that get the same, as one of [`NativeSubscribers::drainer`] does; `null`
    /// when there are none. `about` gets two numbers: that of the audience, and one that changes with its members. From now on `reader`
    /// is signalled when there is something to take.
    #[napi(ts_return_type = "(max: number) => unknown", catch_unwind)]
    pub fn audience_drainer<'env>(
        &self,
        env: &'env Env,
        reader: u32,
        numbers: Uint32Array,
        about: Uint32Array,
        #[napi(ts_arg_type = "(...values: Array<unknown>) => Array<unknown>")] receive: Function<
            '_,
            (),
            (),
        >,
    ) -> napi::Result<Function<'env, (), Option<Value>>> {
        self.audiences.set_reader(reader);
        let audiences = Arc::clone(&self.audiences);
        let drainer = Drainer::new(numbers, &receive)?;
        let about = RefCell::new(about);
        env.create_function_from_closure("drainAudience", move |call| {
            let Ok(mut about) = about.try_borrow_mut() else {
                return Err(napi::Error::from_reason("a batch is being made"));
            };
            // Safety: JavaScript is waiting for this call.
            let about = unsafe { about.as_mut() };
            audiences.drain(&drainer, *call.env, call.first_arg()?, about)
        })
    }

    /// The ids of the consumers for whom the last entries were, in order.
    #[napi(catch_unwind)]
    pub fn audience_members(&self) -> Uint32Array {
        let members = self.audiences.last_members();
        Uint32Array::new(members.to_vec())
    }

    /// Has those join an audience who could not before its members had taken everything, as they have now.
    #[napi(catch_unwind)]
    pub fn admit_to_audiences(&self) {
        for id in self.audiences.take_candidates() {
            if let Ok(consumer) = self.get(id) {
                consumer.waits_to_join.store(false, Ordering::Relaxed);
                consumer.join();
            }
        }
    }

    /// One of them has taken all that there was, up to what was read at the last drain.
    #[napi(catch_unwind)]
    pub fn audience_kept_up(&self) {
        let Some((id, read)) = self.audiences.take_kept_up() else {
            return;
        };
        if let Ok(consumer) = self.get(id) {
            consumer.kept_up(read);
        }
    }

    /// The consumer was handed a notification that it cannot take yet: it will drain before it is signalled again.
    #[napi(catch_unwind)]
    pub fn stop_handing(&self, subscriber: u32) -> napi::Result<()> {
        self.get(subscriber)?.subscriber.stop_handing();
        Ok(())
    }

    /// Changes what reaches the consumer, also of what is buffered; `null` for everything as it comes.
    #[napi(catch_unwind)]
    pub fn set_selection(
        &self,
        subscriber: u32,
        selection: Option<NativeSelection>,
    ) -> napi::Result<()> {
        let consumer = self.get(subscriber)?;
        let selection = selection.map(Into::into).unwrap_or_default();
        consumer.seat.set_selection(&consumer.subscriber, selection);
        Ok(())
    }

    /// Changes the channels that are wanted; `null` wants all.
    #[napi(catch_unwind)]
    pub fn set_channels(&self, subscriber: u32, channels: Option<Vec<String>>) -> napi::Result<()> {
        let consumer = self.get(subscriber)?;
        consumer.seat.set_wanted(&consumer.subscriber, channels);
        Ok(())
    }

    /// Adds or removes one wanted channel.
    #[napi(catch_unwind)]
    pub fn set_channel(&self, subscriber: u32, channel: String, wanted: bool) -> napi::Result<()> {
        let consumer = self.get(subscriber)?;
        consumer
            .seat
            .set_wants(&consumer.subscriber, &channel, wanted);
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn stats(&self, subscriber: u32) -> napi::Result<NativeSubscriberStats> {
        let stats = self.get(subscriber)?.subscriber.stats();
        Ok(NativeSubscriberStats {
            buffered: stats.buffered as f64,
            buffered_bytes: stats.buffered_bytes as f64,
            oldest_age_ms: stats.oldest_age.map(|age| age.as_secs_f64() * 1000.0),
            drained_age_ms: stats.drained_age.map(|age| age.as_secs_f64() * 1000.0),
        })
    }
}
