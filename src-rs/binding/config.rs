//! Connection options as they cross from TypeScript: complete, `null` where nothing was given.

use std::time::Duration;

use napi_derive::napi;
use tokio_postgres::config::TargetSessionAttrs;

use super::error::NativeError;
use crate::core::config::ConnectConfig;
use crate::core::error::{Error, Result};
use crate::core::settings::Settings;

/// Settings from one source: the options, or the environment.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeSettings {
    pub user: Option<String>,
    pub password: Option<String>,
    pub hosts: Option<Vec<String>>,
    pub ports: Option<Vec<u16>>,
    pub db_name: Option<String>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    /// `any`, `read-write` or `read-only`.
    pub target_session_attrs: Option<String>,
    pub load_balance: Option<bool>,
    pub connect_timeout_ms: Option<f64>,
    pub tcp_user_timeout_ms: Option<f64>,
    pub keepalives: Option<bool>,
    pub keepalives_idle_ms: Option<f64>,
    pub keepalives_interval_ms: Option<f64>,
    pub keepalives_retries: Option<u32>,
    pub ssl_mode: Option<String>,
}

/// Where to connect: what TypeScript has checked, except for the DSN.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeConnectOptions {
    pub dsn: Option<String>,
    pub settings: NativeSettings,
    pub environment: NativeSettings,
}

/// Milliseconds of JavaScript as a duration.
pub(crate) fn duration_ms(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or(Duration::MAX)
}

impl TryFrom<NativeSettings> for Settings {
    type Error = Error;

    fn try_from(settings: NativeSettings) -> Result<Self> {
        let target_session_attrs = settings
            .target_session_attrs
            .map(|name| match name.as_str() {
                "any" => Ok(TargetSessionAttrs::Any),
                "read-write" => Ok(TargetSessionAttrs::ReadWrite),
                "read-only" => Ok(TargetSessionAttrs::ReadOnly),
                other => Err(Error::configuration(
                    "targetSessionAttrs",
                    format!(
                        "Expected `targetSessionAttrs` to be `any`, `read-write` or `read-only`, got `{other}`"
                    ),
                )),
            })
            .transpose()?;
        Ok(Self {
            user: settings.user,
            password: settings.password.map(String::into_bytes),
            hosts: settings.hosts,
            host_addresses: None,
            ports: settings.ports,
            db_name: settings.db_name,
            options: settings.options,
            application_name: settings.application_name,
            target_session_attrs,
            load_balance: settings.load_balance,
            connect_timeout: settings.connect_timeout_ms.map(duration_ms),
            tcp_user_timeout: settings.tcp_user_timeout_ms.map(duration_ms),
            keepalives: settings.keepalives,
            keepalives_idle: settings.keepalives_idle_ms.map(duration_ms),
            keepalives_interval: settings.keepalives_interval_ms.map(duration_ms),
            keepalives_retries: settings.keepalives_retries,
            ssl_mode: settings.ssl_mode,
        })
    }
}

impl NativeConnectOptions {
    /// Checks and merges.
    pub(crate) fn resolve(self) -> Result<ConnectConfig> {
        ConnectConfig::resolve(
            self.settings.try_into()?,
            self.dsn.as_deref(),
            self.environment.try_into()?,
        )
    }
}

/// What is wrong with some options, or `null`: lets TypeScript throw its own class before anything is made.
#[napi]
pub fn check_connect_options(options: NativeConnectOptions) -> Option<NativeError> {
    options.resolve().err().map(Into::into)
}
