//! A run of a listener, from `startup()` to `shutdown()`, and its consumers' buffers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use napi::bindgen_prelude::{Env, Function, Uint32Array};
use napi_derive::napi;
use parking_lot::Mutex;

use super::batch::{Drainer, NativeGap, Value};
use super::bridge::{Bridge, BridgeHandle};
use super::config::duration_ms;
use super::connection::NativeLease;
use super::error::{NativeError, NativeServerMessage};
use super::pool::NativePool;
use super::runtime::listening;
use pglisten_core::base::error::{Error, ErrorKind};
use pglisten_core::deliver::buffer::{Bounds, End, Overflow, Subscriber};
use pglisten_core::deliver::feed::Feed;
use pglisten_core::deliver::seat::{Event, Seat};
use pglisten_core::listen::listener::{ListenerHandle, answered};
use pglisten_core::listen::options::{HeartbeatOptions, ListenerOptions, ReconnectOptions};
use pglisten_core::listen::session::SessionSetup;
use pglisten_core::query::lease::Lease;

/// Options of a listener, complete.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeListenerOptions {
    /// `null`: do not reconnect.
    pub reconnect: Option<NativeReconnectOptions>,
    /// `null`: no heartbeat.
    pub heartbeat: Option<NativeHeartbeatOptions>,
    pub max_pause_ms: f64,
    pub ignore_own: bool,
}

/// How to come back after a session was lost.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeReconnectOptions {
    pub initial_delay_ms: f64,
    pub max_delay_ms: f64,
    /// `null`: never give up.
    pub max_attempts: Option<u32>,
}

/// How to notice a server that is silently gone.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeHeartbeatOptions {
    pub interval_ms: f64,
    pub timeout_ms: f64,
}

/// The bounds of a consumer's buffer.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeBounds {
    pub max_messages: u32,
    pub max_bytes: f64,
    /// `dropOldest`, `dropNewest`, `pause` or `error`.
    pub overflow: String,
}

impl NativeBounds {
    fn resolve(self) -> napi::Result<Bounds> {
        Ok(Bounds {
            max_messages: self.max_messages as usize,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked in TypeScript"
            )]
            max_bytes: self.max_bytes as usize,
            overflow: match self.overflow.as_str() {
                "dropOldest" => Overflow::DropOldest,
                "dropNewest" => Overflow::DropNewest,
                "pause" => Overflow::Pause,
                "error" => Overflow::Error,
                other => {
                    return Err(napi::Error::from_reason(format!(
                        "no overflow policy `{other}`"
                    )));
                }
            },
        })
    }
}

/// A channel and the number under which its notifications are delivered.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeChannel {
    pub name: String,
    pub id: u32,
}

/// What happened to the session. Which fields are there depends on `kind`.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativeEvent {
    /// `connected`, `disconnected`, `attemptFailed`, `reconnected`, `notice`, `warning` or `closed`.
    pub kind: &'static str,
    pub process_id: Option<i32>,
    pub error: Option<NativeError>,
    pub attempt: Option<u32>,
    /// Of `attemptFailed`: whether only a person can mend the reason.
    pub needs_attention: Option<bool>,
    pub gap: Option<NativeGap>,
    pub notice: Option<NativeServerMessage>,
    pub message: Option<String>,
}

impl From<Event> for NativeEvent {
    fn from(event: Event) -> Self {
        let none = Self::default();
        match event {
            Event::Connected { process_id } => Self {
                kind: "connected",
                process_id: Some(process_id),
                ..none
            },
            Event::Disconnected { error, process_id } => Self {
                kind: "disconnected",
                error: Some(error.into()),
                process_id: Some(process_id),
                ..none
            },
            Event::AttemptFailed {
                error,
                attempt,
                needs_attention,
            } => Self {
                needs_attention: Some(needs_attention),
                kind: "attemptFailed",
                error: Some(error.into()),
                attempt: Some(attempt),
                ..none
            },
            Event::Reconnected { gap } => Self {
                kind: "reconnected",
                gap: Some((*gap).into()),
                ..none
            },
            Event::Notice(notice) => Self {
                kind: "notice",
                notice: Some((*notice).into()),
                ..none
            },
            Event::Warning(message) => Self {
                kind: "warning",
                message: Some(message),
                ..none
            },
            Event::Closed { error } => Self {
                kind: "closed",
                error: Some(error.into()),
                ..none
            },
        }
    }
}

/// Counts of the whole listener.
#[napi(object, object_from_js = false)]
pub struct NativeListenerStats {
    pub received: f64,
    pub dropped: f64,
    pub reconnects: f64,
    /// `null` before the first heartbeat was answered.
    pub last_round_trip_ms: Option<f64>,
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

/// One run of a listener. Collected as garbage, it ends its session.
#[napi]
pub struct NativeListener {
    bridge: BridgeHandle,
    feed: Arc<Feed>,
    options: ListenerOptions,
    handle: Mutex<Option<ListenerHandle>>,
}

#[napi]
impl NativeListener {
    /// `signal` is the id of the consumer that is told of events.
    #[napi(constructor)]
    pub fn new(
        bridge: &Bridge,
        pool: &NativePool,
        options: NativeListenerOptions,
        signal: u32,
    ) -> Self {
        let bridge = bridge.handle();
        let pool = pool.core();
        let max_pause = duration_ms(options.max_pause_ms);
        let events = bridge.clone();
        let seat = Seat::new(
            options.ignore_own.then(|| Arc::clone(pool.own_pids())),
            Box::new(move || events.signal(signal)),
        );
        let options = ListenerOptions {
            setup: SessionSetup::new(Arc::clone(pool.connect_config()), max_pause),
            reconnect: options.reconnect.map(|reconnect| ReconnectOptions {
                initial_delay: duration_ms(reconnect.initial_delay_ms),
                max_delay: duration_ms(reconnect.max_delay_ms),
                max_attempts: reconnect.max_attempts,
            }),
            heartbeat: options.heartbeat.map(|heartbeat| HeartbeatOptions {
                interval: duration_ms(heartbeat.interval_ms),
                timeout: duration_ms(heartbeat.timeout_ms),
            }),
            own_pids: Arc::clone(pool.own_pids()),
        };
        Self {
            bridge,
            feed: Arc::new(Feed::new(Arc::new(seat))),
            options,
            handle: Mutex::default(),
        }
    }

    /// Connects and LISTENs; the promise resolves once the LISTENs are committed.
    #[napi]
    pub fn start(&self, promise: u32, channels: Vec<NativeChannel>) {
        for channel in &channels {
            self.feed.seat().add_channel(&channel.name, channel.id);
        }
        let names = channels.into_iter().map(|channel| channel.name).collect();
        let _context = listening().enter();
        let (handle, started) =
            ListenerHandle::start(self.options.clone(), Arc::clone(&self.feed), names);
        *self.handle.lock() = Some(handle);
        self.bridge.spawn(promise, answered(started));
    }

    /// Subscribes; the promise resolves once the LISTEN is committed.
    #[napi]
    pub fn subscribe(&self, promise: u32, channel: String, id: u32) {
        self.with_handle(promise, |handle| answered(handle.subscribe(channel, id)));
    }

    /// Unsubscribes; the promise resolves once the UNLISTEN is committed.
    #[napi]
    pub fn unsubscribe(&self, promise: u32, channel: String) {
        self.with_handle(promise, |handle| answered(handle.unsubscribe(channel)));
    }

    /// Delivers a subscribed channel's notifications under another number from now on.
    #[napi]
    pub fn renumber(&self, channel: String, id: u32) {
        self.feed.seat().add_channel(&channel, id);
    }

    /// Puts a fence into every consumer's stream; the promise resolves once it stands there.
    #[napi]
    pub fn fence(&self, promise: u32, id: u32) {
        self.with_handle(promise, |handle| answered(handle.fence(id)));
    }

    /// Ends every consumer's stream, behind what is buffered if `keep`.
    #[napi]
    pub fn end(&self, keep: bool) {
        self.feed.end(&End::Shutdown, keep);
    }

    /// Closes the session; the promise resolves once the server has closed it too, or after the time.
    #[napi]
    pub fn shutdown(&self, promise: u32, timeout_ms: f64) {
        let timeout = duration_ms(timeout_ms);
        // It begins at once, not when the runtime gets to it.
        let finished = self
            .handle
            .lock()
            .as_ref()
            .map(|handle| handle.shutdown(timeout));
        self.bridge.spawn(promise, async move {
            if let Some(finished) = finished {
                finished.await;
            }
            Ok(())
        });
    }

    /// The events since the last call.
    #[napi]
    pub fn take_events(&self) -> Vec<NativeEvent> {
        self.feed
            .seat()
            .take_events()
            .into_iter()
            .map(Into::into)
            .collect()
    }

    #[napi]
    pub fn stats(&self) -> NativeListenerStats {
        let counters = &self.feed.seat().counters;
        let round_trip = counters.last_round_trip_us.load(Ordering::Relaxed);
        NativeListenerStats {
            received: counters.received.load(Ordering::Relaxed) as f64,
            dropped: counters.dropped.load(Ordering::Relaxed) as f64,
            reconnects: counters.reconnects.load(Ordering::Relaxed) as f64,
            last_round_trip_ms: (round_trip > 0).then(|| round_trip as f64 / 1000.0),
        }
    }

    /// The current session's connection; `null` while there is none.
    #[napi]
    pub fn lease(&self) -> Option<NativeLease> {
        let slot = self.handle.lock().as_ref()?.client();
        let session = slot.lock().clone()?;
        Some(NativeLease::new(
            self.bridge.clone(),
            Lease::session(&session),
        ))
    }

    fn with_handle<F>(&self, promise: u32, ask: impl FnOnce(&ListenerHandle) -> F)
    where
        F: Future<Output = pglisten_core::base::error::Result<()>> + Send + 'static,
    {
        match &*self.handle.lock() {
            Some(handle) => self.bridge.spawn(promise, ask(handle)),
            None => self.bridge.settle::<()>(
                promise,
                Err(Error::new(
                    ErrorKind::ListenerClosed,
                    "the listener is not started",
                )),
            ),
        }
    }
}

/// The bounded buffer of one consumer. Collected as garbage, it takes nothing more.
#[napi]
pub struct NativeSubscriber {
    seat: Arc<Seat>,
    subscriber: Arc<Subscriber>,
}

impl Drop for NativeSubscriber {
    fn drop(&mut self) {
        self.seat.remove_subscriber(&self.subscriber);
    }
}

#[napi]
impl NativeSubscriber {
    /// `channels` are names; `null` wants every subscribed channel. `signal` is the id of the consumer.
    #[napi(constructor)]
    pub fn new(
        bridge: &Bridge,
        listener: &NativeListener,
        bounds: NativeBounds,
        channels: Option<Vec<String>>,
        signal: u32,
    ) -> napi::Result<Self> {
        let bridge = bridge.handle();
        let seat = listener.feed.seat();
        let signal = Box::new(move || bridge.signal(signal));
        let subscriber = Arc::new(Subscriber::new(
            bounds.resolve()?,
            signal,
            Arc::clone(&seat.counters.dropped),
        ));
        seat.add_subscriber(Arc::clone(&subscriber), channels);
        Ok(Self {
            seat: Arc::clone(seat),
            subscriber,
        })
    }

    /// A function that takes the next entries: at most as many as it is told, and as `meta` has room for. It gives what
    /// `receive` makes of their values, or the value of a single one. None at all arms the signal.
    #[napi(ts_return_type = "(max: number) => unknown")]
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
    #[napi]
    pub fn set_channels(&self, channels: Option<Vec<String>>) {
        self.seat.set_wanted(&self.subscriber, channels);
    }

    /// Adds or removes one wanted channel.
    #[napi]
    pub fn set_channel(&self, channel: String, wanted: bool) {
        self.seat.set_wants(&self.subscriber, &channel, wanted);
    }

    /// Takes nothing more, and forgets what is buffered.
    #[napi]
    pub fn close(&self) {
        self.seat.remove_subscriber(&self.subscriber);
    }

    #[napi]
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
