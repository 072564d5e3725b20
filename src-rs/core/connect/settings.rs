//! What one source says about connecting: the options, a DSN, or the environment.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use crate::connect::choices::{ProtocolVersion, SslMode, SslNegotiation, TargetSessionAttrs};

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
