//! What one source says about connecting: the options, a DSN, or the environment.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use super::tls::{ProtocolVersion, SslMode, SslNegotiation};

/// Settings from one source: options, a DSN, or the environment. What a source does not say is `None`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    /// A file like `~/.pgpass`.
    pub password_file: Option<String>,
    /// An empty name is that of the default host.
    pub hosts: Option<Vec<String>>,
    /// `None` in the place of a host whose name is to be resolved.
    pub host_addresses: Option<Vec<Option<IpAddr>>>,
    /// `None` in the place of a host with the default port.
    pub ports: Option<Vec<Option<u16>>>,
    pub db_name: Option<String>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    /// For a session that no source gives a name.
    pub fallback_application_name: Option<String>,
    pub target_session_attrs: Option<TargetSessionAttrs>,
    pub load_balance: Option<bool>,
    pub connect_timeout: Option<Duration>,
    pub tcp_user_timeout: Option<Duration>,
    pub keepalives: Option<bool>,
    pub keepalives_idle: Option<Duration>,
    pub keepalives_interval: Option<Duration>,
    pub keepalives_retries: Option<u32>,
    pub ssl_mode: Option<SslMode>,
    pub ssl_negotiation: Option<SslNegotiation>,
    pub channel_binding: Option<ChannelBinding>,
    /// A file, or `system`.
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    /// Whether to show a certificate to a server that asks for one.
    pub send_certificate: Option<bool>,
    /// Whether to tell the server the name by which it is called.
    pub server_name_indication: Option<bool>,
    pub min_tls: Option<ProtocolVersion>,
    pub max_tls: Option<ProtocolVersion>,
    /// `PGREQUIRESSL`: `require`, where nothing names a mode.
    pub requires_tls: Option<bool>,
    /// Settings of the session that libpq takes from the environment: name and value.
    pub session: Vec<(&'static str, String)>,
}

/// The role that a server must have, with libpq's meaning
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSessionAttrs {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby, or any server when no host is one.
    PreferStandby,
}

impl TargetSessionAttrs {
    /// The names, in libpq's order.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}

/// The name of a choice.
pub(super) fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names
        .iter()
        .find(|(_, named)| *named == value)
        .map_or("", |(name, _)| name)
}

/// libpq's names of the ways to bind SCRAM to the TLS channel.
pub const CHANNEL_BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];
