//! The settings of a connection, as one source gives them: the options, a DSN, or the environment.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use crate::connect::choices::{ProtocolVersion, SslMode, SslNegotiation, TargetSessionAttrs};

/// Certificates or a key in PEM. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PemText(Arc<str>);

impl PemText {
    /// Takes a text, which is checked later.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for PemText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PemText")
    }
}

/// Makes [`Settings`] and its merge out of one list, so that a new setting is written once.
macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// Settings from one source. A setting that the source does not have is `None`.
        #[derive(Debug, Clone, Default)]
        pub struct Settings {
            $($(#[$doc])* pub $field: Option<$kind>,)*
        }

        impl Settings {
            /// Writes every setting, secrets too, with its name.
            pub(super) fn write_all(&self, out: &mut impl fmt::Write) -> fmt::Result {
                $(
                    if let Some(value) = &self.$field {
                        write!(out, "{}={:?}\n", stringify!($field), value)?;
                    }
                )*
                for (name, text) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
                    if let Some(PemText(text)) = text {
                        write!(out, "{name}={text:?}\n")?;
                    }
                }
                Ok(())
            }

            /// Takes each setting from `self` if it is there, else from the `next` source.
            pub(super) fn or(self, next: Self) -> Self {
                Self { $($field: self.$field.or(next.$field),)* }
            }
        }
    };
}

settings! {
    /// The user to connect as.
    user: String,
    /// The user's password.
    password: Vec<u8>,
    /// A file like `~/.pgpass`.
    password_file: String,
    /// The hosts to try. An empty name is that of the default host.
    hosts: Vec<String>,
    /// An address for each host; `None` in the place of a host whose name is to be resolved.
    host_addresses: Vec<Option<IpAddr>>,
    /// A port for each host; `None` in the place of a host with the default port.
    ports: Vec<Option<u16>>,
    /// The database to connect to.
    db_name: String,
    /// The command line of the session.
    options: String,
    /// The name that the server shows for the session.
    application_name: String,
    /// The name of a session that no source names.
    fallback_application_name: String,
    /// The role that a server must have.
    target_session_attrs: TargetSessionAttrs,
    /// The time between two looks at another host of the cluster; zero for none.
    primary_check: Duration,
    /// Whether to try the hosts in random order.
    load_balance: bool,
    /// The bound for each host, from name resolution to the last answer.
    connect_timeout: Duration,
    /// How long data may stay unacknowledged before the kernel gives the connection up.
    tcp_user_timeout: Duration,
    /// Whether the kernel probes idle connections.
    keepalives: bool,
    /// How long a connection is idle before the first probe.
    keepalives_idle: Duration,
    /// The time between probes.
    keepalives_interval: Duration,
    /// How many probes may stay unanswered.
    keepalives_retries: u32,
    /// How much encryption is asked for.
    ssl_mode: SslMode,
    /// How TLS begins.
    ssl_negotiation: SslNegotiation,
    /// Whether authentication is bound to TLS.
    channel_binding: ChannelBinding,
    /// The certificates of trusted authorities: a file, or `system`.
    ca_file: String,
    /// The certificates of trusted authorities.
    ca: PemText,
    /// The file of the client's certificate.
    cert_file: String,
    /// The client's certificate.
    cert: PemText,
    /// The file of the key of the client's certificate.
    key_file: String,
    /// The key of the client's certificate.
    key: PemText,
    /// Whether to show a certificate to a server that asks for one.
    send_certificate: bool,
    /// Whether to tell the server the name by which it is called.
    server_name_indication: bool,
    /// The oldest version of TLS to speak.
    min_tls: ProtocolVersion,
    /// The newest version of TLS to speak.
    max_tls: ProtocolVersion,
    /// `PGREQUIRESSL`: `require`, where no source names a mode.
    requires_tls: bool,
    /// Settings of the session that libpq takes from the environment: name and value.
    session: Vec<(&'static str, String)>,
}
