//! The settings that have a fixed list of values, each value with libpq's name.

use tokio_postgres::config::ChannelBinding;

/// A setting with a fixed list of values.
pub trait Choice: Copy + PartialEq + 'static {
    /// The values with their names, in libpq's order.
    const NAMES: &[(&'static str, Self)];

    /// The value of a name; `None` if no value has it.
    fn named(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    /// The name of a value.
    fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }
}

/// libpq's modes of encryption, from the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Without TLS.
    Disable,
    /// Without TLS; with TLS if the server refuses that.
    Allow,
    /// With TLS; without TLS if the server refuses that, or has none.
    Prefer,
    /// With TLS; the server's certificate is checked if there is a root certificate.
    Require,
    /// With TLS; the server's certificate must come from a trusted authority.
    VerifyCa,
    /// With TLS; the server's certificate must come from a trusted authority, and be for the host that was asked for.
    VerifyFull,
}

impl Choice for SslMode {
    const NAMES: &[(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslNegotiation {
    /// The client asks the server for TLS first.
    Postgres,
    /// TLS begins at once, which needs PostgreSQL 17 and saves a round trip.
    Direct,
}

impl Choice for SslNegotiation {
    const NAMES: &[(&'static str, Self)] =
        &[("postgres", Self::Postgres), ("direct", Self::Direct)];
}

/// How SCRAM is bound to the TLS channel.
impl Choice for ChannelBinding {
    const NAMES: &[(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
    ];
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl ProtocolVersion {
    /// The names of lower bounds. A bound below the oldest version that is spoken allows no more than that version.
    pub const MINIMA: [(&'static str, Self); 4] = [
        ("TLSv1", Self::Tls12),
        ("TLSv1.1", Self::Tls12),
        ("TLSv1.2", Self::Tls12),
        ("TLSv1.3", Self::Tls13),
    ];
    /// The names of upper bounds.
    pub const MAXIMA: [(&'static str, Self); 2] =
        [("TLSv1.2", Self::Tls12), ("TLSv1.3", Self::Tls13)];
}

/// The role that a server must have, with libpq's meaning
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSessionAttrs {
    /// Any server.
    #[default]
    Any,
    /// A server whose sessions can write.
    ReadWrite,
    /// A server whose sessions cannot write.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server that is in recovery.
    Standby,
    /// A standby, or any server if no host is a standby.
    PreferStandby,
}

impl Choice for TargetSessionAttrs {
    const NAMES: &[(&'static str, Self)] = &[
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];
}
