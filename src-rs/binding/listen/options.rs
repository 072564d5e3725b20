//! The options of a listener, as the facade sends them: complete and checked.

use napi_derive::napi;
use pglisten_core::listen::options::{HeartbeatOptions, ReconnectOptions, SessionChoice};

use crate::binding::config::duration_ms;

/// Whose session a listener uses.
#[napi(string_enum = "camelCase")]
pub enum NativeSessionChoice {
    Auto,
    Shared,
    Own,
}

impl From<NativeSessionChoice> for SessionChoice {
    fn from(choice: NativeSessionChoice) -> Self {
        match choice {
            NativeSessionChoice::Auto => Self::Auto,
            NativeSessionChoice::Shared => Self::Shared,
            NativeSessionChoice::Own => Self::Own,
        }
    }
}

/// Options of a listener, complete.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeListenerOptions {
    #[napi(ts_type = "`${NativeSessionChoice}`")]
    pub session: NativeSessionChoice,
    /// `null`: the listener has none.
    pub name: Option<String>,
    /// `null`: do not reconnect.
    pub reconnect: Option<NativeReconnectOptions>,
    /// `null`: no heartbeat.
    pub heartbeat: Option<NativeHeartbeatOptions>,
    pub max_pause_ms: f64,
    pub max_delay_ms: f64,
    pub ignore_own: bool,
}

/// How to come back after a session was lost.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeReconnectOptions {
    pub initial_delay_ms: f64,
    pub max_delay_ms: f64,
    /// `null`: never give up.
    pub max_attempts: Option<u32>,
    pub stable_after_ms: f64,
}

/// How to notice a server that is silently gone.
#[napi(object, object_to_js = false, use_nullable = true)]
#[expect(clippy::struct_field_names, reason = "the unit stands in each name")]
pub struct NativeHeartbeatOptions {
    pub interval_ms: f64,
    pub timeout_ms: f64,
    /// `null`: never probe delivery.
    pub probe_interval_ms: Option<f64>,
}

impl From<NativeReconnectOptions> for ReconnectOptions {
    fn from(options: NativeReconnectOptions) -> Self {
        Self {
            initial_delay: duration_ms(options.initial_delay_ms),
            max_delay: duration_ms(options.max_delay_ms),
            max_attempts: options.max_attempts,
            stable_after: duration_ms(options.stable_after_ms),
        }
    }
}

impl From<NativeHeartbeatOptions> for HeartbeatOptions {
    fn from(options: NativeHeartbeatOptions) -> Self {
        Self {
            interval: duration_ms(options.interval_ms),
            timeout: duration_ms(options.timeout_ms),
            probe_interval: options.probe_interval_ms.map(duration_ms),
        }
    }
}
