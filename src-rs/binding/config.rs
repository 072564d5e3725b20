//! Connection options as they cross from TypeScript: complete, `null` where nothing was given.

use std::collections::HashMap;
use std::time::Duration;

use napi_derive::napi;

use super::error::NativeError;
use pglisten_core::base::Setting;
use pglisten_core::base::error::{Error, Result};
use pglisten_core::connect::choices::Choice;
use pglisten_core::connect::config::ConnectConfig;
use pglisten_core::connect::parameters::read_environment;
use pglisten_core::connect::settings::{PemText, Settings};

/// Makes [`NativeSettings`] and its conversion out of one list of `core_name = facade_name: {type} by conversion`.
macro_rules! native_settings {
    ($($field:ident = $native:ident: {$($kind:tt)+} by $convert:expr,)*) => {
        /// The settings that the options name. Choices cross by their names.
        #[napi(object, object_to_js = false, use_nullable = true)]
        pub struct NativeSettings {
            $(pub $native: Option<$($kind)+>,)*
        }

        impl TryFrom<NativeSettings> for Settings {
            type Error = Error;

            fn try_from(settings: NativeSettings) -> Result<Self> {
                Ok(Self {
                    $($field: settings.$native.map($convert).transpose()?,)*
                    ..Self::default()
                })
            }
        }
    };
}

native_settings! {
    user = user: {String} by same,
    password = password: {String} by |password| same(password.into_bytes()),
    hosts = hosts: {Vec<String>} by same,
    ports = ports: {Vec<u16>} by |ports| same(ports.into_iter().map(Some).collect()),
    db_name = db_name: {String} by same,
    options = options: {String} by same,
    application_name = application_name: {String} by same,
    target_session_attrs = target_session_attrs: {String} by choice(Setting::TargetSessionAttrs),
    primary_check = primary_check_ms: {f64} by duration,
    load_balance = load_balance: {bool} by same,
    connect_timeout = connect_timeout_ms: {f64} by duration,
    tcp_user_timeout = tcp_user_timeout_ms: {f64} by duration,
    keepalives = keepalives: {bool} by same,
    keepalives_idle = keepalives_idle_ms: {f64} by duration,
    keepalives_interval = keepalives_interval_ms: {f64} by duration,
    keepalives_retries = keepalives_retries: {u32} by same,
    ssl_mode = ssl_mode: {String} by choice(Setting::SslMode),
    ssl_negotiation = ssl_negotiation: {String} by choice(Setting::SslNegotiation),
    channel_binding = channel_binding: {String} by choice(Setting::ChannelBinding),
    ca_file = ca_file: {String} by same,
    ca = ca: {String} by pem,
    cert_file = cert_file: {String} by same,
    cert = cert: {String} by pem,
    key_file = key_file: {String} by same,
    key = key: {String} by pem,
}

/// Where to connect. TypeScript has checked all but the DSN and the environment.
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

#[expect(clippy::unnecessary_wraps, reason = "conversions can fail")]
fn same<T>(value: T) -> Result<T> {
    Ok(value)
}

#[expect(clippy::unnecessary_wraps, reason = "conversions can fail")]
fn pem(text: String) -> Result<PemText> {
    Ok(PemText::new(text))
}

#[expect(clippy::unnecessary_wraps, reason = "conversions can fail")]
fn duration(milliseconds: f64) -> Result<Duration> {
    Ok(duration_ms(milliseconds))
}

/// Converts a choice from its name.
fn choice<T: Choice>(setting: Setting) -> impl Fn(String) -> Result<T> {
    move |name| {
        T::named(&name).ok_or_else(|| {
            let message = format!("`{setting}` has an unknown value, `{name}`");
            Error::configuration(setting, message)
        })
    }
}

impl NativeConnectOptions {
    /// Merges the sources of settings and checks the result.
    pub(crate) fn resolve(self) -> Result<ConnectConfig> {
        let mut variables: Vec<(&str, &str)> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // Sorted, so that of several wrong variables the same one is reported each time.
        variables.sort_unstable();
        let environment = read_environment(variables.into_iter())?;
        ConnectConfig::resolve(self.settings.try_into()?, self.dsn.as_deref(), environment)
    }
}

/// The error of options that are wrong, or `null`. TypeScript throws its own class for it before anything is made.
#[napi(catch_unwind)]
pub fn check_connect_options(options: NativeConnectOptions) -> Option<NativeError> {
    options.resolve().err().map(Into::into)
}
