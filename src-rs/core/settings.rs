//! What one source says about connecting: the options, a DSN, or the environment.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use super::error::{Error, Result};

/// Settings from one source: options, a DSN, or the environment. What a source does not say is `None`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub hosts: Option<Vec<String>>,
    pub host_addresses: Option<Vec<IpAddr>>,
    pub ports: Option<Vec<u16>>,
    pub db_name: Option<String>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    pub target_session_attrs: Option<TargetSessionAttrs>,
    pub load_balance: Option<bool>,
    pub connect_timeout: Option<Duration>,
    pub tcp_user_timeout: Option<Duration>,
    pub keepalives: Option<bool>,
    pub keepalives_idle: Option<Duration>,
    pub keepalives_interval: Option<Duration>,
    pub keepalives_retries: Option<u32>,
    /// One of libpq's six names.
    pub ssl_mode: Option<String>,
}

/// Encryption that was asked for is never quietly left out.
pub(super) fn refuse_tls(mode: Option<&str>) -> Result<()> {
    match mode {
        // With `allow` and `prefer` libpq too ends on a plain connection when TLS cannot be had.
        None | Some("disable" | "allow" | "prefer") => Ok(()),
        Some(mode @ ("require" | "verify-ca" | "verify-full")) => Err(Error::configuration(
            "sslMode",
            format!(
                "`sslMode` is `{mode}`, but this version cannot encrypt connections; expected `disable`, `allow` or `prefer`"
            ),
        )),
        Some(other) => Err(Error::configuration(
            "sslMode",
            format!(
                "Expected `sslMode` to be one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`, got `{other}`"
            ),
        )),
    }
}
