//! The pool, as JavaScript sees it.

use std::sync::Arc;

use napi_derive::napi;

use super::bounds::NativeCallBounds;
use super::bridge::{Bridge, BridgeHandle};
use super::config::{NativeConnectOptions, duration_ms};
use super::connection::NativeLease;
use super::error::in_facade_words;
use super::finalize::contained_finalizer;
use super::password::NativePasswordQuestions;
use super::runtime::has_queried;
use pglisten_core::deliver::budget::Budget;
use pglisten_core::fail_point;
use pglisten_core::query::pool::{Limits, Pool, PoolStatus, Recycling};

/// What is done with a connection before it is leased again.
#[napi(string_enum = "camelCase")]
pub enum NativeRecycling {
    Fast,
    Verified,
    Clean,
}

impl From<NativeRecycling> for Recycling {
    fn from(recycling: NativeRecycling) -> Self {
        match recycling {
            NativeRecycling::Fast => Self::Fast,
            NativeRecycling::Verified => Self::Verified,
            NativeRecycling::Clean => Self::Clean,
        }
    }
}

/// How long a pool keeps its connections.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativePoolLimits {
    /// `null`: however long they are idle.
    pub idle_timeout_ms: Option<f64>,
    /// `null`: however old they are.
    pub max_lifetime_ms: Option<f64>,
}

impl From<NativePoolLimits> for Limits {
    fn from(limits: NativePoolLimits) -> Self {
        Self {
            idle_timeout: limits.idle_timeout_ms.map(duration_ms),
            max_lifetime: limits.max_lifetime_ms.map(duration_ms),
        }
    }
}

/// How many connections a pool has.
#[napi(object, object_from_js = false)]
pub struct NativePoolStatus {
    pub max_size: u32,
    pub size: u32,
    pub available: u32,
    pub waiting: u32,
}

impl From<PoolStatus> for NativePoolStatus {
    fn from(status: PoolStatus) -> Self {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            max_size: count(status.max_size),
            size: count(status.size),
            available: count(status.available),
            waiting: count(status.waiting),
        }
    }
}

/// A pool of connections. A pool that is collected as garbage closes the connections that are not leased.
#[napi(custom_finalize)]
pub struct NativePool {
    bridge: BridgeHandle,
    pool: Pool,
    /// What the buffers of the pool's listeners may have together.
    buffers: Arc<Budget>,
}

contained_finalizer!(NativePool);

impl NativePool {
    pub(crate) fn core(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn buffers(&self) -> &Arc<Budget> {
        &self.buffers
    }
}

#[napi]
impl NativePool {
    /// Opens nothing before a connection is asked for. `password` takes the place of a password that `connect` has.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        bridge: &Bridge,
        connect: NativeConnectOptions,
        max_size: u32,
        #[napi(ts_arg_type = "`${NativeRecycling}`")] recycling: NativeRecycling,
        limits: NativePoolLimits,
        max_buffered_bytes: f64,
        password: Option<&NativePasswordQuestions>,
    ) -> napi::Result<Self> {
        let pool = connect
            .resolve()
            .map(|config| match password {
                Some(questions) => config.asking(questions.source()),
                None => config,
            })
            .and_then(|config| {
                Pool::new(config, max_size as usize, recycling.into(), limits.into())
            })
            .map_err(|error| napi::Error::from_reason(in_facade_words(&error.message)))?;
        Ok(Self {
            bridge: bridge.handle(),
            pool,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked in TypeScript"
            )]
            buffers: Arc::new(Budget::new(max_buffered_bytes as usize)),
        })
    }

    /// The servers, as people read them: without a user or a password.
    #[napi(catch_unwind)]
    pub fn hosts(&self) -> Vec<String> {
        let hosts = &self.pool.connect_config().hosts;
        hosts.iter().map(ToString::to_string).collect()
    }

    /// Tells that another pool leads to the same servers by another way.
    #[napi(catch_unwind)]
    pub fn leads_where(&self, other: &NativePool) {
        let config = self.pool.connect_config();
        config.leads_where(other.pool.connect_config());
    }

    /// Resolves to a `NativeLease`. `holder` says in a few words who asks.
    #[napi(catch_unwind)]
    pub fn acquire(&self, promise: u32, holder: String, bounds: Option<&NativeCallBounds>) {
        let lease = self.pool.acquire(holder, NativeCallBounds::of(bounds));
        let bridge = self.bridge.clone();
        self.bridge.spawn(promise, async move {
            lease.await.map(|lease| NativeLease::new(bridge, lease))
        });
    }

    /// Whether a backend is that of one of the pool's connections, or of a session that one of its listeners has alone.
    #[napi(catch_unwind)]
    pub fn owns(&self, process_id: i32) -> bool {
        self.pool.own_pids().contains(process_id)
    }

    /// Who holds the connections that are leased, as people read it.
    #[napi(catch_unwind)]
    pub fn holders(&self) -> String {
        self.pool.holders()
    }

    #[napi(catch_unwind)]
    pub fn status(&self) -> NativePoolStatus {
        fail_point!("status");
        self.pool.status().into()
    }

    #[napi(catch_unwind)]
    pub fn resize(&self, max_size: u32) {
        self.pool.resize(max_size as usize);
    }

    /// Resolves once the servers' sessions are gone. After `timeoutMs` it has the servers cancel what they still do, and
    /// resolves within a second more.
    #[napi(catch_unwind)]
    pub fn close(&self, promise: u32, timeout_ms: f64) {
        self.pool.begin_to_close();
        if !has_queried() {
            // There is no connection to wait for, and a thread for nothing may be one too many.
            return self.bridge.settle(promise, Ok(()));
        }
        let pool = self.pool.clone();
        self.bridge.spawn(promise, async move {
            pool.close(duration_ms(timeout_ms)).await;
            Ok(())
        });
    }
}
