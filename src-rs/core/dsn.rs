//! Reads a DSN: a URL or key/value pairs, as libpq knows them.

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation};

use super::error::{Error, Result, chain};
use super::settings::{Settings, refuse_tls};

/// What libpq knows and we do not, to be refused by name rather than by "unknown option".
const UNSUPPORTED_DSN_OPTIONS: &[&str] = &[
    "service",
    "passfile",
    "requirepeer",
    "krbsrvname",
    "gssencmode",
    "gsslib",
    "gssdelegation",
    "replication",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "sslcompression",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "client_encoding",
    "fallback_application_name",
    "require_auth",
    "min_protocol_version",
    "max_protocol_version",
];

/// Reads a URL or a key/value string. The text of a DSN never appears in an error: it may hold a password.
pub(super) fn parse_dsn(dsn: &str) -> Result<Settings> {
    let ssl_mode = find_dsn_value(dsn, "sslmode").map(ToOwned::to_owned);
    refuse_tls(ssl_mode.as_deref())?;
    if let Some(option) = UNSUPPORTED_DSN_OPTIONS
        .iter()
        .find(|option| find_dsn_value(dsn, option).is_some())
    {
        return Err(Error::configuration(
            "dsn",
            format!("`dsn` asks for `{option}`, which is not supported"),
        ));
    }
    if has_stray_at(dsn) {
        return Err(Error::configuration(
            "dsn",
            "Expected `dsn` to be a URL with one `@`, before the host; an `@` or `/` in a password is written `%40` or \
             `%2F` (not shown: it may hold a password)",
        ));
    }
    // The parser does not know `allow`; both end on a plain connection here.
    let readable = if ssl_mode.as_deref() == Some("allow") {
        dsn.replacen("sslmode=allow", "sslmode=prefer", 1)
    } else {
        dsn.to_owned()
    };
    let parsed: Config = readable.parse().map_err(|error| {
        // However it is spelled: the name of the option is all that is taken from the parser's message.
        if chain(&error).contains("`sslmode`") {
            return Error::configuration(
                "sslMode",
                "`dsn` has an `sslmode` that is not supported; expected `disable`, `allow` or `prefer`, as this \
                 version cannot encrypt connections",
            );
        }
        Error::configuration(
            "dsn",
            "Expected `dsn` to be a URL like `postgres://user:password@host:5432/database` or key/value pairs \
             like `host=localhost user=postgres`, got text that is neither (not shown: it may hold a password)",
        )
    })?;
    // The parser has the last word: it knows every spelling.
    if parsed.get_ssl_mode() == SslMode::Require {
        refuse_tls(Some("require"))?;
    }
    for (demanded, option) in [
        (
            parsed.get_channel_binding() == ChannelBinding::Require,
            "channel_binding=require",
        ),
        (
            parsed.get_ssl_negotiation() == SslNegotiation::Direct,
            "sslnegotiation=direct",
        ),
    ] {
        if demanded {
            return Err(Error::configuration(
                "dsn",
                format!(
                    "`dsn` asks for `{option}`, which needs TLS, but this version cannot encrypt connections"
                ),
            ));
        }
    }

    let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
    let some_if =
        |given: bool, values: Vec<String>| (given && !values.is_empty()).then_some(values);
    let hosts = parsed
        .get_hosts()
        .iter()
        .map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(path) => path.to_string_lossy().into_owned(),
        })
        .collect();
    let addresses = parsed.get_hostaddrs().to_vec();
    let says = |key| find_dsn_value(dsn, key).is_some();
    Ok(Settings {
        user: owned(parsed.get_user()),
        password: parsed.get_password().map(<[u8]>::to_vec),
        hosts: some_if(true, hosts),
        host_addresses: (!addresses.is_empty()).then_some(addresses),
        ports: (!parsed.get_ports().is_empty()).then(|| parsed.get_ports().to_vec()),
        db_name: owned(parsed.get_dbname()),
        options: owned(parsed.get_options()),
        application_name: owned(parsed.get_application_name()),
        target_session_attrs: says("target_session_attrs")
            .then(|| parsed.get_target_session_attrs()),
        load_balance: says("load_balance_hosts")
            .then(|| parsed.get_load_balance_hosts() == LoadBalanceHosts::Random),
        connect_timeout: parsed
            .get_connect_timeout()
            .copied()
            .filter(|timeout| !timeout.is_zero()),
        tcp_user_timeout: parsed.get_tcp_user_timeout().copied(),
        keepalives: says("keepalives").then(|| parsed.get_keepalives()),
        keepalives_idle: says("keepalives_idle").then(|| parsed.get_keepalives_idle()),
        keepalives_interval: parsed.get_keepalives_interval(),
        keepalives_retries: parsed.get_keepalives_retries(),
        ssl_mode,
    })
}

/// Whether a URL has an `@` that does not end its user and password: they would be taken for a host or a database, and
/// be shown.
fn has_stray_at(dsn: &str) -> bool {
    let Some((_, rest)) = dsn.split_once("://") else {
        return false;
    };
    let rest = rest.split('?').next().unwrap_or(rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    authority.matches('@').count() > 1 || path.contains('@')
}

/// The value of a plain option (one that needs no quoting) in a URL's query or among key/value pairs.
fn find_dsn_value<'a>(dsn: &'a str, key: &str) -> Option<&'a str> {
    let is_url = dsn.starts_with("postgres://") || dsn.starts_with("postgresql://");
    let (text, separators): (&str, &[char]) = if is_url {
        (dsn.split_once('?')?.1, &['&', '#'])
    } else {
        (dsn, &[' ', '\t', '\n'])
    };
    text.split(separators).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name == key).then(|| value.trim_matches('\''))
    })
}
