//! Consumers' buffers, as the facade drains it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use napi::bindgen_prelude::{Env, Function, Uint32Array};
use napi::sys;
use napi_derive::napi;
use parking_lot::Mutex;
use pglisten_core::base::Moment;
use pglisten_core::base::panic::contained;
use pglisten_core::deliver::buffer::{Bounds, Overflow, Subscriber};
use pglisten_core::deliver::seat::Seat;
use pglisten_core::fail_point;

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
        match made {
            Ok(payload) => Some(Handed {
                channel: notification.channel,
                process_id: notification.process_id,
                payload,
            }),
            Err(error) => {
                *self.failed.lock() = Some(error);
                self.subscriber.lose(&notification, 1);
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
        let values = drainer.drain(&env, max, &mut few);
        self.seat.made_room();
        if let Some(read) = few {
            self.kept_up(read);
        }
        values
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
}

contained_finalizer!(NativeSubscribers);

#[napi]
impl NativeSubscribers {
    #[napi(constructor, catch_unwind)]
    pub fn new(bridge: &Bridge) -> Self {
        Self {
            bridge: bridge.handle(),
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
                subscriber: Arc::new(Subscriber::new(bounds.into(), signal, counters)),
                failed: Mutex::default(),
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
        let drainer = Drainer::new(Arc::clone(&consumer.subscriber), numbers, &receive)?;
        env.create_function_from_closure("drain", move |call| {
            consumer.drain(&drainer, *call.env, call.first_arg()?)
        })
    }

    /// Arms the signal, if there is nothing to take, and says whether that is so: as a function of [`NativeSubscribers::drainer`] does
    /// that takes nothing. Most of thousands of consumers never need such a function.
    #[napi(catch_unwind)]
    pub fn arm(&self, subscriber: u32) -> napi::Result<bool> {
        Ok(self.get(subscriber)?.subscriber.arm())
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
