//! The runs of listeners, from `startup()` to `shutdown()`.

mod audiences;
mod events;
mod options;
mod selection;
mod subscriber;

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use events::NativeEvent;
use hashbrown::HashMap;
use napi::Status;
use napi_derive::napi;
use options::{NativeListenerOptions, NativeReconnectOptions};
use parking_lot::Mutex;
use pglisten_core::base::error::{Error, ErrorKind, Result};
use pglisten_core::deliver::budget::Budget;
use pglisten_core::deliver::buffer::End;
use pglisten_core::deliver::seat::Seat;
use pglisten_core::fail_point;
use pglisten_core::listen::listener::ListenerHandle;
use pglisten_core::listen::options::ListenerOptions;
use pglisten_core::query::lease::Lease;

use super::bridge::{Bridge, BridgeHandle};
use super::config::duration_ms;
use super::connection::NativeLease;
use super::finalize::contained_finalizer;
use super::pool::NativePool;
use super::runtime::{listening, querying};

/// A channel and the number under which its notifications are delivered.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeChannel {
    pub name: String,
    pub id: u32,
}

/// The session that a listener hears, with all that hear it.
#[napi(object, object_from_js = false)]
pub struct NativeSessionStats {
    pub process_id: i32,
    pub listeners: u32,
    pub channels: u32,
}

/// Counts of the whole listener.
#[napi(object, object_from_js = false)]
pub struct NativeListenerStats {
    pub received: f64,
    pub dropped: f64,
    pub coalesced: f64,
    pub filtered: f64,
    pub reconnects: f64,
    /// `null` before the first heartbeat was answered.
    pub last_round_trip_ms: Option<f64>,
    /// How long ago the server answered a request; `null` before the first session.
    pub since_answer_ms: Option<f64>,
    /// How long ago anything was read from the server; `null` before the first session.
    pub since_heard_ms: Option<f64>,
    /// `null` while there is none.
    pub session: Option<NativeSessionStats>,
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

thread_local! {
    /// The options of the listener that was made last in this thread.
    static LAST_OPTIONS: RefCell<Weak<ListenerOptions>> = const { RefCell::new(Weak::new()) };
}

/// Options that listeners made one after the other share when they are the same: thousands of listeners mostly have the same.
fn shared(options: ListenerOptions) -> Arc<ListenerOptions> {
    LAST_OPTIONS.with_borrow_mut(|last| {
        let same = last.upgrade().filter(|it| it.is_same(&options));
        same.unwrap_or_else(|| {
            let options = Arc::new(options);
            *last = Arc::downgrade(&options);
            options
        })
    })
}

/// A run of a listener, from `startup()` to `shutdown()`.
struct Listener {
    seat: Arc<Seat>,
    options: Arc<ListenerOptions>,
    /// `None` before it is started.
    handle: Mutex<Option<ListenerHandle>>,
    /// What the buffers of all listeners of its pool may have together.
    buffers: Arc<Budget>,
}

/// The listeners of an environment, each by the id under which the facade is told of its events.
///
/// They are no objects of JavaScript: what Node-API and V8 keep for an object costs some hundred bytes.
/// The facade says when one is forgotten, or collected as garbage; forgotten, it ends its session.
#[napi(custom_finalize)]
pub struct NativeListeners {
    bridge: BridgeHandle,
    all: RefCell<HashMap<u32, Arc<Listener>>>,
}

contained_finalizer!(NativeListeners);

#[napi]
impl NativeListeners {
    #[napi(constructor, catch_unwind)]
    pub fn new(bridge: &Bridge) -> Self {
        Self {
            bridge: bridge.handle(),
            all: RefCell::default(),
        }
    }

    /// Makes a listener of the pool `own`, whose connections send what `ignoreOwn` leaves out. `pool` says where the session connects.
    #[napi(catch_unwind)]
    pub fn make(
        &self,
        listener: u32,
        pool: &NativePool,
        own: &NativePool,
        options: NativeListenerOptions,
    ) {
        fail_point!("listener");
        let pool = pool.core();
        let own_pids = own.core().own_pids();
        let events = self.bridge.clone();
        let seat = Seat::new(
            options.ignore_own.then(|| Arc::clone(own_pids)),
            Box::new(move || events.signal(listener)),
        )
        .in_environment(self.bridge.environment(), duration_ms(options.max_delay_ms))
        .named(options.name.as_deref());
        let options = ListenerOptions {
            session: options.session.into(),
            connect: Arc::clone(pool.connect_config()),
            doubt: Arc::clone(pool.doubt()),
            max_pause: duration_ms(options.max_pause_ms),
            reconnect: options.reconnect.map(Into::into),
            heartbeat: options.heartbeat.map(Into::into),
            own_pids: Arc::clone(own_pids),
        };
        let made = Listener {
            seat: Arc::new(seat),
            options: shared(options),
            handle: Mutex::default(),
            buffers: Arc::clone(own.buffers()),
        };
        self.all.borrow_mut().insert(listener, Arc::new(made));
    }

    /// Forgets a listener, and leaves its session if it has not left it. Nothing happens when there is none of this id.
    #[napi(catch_unwind)]
    pub fn forget(&self, listener: u32) {
        let forgotten = self.all.borrow_mut().remove(&listener);
        drop(forgotten);
    }

    /// Connects and LISTENs; the promise resolves once the LISTENs are committed. `retry`: how it is tried again after a failed
    /// attempt; none: not at all.
    #[napi(catch_unwind)]
    pub fn start(
        &self,
        listener: u32,
        promise: u32,
        channels: Vec<NativeChannel>,
        retry: Option<NativeReconnectOptions>,
    ) {
        // Answers come over the other runtime, so a session is not begun without it.
        let runtime = match querying().and_then(|_| listening()) {
            Ok(runtime) => runtime,
            Err(error) => return self.bridge.settle::<()>(promise, Err(error)),
        };
        let Ok(listener) = self.get(listener) else {
            return self.bridge.settle::<()>(promise, Err(closed()));
        };
        for channel in &channels {
            listener.seat.add_channel(&channel.name, channel.id);
        }
        let _context = runtime.enter();
        let (handle, started) = ListenerHandle::start(
            Arc::clone(&listener.options),
            Arc::clone(&listener.seat),
            retry.map(Into::into),
        );
        *listener.handle.lock() = Some(handle);
        self.bridge.spawn(promise, started);
    }

    /// Subscribes; the promise resolves once the LISTEN is committed.
    #[napi(catch_unwind)]
    pub fn subscribe(&self, listener: u32, promise: u32, channel: String, id: u32) {
        self.with_handle(listener, promise, |handle| handle.subscribe(channel, id));
    }

    /// Unsubscribes; the promise resolves once the UNLISTEN is committed.
    #[napi(catch_unwind)]
    pub fn unsubscribe(&self, listener: u32, promise: u32, channel: String) {
        self.with_handle(listener, promise, |handle| handle.unsubscribe(channel));
    }

    /// Delivers a subscribed channel's notifications under another number from now on. Now and then gives all numbers of before under
    /// which a buffer has notifications.
    #[napi(catch_unwind)]
    pub fn renumber(
        &self,
        listener: u32,
        channel: String,
        id: u32,
    ) -> napi::Result<Option<Vec<u32>>> {
        Ok(self.get(listener)?.seat.renumber_channel(&channel, id))
    }

    /// Puts a fence into every consumer's stream; the promise resolves once it stands there.
    #[napi(catch_unwind)]
    pub fn fence(&self, listener: u32, promise: u32, id: u32) {
        self.with_handle(listener, promise, |handle| handle.fence(id));
    }

    /// Ends every consumer's stream, behind what is buffered if `keep`.
    #[napi(catch_unwind)]
    pub fn end(&self, listener: u32, keep: bool) -> napi::Result<()> {
        self.get(listener)?.seat.end(&End::Shutdown, keep);
        Ok(())
    }

    /// Closes the session; the promise resolves once the server has closed it too, or after the time.
    #[napi(catch_unwind)]
    pub fn shutdown(&self, listener: u32, promise: u32, timeout_ms: f64) {
        let timeout = duration_ms(timeout_ms);
        // It begins at once, not when the runtime gets to it.
        let finished = self.get(listener).ok().and_then(|it| {
            let handle = it.handle.lock();
            handle.as_ref().map(|handle| handle.shutdown(timeout))
        });
        let Some(finished) = finished else {
            return self.bridge.settle(promise, Ok(()));
        };
        self.bridge.spawn(promise, async move {
            finished.await;
            Ok(())
        });
    }

    /// The events since the last call.
    #[napi(catch_unwind)]
    pub fn take_events(&self, listener: u32) -> napi::Result<Vec<NativeEvent>> {
        fail_point!("events");
        let events = self.get(listener)?.seat.take_events();
        Ok(events.into_iter().map(Into::into).collect())
    }

    #[napi(catch_unwind)]
    pub fn stats(&self, listener: u32) -> napi::Result<NativeListenerStats> {
        let listener = self.get(listener)?;
        listener.seat.settle_counts();
        let counters = &listener.seat.counters;
        let served = listener
            .handle
            .lock()
            .as_ref()
            .and_then(ListenerHandle::served);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(NativeListenerStats {
            received: counters.received.load(Ordering::Relaxed) as f64,
            dropped: counters.buffers.dropped.load(Ordering::Relaxed) as f64,
            coalesced: counters.buffers.coalesced.load(Ordering::Relaxed) as f64,
            filtered: counters.filtered.load(Ordering::Relaxed) as f64,
            reconnects: counters.reconnects.load(Ordering::Relaxed) as f64,
            last_round_trip_ms: served.and_then(|it| it.round_trip).map(milliseconds),
            since_answer_ms: served.and_then(|it| it.since_answer).map(milliseconds),
            since_heard_ms: served.and_then(|it| it.since_heard).map(milliseconds),
            session: served.and_then(|it| {
                Some(NativeSessionStats {
                    process_id: it.process_id?,
                    listeners: count(it.listeners),
                    channels: count(it.channels),
                })
            }),
        })
    }

    /// Takes a session of the listener's own, if it shares one and may leave it; the promise resolves once it hears that.
    #[napi(catch_unwind)]
    pub fn take_own_session(&self, listener: u32, promise: u32) {
        self.with_handle(listener, promise, ListenerHandle::take_own_session);
    }

    /// The connection of the listener's own session; `null` while there is none, and while the session is shared.
    #[napi(catch_unwind)]
    pub fn lease(&self, listener: u32) -> Option<NativeLease> {
        let listener = self.get(listener).ok()?;
        let slot = listener.handle.lock().as_ref()?.client()?;
        let session = slot.lock().clone()?;
        Some(NativeLease::new(
            self.bridge.clone(),
            Lease::session(&session),
        ))
    }

    fn with_handle<F>(&self, listener: u32, promise: u32, ask: impl FnOnce(&ListenerHandle) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = self.get(listener).ok();
        let handle = listener.as_ref().map(|it| it.handle.lock());
        match handle.as_ref().and_then(|it| it.as_ref()) {
            Some(handle) => self.bridge.spawn(promise, ask(handle)),
            None => self.bridge.settle::<()>(promise, Err(closed())),
        }
    }

    /// The listener of an id.
    fn get(&self, listener: u32) -> napi::Result<Arc<Listener>> {
        let all = self.all.borrow();
        let found = all.get(&listener).cloned();
        found.ok_or_else(|| unknown("listener", listener))
    }
}

/// The error of whoever asks a listener that is shut down.
fn closed() -> Error {
    Error::new(ErrorKind::ListenerClosed, "the listener was shut down")
}

/// The error of an id that the facade has not got, or has forgotten.
fn unknown(what: &str, id: u32) -> napi::Error {
    napi::Error::new(Status::InvalidArg, format!("there is no {what} {id}"))
}
