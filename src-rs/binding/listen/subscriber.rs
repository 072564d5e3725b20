//! A consumer's buffer, as the facade drains it.

use std::sync::Arc;

use napi::bindgen_prelude::{Env, Function, Uint32Array};
use napi_derive::napi;
use pglisten_core::deliver::buffer::{Bounds, Overflow, Subscriber};
use pglisten_core::deliver::seat::Seat;

use super::NativeListener;
use crate::binding::batch::{Drainer, Value};
use crate::binding::bridge::Bridge;
use crate::binding::finalize::contained_finalizer;

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

/// The bounded buffer of one consumer. Collected as garbage, it takes nothing more.
#[napi(custom_finalize)]
pub struct NativeSubscriber {
    seat: Arc<Seat>,
    subscriber: Arc<Subscriber>,
}

contained_finalizer!(NativeSubscriber);

impl Drop for NativeSubscriber {
    fn drop(&mut self) {
        self.seat.remove_subscriber(&self.subscriber);
    }
}

#[napi]
impl NativeSubscriber {
    /// `channels` are names; `null` wants every subscribed channel. `signal` is the id of the consumer.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        bridge: &Bridge,
        listener: &NativeListener,
        bounds: NativeBounds,
        channels: Option<Vec<String>>,
        signal: u32,
    ) -> Self {
        let bridge = bridge.handle();
        let seat = &listener.seat;
        let signal = Box::new(move || bridge.signal(signal));
        let subscriber = Arc::new(Subscriber::new(
            bounds.into(),
            signal,
            Arc::clone(&seat.counters.dropped),
        ));
        seat.add_subscriber(Arc::clone(&subscriber), channels);
        Self {
            seat: Arc::clone(seat),
            subscriber,
        }
    }

    /// A function that takes the next entries: at most as many as it is told, and as `meta` has room for. It gives what
    /// `receive` makes of their values, or the value of a single one. None at all arms the signal.
    #[napi(ts_return_type = "(max: number) => unknown", catch_unwind)]
    pub fn drainer<'env>(
        &self,
        env: &'env Env,
        meta: Uint32Array,
        #[napi(ts_arg_type = "(...values: Array<unknown>) => Array<unknown>")] receive: Function<
            '_,
            (),
            (),
        >,
    ) -> napi::Result<Function<'env, (), Value>> {
        let drainer = Drainer::new(Arc::clone(&self.subscriber), meta, &receive)?;
        let seat = Arc::clone(&self.seat);
        env.create_function_from_closure("drain", move |call| {
            let values = drainer.drain(call.env, call.first_arg()?);
            seat.made_room();
            values
        })
    }

    /// Changes the channels that are wanted; `null` wants all.
    #[napi(catch_unwind)]
    pub fn set_channels(&self, channels: Option<Vec<String>>) {
        self.seat.set_wanted(&self.subscriber, channels);
    }

    /// Adds or removes one wanted channel.
    #[napi(catch_unwind)]
    pub fn set_channel(&self, channel: String, wanted: bool) {
        self.seat.set_wants(&self.subscriber, &channel, wanted);
    }

    /// Takes nothing more, and forgets what is buffered.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.seat.remove_subscriber(&self.subscriber);
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeSubscriberStats {
        let stats = self.subscriber.stats();
        NativeSubscriberStats {
            buffered: stats.buffered as f64,
            buffered_bytes: stats.buffered_bytes as f64,
            oldest_age_ms: stats.oldest_age.map(|age| age.as_secs_f64() * 1000.0),
            drained_age_ms: stats.drained_age.map(|age| age.as_secs_f64() * 1000.0),
        }
    }
}
