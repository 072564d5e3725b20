//! Options of other software in addresses: each is translated, ignored, or refused with the words to write instead.
//!
//! `docs/configuration.md` is this table for people; the tests below and `__test__/connect/foreign.spec.ts` read it there.

use std::time::Duration;

use super::Rule::{self, Ignore, Refuse, Take};
use super::{Taken, integer, names, one_of, session, set, set_time};
use crate::connect::choices::{Choice, SslMode, TargetSessionAttrs};
use crate::connect::settings::Settings;

/// The meaning of an option that is none of libpq's.
pub(super) enum Meaning {
    /// That of one of libpq's parameters.
    Same(&'static str),
    /// That of a rule. The reason of [`Refuse`] says what to write instead.
    Own(Rule),
}

use Meaning::{Own, Same};

const BOOLEAN: &[(&str, bool)] = &[("true", true), ("false", false)];

#[rustfmt::skip]
static FOREIGN: &[(&[&str], Meaning)] = &[
    // The same under another name: JDBC, sqlx, pg.
    (&["ApplicationName"], Same("application_name")),
    (&["connectTimeout", "loginTimeout"], Same("connect_timeout")),
    (&["channelBinding"], Same("channel_binding")),
    (&["gssEncMode"], Same("gssencmode")),
    (&["sslNegotiation"], Same("sslnegotiation")),
    (&["ssl-mode"], Same("sslmode")),
    (&["ssl-root-cert", "ssl-ca"], Same("sslrootcert")),
    (&["ssl-cert"], Same("sslcert")),
    (&["ssl-key"], Same("sslkey")),
    (&["encoding"], Same("client_encoding")),
    (&["ssl"], Own(Take(ssl))),
    (&["requiressl"], Own(Take(requiressl))),
    (&["connectionTimeoutMillis"], Own(Take(|s, v| set_time(&mut s.connect_timeout, milliseconds(v))))),
    (&["keepAliveInitialDelayMillis"], Own(Take(|s, v| set_time(&mut s.keepalives_idle, milliseconds(v))))),
    (&["keepAlive", "tcpKeepAlive"], Own(Take(|s, v| set(&mut s.keepalives, one_of(v, BOOLEAN))))),
    (&["loadBalanceHosts"], Own(Take(|s, v| set(&mut s.load_balance, one_of(v, BOOLEAN))))),
    (&["targetServerType"], Own(Take(|s, v| set(&mut s.target_session_attrs, one_of(v, SERVER_TYPES))))),
    // Settings of the server, which pg, postgres.js, pgx and others send as they are.
    (&["search_path", "currentSchema"], Own(Take(|s, v| session(s, "search_path", v)))),
    (&["schema"], Own(Take(schema))),
    (&["statement_timeout"], Own(Take(|s, v| session(s, "statement_timeout", v)))),
    (&["lock_timeout"], Own(Take(|s, v| session(s, "lock_timeout", v)))),
    (&["idle_in_transaction_session_timeout"], Own(Take(|s, v| session(s, "idle_in_transaction_session_timeout", v)))),
    (&["timezone", "TimeZone"], Own(Take(|s, v| session(s, "TimeZone", v)))),
    // What is said of encryption and does not change it.
    (&["sslaccept"], Own(Take(sslaccept))),
    (&["uselibpqcompat"], Own(Take(|_, v| match v {
        "true" => Ok(()),
        _ => Err("`true`, as `sslmode` means what it means in libpq; pg's `require` is `verify-full` here".to_owned()),
    }))),
    // The pool, the caches and the calls of the other software.
    (&["connection_limit", "pool_timeout", "socket_timeout", "max_connection_lifetime", "max_idle_connection_lifetime",
       "single_use_connections", "statement_cache_size", "pgbouncer"], Own(Ignore)),
    (&["supa", "workaround"], Own(Ignore)),
    (&["pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter",
       "pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout", "default_query_exec_mode",
       "statement_cache_capacity", "description_cache_capacity", "binary_parameters", "statement-cache-capacity"], Own(Ignore)),
    (&["max", "min", "idleTimeoutMillis", "allowExitOnIdle", "query_timeout", "binary"], Own(Ignore)),
    (&["idle_timeout", "max_lifetime", "max_pipeline", "prepare", "fetch_types"], Own(Ignore)),
    (&["prepareThreshold", "preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "reWriteBatchedInserts",
       "binaryTransfer", "defaultRowFetchSize", "preferQueryMode", "assumeMinServerVersion", "stringtype", "autosave",
       "socketTimeout", "cancelSignalTimeout"], Own(Ignore)),
    (&["prepared_statement_cache_size", "async_fallback"], Own(Ignore)),
    (&["pool", "pool_size", "prepared_statements", "checkout_timeout", "conn_max_age"], Own(Ignore)),
    // Without a counterpart.
    (&["sslidentity"], Own(Refuse("write `sslcert` and `sslkey`, which name files in PEM"))),
    (&["sslfactory"], Own(Refuse("write `sslmode`, and `sslrootcert` where certificates are checked"))),
    (&["readOnly"], Own(Refuse("write `options=-c%20default_transaction_read_only%3Don`"))),
];

const SERVER_TYPES: &[(&str, TargetSessionAttrs)] = &[
    ("any", TargetSessionAttrs::Any),
    ("primary", TargetSessionAttrs::Primary),
    ("master", TargetSessionAttrs::Primary),
    ("secondary", TargetSessionAttrs::Standby),
    ("slave", TargetSessionAttrs::Standby),
    ("preferSecondary", TargetSessionAttrs::PreferStandby),
    ("preferSlave", TargetSessionAttrs::PreferStandby),
];

/// The meaning of an option, if it is one that other software writes.
pub(super) fn meaning(keyword: &str) -> Option<&'static Meaning> {
    FOREIGN
        .iter()
        .find(|(names, _)| names.contains(&keyword))
        .map(|(_, meaning)| meaning)
}

/// The value of one of libpq's parameters, where other software has one more for it.
pub(super) fn value<'a>(keyword: &str, value: &'a str) -> &'a str {
    match (keyword, value) {
        // pg's name for encryption without a look at the certificate.
        ("sslmode" | "ssl-mode" | "ssl", "no-verify") => "require",
        _ => value,
    }
}

/// Whether an option asks for encryption beside `sslmode`.
pub(crate) fn adds_to_mode(keyword: &str) -> bool {
    matches!(keyword, "ssl" | "requiressl")
}

/// `ssl` asks for a mode.
fn ssl(settings: &mut Settings, value: &str) -> Taken {
    let mode = match value {
        "true" | "1" => Ok(SslMode::Require),
        "false" | "0" => Ok(SslMode::Disable),
        _ => one_of(value, SslMode::NAMES).map_err(|_| {
            let modes: Vec<&str> = SslMode::NAMES.iter().map(|(name, _)| *name).collect();
            format!("`true`, `false`, or {}", names(&modes))
        }),
    };
    add_to_mode(settings, mode)
}

/// libpq's name of old for `sslmode`.
fn requiressl(settings: &mut Settings, value: &str) -> Taken {
    let is_required = value.starts_with('1');
    let mode = if is_required {
        SslMode::Require
    } else {
        SslMode::Prefer
    };
    add_to_mode(settings, Ok(mode))
}

/// Takes back nothing of what `sslmode` asks for.
fn add_to_mode(settings: &mut Settings, mode: Result<SslMode, String>) -> Taken {
    settings.ssl_mode = settings.ssl_mode.max(Some(mode?));
    Ok(())
}

/// Prisma's schema. `public` is where PostgreSQL looks by itself, and a pooler may refuse what sets it.
fn schema(settings: &mut Settings, name: &str) -> Taken {
    match name {
        "" | "public" => Ok(()),
        _ => session(
            settings,
            "search_path",
            &format!("\"{}\"", name.replace('"', "\"\"")),
        ),
    }
}

fn sslaccept(_: &mut Settings, value: &str) -> Taken {
    match value {
        "accept_invalid_certs" => Ok(()),
        _ => Err(
            "`accept_invalid_certs`; for `strict` write `sslmode=verify-full`, and `sslrootcert=system` or a file"
                .to_owned(),
        ),
    }
}

fn milliseconds(value: &str) -> Result<Duration, String> {
    let milliseconds = integer(value).map_err(|_| "an integer >= 0, in milliseconds".to_owned())?;
    Ok(Duration::from_millis(milliseconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::dsn::parse_dsn;
    use crate::connect::start_up::protocol;

    const PAGE: &str = include_str!("../../../../docs/configuration.md");

    /// The rows of the page's table: what an address has, and what becomes of it.
    fn rows() -> Vec<(String, &'static str)> {
        let (_, section) = PAGE
            .split_once("\n## Addresses of other software\n")
            .unwrap();
        let table = section.split("\n##").next().unwrap();
        let mut rows = Vec::new();
        for line in table.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let outcome = cells.last().unwrap().trim_end_matches('|').trim();
            for example in cells[0].trim_start_matches("| ").split(", `") {
                rows.push((example.trim_matches('`').to_owned(), outcome));
            }
        }
        rows
    }

    /// An example as a whole address.
    fn address(example: &str) -> String {
        match example.strip_prefix('?') {
            Some(options) => format!("postgres://me@db.example/app?{options}"),
            None => example.to_owned(),
        }
    }

    fn outcome_of(example: &str) -> Result<String, String> {
        parse_dsn(&address(example))
            .map(|settings| {
                // What a session begins with, whether it came as `options` or not.
                let line = protocol(&settings)
                    .get_options()
                    .map(|it| it.trim().to_owned());
                let rest = Settings {
                    options: None,
                    session: None,
                    ..settings
                };
                format!("{line:?} {rest:?}")
            })
            // The marks around names, by which the binding finds them.
            .map_err(|error| error.message.replace('\u{2063}', ""))
    }

    #[test]
    fn each_row_of_the_page_is_true() {
        let rows = rows();
        assert!(rows.len() > 60, "{}", rows.len());
        for (example, outcome) in rows {
            let got = outcome_of(&example);
            let quoted = |after: &str| {
                let (_, rest) = outcome.split_once(after)?;
                let rest = rest.trim_start();
                let ticks = rest.len() - rest.trim_start_matches('`').len();
                let fence = &rest[..ticks];
                let (text, _) = rest[ticks..].split_once(fence)?;
                Some(text.trim())
            };
            if outcome.starts_with("ignored") {
                assert_eq!(got, outcome_of("postgres://me@db.example/app"), "{example}");
            } else if let Some(same) = quoted("read as") {
                assert!(got.is_ok(), "{example}: {got:?}");
                assert_eq!(got, outcome_of(same), "{example}");
            } else {
                let text = quoted("refused:");
                assert!(text.is_some(), "{example}: {outcome}");
                assert_eq!(got.unwrap_err(), text.unwrap(), "{example}");
            }
        }
    }

    #[test]
    fn every_option_is_on_the_page() {
        let rows = rows();
        for name in FOREIGN.iter().flat_map(|(names, _)| *names) {
            let has = |(example, _): &(String, _)| {
                ["?", "&"]
                    .iter()
                    .any(|before| example.contains(&format!("{before}{name}=")))
            };
            assert!(rows.iter().any(has), "{name}");
        }
    }

    #[test]
    fn ssl_takes_back_no_encryption_that_sslmode_asks_for() {
        for (options, mode) in [
            ("sslmode=verify-full&ssl=true", SslMode::VerifyFull),
            ("ssl=true&sslmode=verify-full", SslMode::VerifyFull),
            ("sslmode=require&ssl=false", SslMode::Require),
            ("ssl=false&sslmode=require", SslMode::Require),
            ("sslmode=prefer&ssl=true", SslMode::Require),
            ("ssl=false&ssl=true", SslMode::Require),
            ("ssl=true&ssl=false", SslMode::Require),
            ("sslmode=verify-full&ssl=prefer", SslMode::VerifyFull),
            ("ssl=disable&sslmode=verify-full", SslMode::VerifyFull),
            ("sslmode=verify-ca&ssl=require", SslMode::VerifyCa),
            ("ssl-mode=verify-full&ssl=no-verify", SslMode::VerifyFull),
            ("sslmode=prefer&ssl=verify-full", SslMode::VerifyFull),
            ("ssl=verify-full&sslmode=prefer", SslMode::VerifyFull),
            ("sslmode=allow&ssl=disable", SslMode::Allow),
            ("requiressl=1&sslmode=verify-full", SslMode::VerifyFull),
            ("sslmode=verify-full&requiressl=0", SslMode::VerifyFull),
        ] {
            let settings = parse_dsn(&format!("postgres://h/d?{options}")).unwrap();
            assert_eq!(settings.ssl_mode, Some(mode), "{options}");
        }
        for (options, mode) in [
            ("ssl=true", SslMode::VerifyFull),
            ("ssl=true&sslmode=require", SslMode::Require),
            ("sslmode=require&ssl=true", SslMode::Require),
            ("ssl=false", SslMode::Disable),
        ] {
            let settings = parse_dsn(&format!("jdbc:postgresql://h/d?{options}")).unwrap();
            assert_eq!(settings.ssl_mode, Some(mode), "{options}");
        }
    }
}
