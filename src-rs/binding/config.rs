//! Connection options as they cross from TypeScript: complete, `null` where nothing was given.

use std::collections::HashMap;
use std::time::Duration;

use napi_derive::napi;

use super::error::NativeError;
use pglisten_core::base::error::{Error, Result};
use pglisten_core::connect::choices::{CHANNEL_BINDINGS, TargetSessionAttrs};
use pglisten_core::connect::choices::{SslMode, SslNegotiation};
use pglisten_core::connect::config::ConnectConfig;
use pglisten_core::connect::parameters::read_environment;
use pglisten_core::connect::settings::Settings;

/// What the options say. Choices cross by their names.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeSettings {
    pub user: Option<String>,
    pub password: Option<String>,
    pub hosts: Option<Vec<String>>,
    pub ports: Option<Vec<u16>>,
    pub db_name: Option<String>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    pub target_session_attrs: Option<String>,
    pub load_balance: Option<bool>,
    pub connect_timeout_ms: Option<f64>,
    pub tcp_user_timeout_ms: Option<f64>,
    pub keepalives: Option<bool>,
    pub keepalives_idle_ms: Option<f64>,
    pub keepalives_interval_ms: Option<f64>,
    pub keepalives_retries: Option<u32>,
    pub ssl_mode: Option<String>,
    pub ssl_negotiation: Option<String>,
    pub channel_binding: Option<String>,
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
}

/// Where to connect: what TypeScript has checked, except for the DSN and the environment.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeConnectOptions {
    pub dsn: Option<String>,
    pub settings: NativeSettings,
    /// The variables whose names begin with `PG`.
    pub environment: HashMap<String, String>,
}

/// Milliseconds of JavaScript as a duration.
pub(crate) fn duration_ms(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or(Duration::MAX)
}

/// A choice by its name.
fn choice<T: Copy>(
    option: &'static str,
    name: Option<&str>,
    names: &[(&str, T)],
) -> Result<Option<T>> {
    let Some(name) = name else { return Ok(None) };
    match names.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(Some(*value)),
        None => Err(Error::configuration(
            option,
            format!("`{option}` has an unknown value, `{name}`"),
        )),
    }
}

impl TryFrom<NativeSettings> for Settings {
    type Error = Error;

    fn try_from(settings: NativeSettings) -> Result<Self> {
        Ok(Self {
            user: settings.user,
            password: settings.password.map(String::into_bytes),
            hosts: settings.hosts,
            ports: settings
                .ports
                .map(|ports| ports.into_iter().map(Some).collect()),
            db_name: settings.db_name,
            options: settings.options,
            application_name: settings.application_name,
            target_session_attrs: choice(
                "targetSessionAttrs",
                settings.target_session_attrs.as_deref(),
                &TargetSessionAttrs::NAMES,
            )?,
            load_balance: settings.load_balance,
            connect_timeout: settings.connect_timeout_ms.map(duration_ms),
            tcp_user_timeout: settings.tcp_user_timeout_ms.map(duration_ms),
            keepalives: settings.keepalives,
            keepalives_idle: settings.keepalives_idle_ms.map(duration_ms),
            keepalives_interval: settings.keepalives_interval_ms.map(duration_ms),
            keepalives_retries: settings.keepalives_retries,
            ssl_mode: choice("sslMode", settings.ssl_mode.as_deref(), &SslMode::NAMES)?,
            ssl_negotiation: choice(
                "sslNegotiation",
                settings.ssl_negotiation.as_deref(),
                &SslNegotiation::NAMES,
            )?,
            channel_binding: choice(
                "channelBinding",
                settings.channel_binding.as_deref(),
                &CHANNEL_BINDINGS,
            )?,
            ca_file: settings.ca_file,
            cert_file: settings.cert_file,
            key_file: settings.key_file,
            ..Self::default()
        })
    }
}

impl NativeConnectOptions {
    /// Checks and merges.
    pub(crate) fn resolve(self) -> Result<ConnectConfig> {
        let mut variables: Vec<(&str, &str)> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // So that the same one of several wrong ones is told each time.
        variables.sort_unstable();
        let environment = read_environment(variables.into_iter())?;
        ConnectConfig::resolve(self.settings.try_into()?, self.dsn.as_deref(), environment)
    }
}

/// What is wrong with some options, or `null`: lets TypeScript throw its own class before anything is made.
#[napi]
pub fn check_connect_options(options: NativeConnectOptions) -> Option<NativeError> {
    options.resolve().err().map(Into::into)
}
