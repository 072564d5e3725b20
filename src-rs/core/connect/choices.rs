//! The options that have a fixed list of values, each with libpq's names.

use tokio_postgres::config::ChannelBinding;

/// libpq's modes of encryption, from the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    /// Without TLS; with it when the server refuses that.
    Allow,
    /// With TLS; without it when the server refuses that, or has none.
    Prefer,
    /// With TLS; the server's certificate is checked if there is a root certificate.
    Require,
    /// The server's certificate must come from a trusted authority.
    VerifyCa,
    /// And be for the host that was asked for.
    VerifyFull,
}

impl SslMode {
    /// The names, in libpq's order.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslNegotiation {
    /// The server is asked first.
    Postgres,
    /// At once. Needs PostgreSQL 17, and saves a round trip.
    Direct,
}

impl SslNegotiation {
    /// The names, in libpq's order.
    pub const NAMES: [(&'static str, Self); 2] =
        [("postgres", Self::Postgres), ("direct", Self::Direct)];
}

/// Versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolVersion {
    Tls12,
    Tls13,
}

impl ProtocolVersion {
    /// Lower bounds. What is below the oldest version allows no more than that.
    pub const MINIMA: [(&'static str, Self); 4] = [
        ("TLSv1", Self::Tls12),
        ("TLSv1.1", Self::Tls12),
        ("TLSv1.2", Self::Tls12),
        ("TLSv1.3", Self::Tls13),
    ];
    /// Upper bounds.
    pub const MAXIMA: [(&'static str, Self); 2] =
        [("TLSv1.2", Self::Tls12), ("TLSv1.3", Self::Tls13)];
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
fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
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
