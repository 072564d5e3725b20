//! The pool.

use napi_derive::napi;

use super::bridge::{Bridge, BridgeHandle};
use super::config::{NativeConnectOptions, duration_ms};
use super::connection::NativeLease;
use pglisten_core::query::pool::{Pool, PoolStatus, Recycling};

/// How many connections there are.
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

/// A pool of connections. Collected as garbage, it closes those that nobody has.
#[napi]
pub struct NativePool {
    bridge: BridgeHandle,
    pool: Pool,
}

impl NativePool {
    pub(crate) fn core(&self) -> &Pool {
        &self.pool
    }
}

#[napi]
impl NativePool {
    /// `recycling` is `fast`, `verified` or `clean`. Opens nothing.
    #[napi(constructor)]
    pub fn new(
        bridge: &Bridge,
        connect: NativeConnectOptions,
        max_size: u32,
        recycling: String,
    ) -> napi::Result<Self> {
        let recycling = match recycling.as_str() {
            "fast" => Recycling::Fast,
            "verified" => Recycling::Verified,
            "clean" => Recycling::Clean,
            other => {
                return Err(napi::Error::from_reason(format!(
                    "no recycling method `{other}`"
                )));
            }
        };
        let pool = connect
            .resolve()
            .and_then(|config| Pool::new(config, max_size as usize, recycling))
            .map_err(|error| napi::Error::from_reason(error.message))?;
        Ok(Self {
            bridge: bridge.handle(),
            pool,
        })
    }

    /// Resolves to a `NativeLease`.
    #[napi]
    pub fn acquire(&self, promise: u32) {
        let (lease, bridge) = (self.pool.acquire(), self.bridge.clone());
        self.bridge.spawn(promise, async move {
            lease.await.map(|lease| NativeLease::new(bridge, lease))
        });
    }

    #[napi]
    pub fn status(&self) -> NativePoolStatus {
        self.pool.status().into()
    }

    #[napi]
    pub fn resize(&self, max_size: u32) {
        self.pool.resize(max_size as usize);
    }

    /// Resolves once the servers' sessions are gone, or, at most a second after the time, once what they still do has
    /// been cancelled.
    #[napi]
    pub fn close(&self, promise: u32, timeout_ms: f64) {
        let pool = self.pool.clone();
        self.bridge.spawn(promise, async move {
            pool.close(duration_ms(timeout_ms)).await;
            Ok(())
        });
    }
}
