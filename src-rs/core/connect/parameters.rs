//! libpq's parameters and environment variables. Each is either taken, or refused by its name.
//!
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>,
//! <https://www.postgresql.org/docs/current/libpq-envars.html>. `docs/configuration.md` is this table for people.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::choices::{
    Choice, ProtocolVersion, SslMode, SslNegotiation, TargetSessionAttrs,
};
use crate::connect::misplaced;
use crate::connect::settings::Settings;

mod foreign;

pub(super) use foreign::adds_to_mode;

/// One of libpq's parameters.
struct Parameter {
    /// Its name in a DSN; empty if it has none.
    keyword: &'static str,
    /// Its name in the environment; empty if it has none.
    variable: &'static str,
    rule: Rule,
}

/// The rule for a parameter's value.
enum Rule {
    /// The function takes the value, or says what would be one.
    Take(fn(&mut Settings, &str) -> Taken),
    /// These values are accepted, and need nothing to be done; others are refused for the reason.
    Only(&'static [&'static str], &'static str),
    /// Every value is refused for the reason.
    Refuse(&'static str),
    /// Every value is accepted, and has no effect.
    Ignore,
}

/// Whether a value was taken; the error says what would be a value.
type Taken = std::result::Result<(), String>;

const fn parameter(keyword: &'static str, variable: &'static str, rule: Rule) -> Parameter {
    Parameter {
        keyword,
        variable,
        rule,
    }
}

const NO_GSS: &str = "GSSAPI is not supported";
const NO_SERVICE: &str = "connection service files are not supported";
const NO_CRL: &str = "certificate revocation lists are not supported";
const NO_OAUTH: &str = "OAuth is not supported";

use Rule::{Ignore, Only, Refuse, Take};

#[rustfmt::skip]
static PARAMETERS: &[Parameter] = &[
    parameter("host", "PGHOST", Take(|s, v| set(&mut s.hosts, list(v, text)))),
    parameter("hostaddr", "PGHOSTADDR", Take(|s, v| set(&mut s.host_addresses, list(v, optional(address))))),
    parameter("port", "PGPORT", Take(|s, v| set(&mut s.ports, list(v, optional(port))))),
    parameter("dbname", "PGDATABASE", Take(|s, v| set(&mut s.db_name, text(v)))),
    parameter("user", "PGUSER", Take(|s, v| set(&mut s.user, text(v)))),
    parameter("password", "PGPASSWORD", Take(|s, v| set(&mut s.password, text(v).map(String::into_bytes)))),
    parameter("passfile", "PGPASSFILE", Take(|s, v| set(&mut s.password_file, text(v)))),
    parameter("require_auth", "PGREQUIREAUTH", Refuse("the server's choice of authentication cannot be restricted")),
    parameter("channel_binding", "PGCHANNELBINDING", Take(|s, v| set(&mut s.channel_binding, one_of(v, ChannelBinding::NAMES)))),
    parameter("connect_timeout", "PGCONNECT_TIMEOUT", Take(|s, v| {
        // Zero is libpq's way of saying: no limit. There is always one here.
        set(&mut s.connect_timeout, seconds(v))?;
        s.connect_timeout = s.connect_timeout.filter(|timeout| !timeout.is_zero());
        Ok(())
    })),
    parameter("client_encoding", "PGCLIENTENCODING", Only(
        &["UTF8", "UTF-8", "UNICODE", "utf8", "utf-8", "unicode", "auto"],
        "text is always exchanged in UTF-8",
    )),
    parameter("options", "PGOPTIONS", Take(|s, v| set(&mut s.options, text(v)))),
    parameter("application_name", "PGAPPNAME", Take(|s, v| set(&mut s.application_name, text(v)))),
    parameter("fallback_application_name", "", Take(|s, v| set(&mut s.fallback_application_name, text(v)))),
    parameter("keepalives", "", Take(|s, v| set(&mut s.keepalives, integer(v).map(|number| number != 0)))),
    parameter("keepalives_idle", "", Take(|s, v| set_time(&mut s.keepalives_idle, seconds(v)))),
    parameter("keepalives_interval", "", Take(|s, v| set_time(&mut s.keepalives_interval, seconds(v)))),
    parameter("keepalives_count", "", Take(retries)),
    parameter("tcp_user_timeout", "", Take(|s, v| {
        set_time(&mut s.tcp_user_timeout, integer(v).map(|ms| Duration::from_millis(ms.into())))
    })),
    parameter("replication", "", Only(&["false", "off", "no", "0"], "replication connections are not supported")),
    parameter("gssencmode", "PGGSSENCMODE", Only(&["disable", "prefer"], NO_GSS)),
    parameter("sslmode", "PGSSLMODE", Take(|s, v| set(&mut s.ssl_mode, one_of(v, SslMode::NAMES)))),
    parameter("", "PGREQUIRESSL", Take(|s, v| set(&mut s.requires_tls, Ok(v.starts_with('1'))))),
    parameter("sslnegotiation", "PGSSLNEGOTIATION", Take(|s, v| set(&mut s.ssl_negotiation, one_of(v, SslNegotiation::NAMES)))),
    parameter("sslcompression", "PGSSLCOMPRESSION", Only(&["0"], "TLS compression is not supported")),
    parameter("sslcert", "PGSSLCERT", Take(|s, v| set(&mut s.cert_file, text(v)))),
    parameter("sslkey", "PGSSLKEY", Take(|s, v| set(&mut s.key_file, text(v)))),
    parameter("sslkeylogfile", "", Refuse("the keys of TLS are not written to files")),
    parameter("sslpassword", "", Refuse("an encrypted private key is not supported: decrypt it with `openssl pkey`")),
    parameter("sslcertmode", "PGSSLCERTMODE", Take(|s, v| {
        set(&mut s.send_certificate, one_of(v, &[("disable", false), ("allow", true)]))
    })),
    parameter("sslrootcert", "PGSSLROOTCERT", Take(|s, v| set(&mut s.ca_file, text(v)))),
    parameter("sslcrl", "PGSSLCRL", Refuse(NO_CRL)),
    parameter("sslcrldir", "PGSSLCRLDIR", Refuse(NO_CRL)),
    parameter("sslsni", "PGSSLSNI", Take(|s, v| set(&mut s.server_name_indication, one_of(v, &[("0", false), ("1", true)])))),
    parameter("requirepeer", "PGREQUIREPEER", Refuse("the owner of a socket's server is not checked")),
    parameter("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Take(|s, v| set(&mut s.min_tls, one_of(v, &ProtocolVersion::MINIMA)))),
    parameter("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Take(|s, v| set(&mut s.max_tls, one_of(v, &ProtocolVersion::MAXIMA)))),
    parameter("min_protocol_version", "PGMINPROTOCOLVERSION", Only(&["3.0"], "version 3.0 of the protocol is spoken")),
    parameter("max_protocol_version", "PGMAXPROTOCOLVERSION", Only(&["3.0", "3.2", "latest"], "version 3.0 of the protocol is spoken")),
    parameter("krbsrvname", "PGKRBSRVNAME", Refuse(NO_GSS)),
    parameter("gsslib", "PGGSSLIB", Refuse(NO_GSS)),
    parameter("gssdelegation", "PGGSSDELEGATION", Only(&["0"], NO_GSS)),
    parameter("scram_client_key", "", Refuse("SCRAM needs the password itself")),
    parameter("scram_server_key", "", Refuse("SCRAM needs the password itself")),
    parameter("service", "PGSERVICE", Refuse(NO_SERVICE)),
    parameter("servicefile", "", Refuse(NO_SERVICE)),
    parameter("target_session_attrs", "PGTARGETSESSIONATTRS", Take(|s, v| set(&mut s.target_session_attrs, one_of(v, TargetSessionAttrs::NAMES)))),
    parameter("load_balance_hosts", "PGLOADBALANCEHOSTS", Take(|s, v| set(&mut s.load_balance, one_of(v, &[("disable", false), ("random", true)])))),
    parameter("oauth_issuer", "", Refuse(NO_OAUTH)),
    parameter("oauth_client_id", "", Refuse(NO_OAUTH)),
    parameter("oauth_client_secret", "", Refuse(NO_OAUTH)),
    parameter("oauth_scope", "", Refuse(NO_OAUTH)),
    parameter("oauth_ca_file", "PGOAUTHCAFILE", Refuse(NO_OAUTH)),
    // rust-postgres' name of `keepalives_count`.
    parameter("keepalives_retries", "", Take(retries)),
    parameter("", "PGDATESTYLE", Take(|s, v| unless_default(s, "DateStyle", v))),
    parameter("", "PGTZ", Take(|s, v| unless_default(s, "TimeZone", v))),
    parameter("", "PGGEQO", Take(|s, v| unless_default(s, "geqo", v))),
    parameter("", "PGSERVICEFILE", Ignore),
    parameter("", "PGSYSCONFDIR", Ignore),
    parameter("", "PGLOCALEDIR", Ignore),
    parameter("", "PGOAUTHDEBUG", Ignore),
];

/// Takes one parameter of a DSN. Its value is not shown, and its name only when it is known or `may_show_name`: a DSN in
/// which something was not quoted has pieces of its password there.
pub(crate) fn read_dsn(
    settings: &mut Settings,
    keyword: &str,
    value: &str,
    may_show_name: bool,
) -> Result<()> {
    let dsn = Setting::Dsn;
    let value = foreign::value(keyword, value);
    let meaning = foreign::meaning(keyword);
    let known = match meaning {
        Some(foreign::Meaning::Same(name)) => name,
        _ => keyword,
    };
    let rule = PARAMETERS
        .iter()
        .find(|parameter| !known.is_empty() && parameter.keyword == known)
        .map(|parameter| &parameter.rule)
        .or(match meaning {
            Some(foreign::Meaning::Own(rule)) => Some(rule),
            _ => None,
        });
    let Some(rule) = rule else {
        return Err(Error::configuration(
            dsn,
            if may_show_name && looks_like_a_name(keyword) {
                format!("`{dsn}` has an option `{keyword}`, which is none of libpq's")
            } else {
                format!(
                    "`{dsn}` has an option that is none of libpq's (not shown: it may be a piece of a password)"
                )
            },
        ));
    };
    read(settings, rule, value).map_err(|problem| {
        Error::configuration(
            dsn,
            match problem {
                Problem::Expected(what) => {
                    format!(
                        "Expected `{keyword}` in `{dsn}` to be {what}, got something else (not shown)"
                    )
                }
                Problem::Refused(instead) if meaning.is_some() => {
                    format!("`{dsn}` has `{keyword}`, an option of other software; {instead}")
                }
                Problem::Refused(why) => {
                    format!("`{dsn}` asks for `{keyword}`, which is not supported: {why}")
                }
                Problem::Limited(accepted, why) => format!(
                    "`{dsn}` has a `{keyword}` that is not supported: {why}; expected {}",
                    names(accepted)
                ),
            },
        )
    })
}

/// Whether a text looks like the name of an option, and not like a piece of a secret.
fn looks_like_a_name(text: &str) -> bool {
    (2..=40).contains(&text.len())
        && text.starts_with(|character: char| character.is_ascii_alphabetic())
        && text
            .chars()
            .all(|character| character.is_ascii_alphabetic() || "_-.".contains(character))
}

/// Whether the value of an option may be a secret, so that what follows it may be a piece of one.
pub(crate) fn may_be_secret(keyword: &str) -> bool {
    let keyword = keyword.to_ascii_lowercase();
    ["pass", "pwd", "secret", "key", "token"]
        .iter()
        .any(|part| keyword.contains(part))
}

/// Takes the variables that libpq would take from the environment. An empty variable counts as none.
pub fn read_environment<'a>(
    variables: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Settings> {
    let mut settings = Settings::default();
    for (variable, value) in variables {
        let Some(parameter) = PARAMETERS.iter().find(|parameter| {
            !value.is_empty() && !variable.is_empty() && parameter.variable == variable
        }) else {
            continue;
        };
        let name = parameter.variable;
        read(&mut settings, &parameter.rule, value).map_err(|problem| {
            Error::configuration(
                Setting::Variable(name),
                match problem {
                    Problem::Expected(what) => {
                        format!("Expected `{name}` to be {what}, got {}", shown(value))
                    }
                    Problem::Refused(why) => {
                        format!("The environment has `{name}`, which is not supported: {why}")
                    }
                    Problem::Limited(accepted, why) => format!(
                        "Expected `{name}` to be {}, got {}: {why}",
                        names(accepted),
                        shown(value)
                    ),
                },
            )
        })?;
    }
    Ok(settings)
}

/// Why a value was not taken.
enum Problem {
    Expected(String),
    Refused(&'static str),
    Limited(&'static [&'static str], &'static str),
}

fn read(settings: &mut Settings, rule: &Rule, value: &str) -> std::result::Result<(), Problem> {
    match rule {
        Take(take) => take(settings, value).map_err(Problem::Expected),
        Only(accepted, _) if value.is_empty() || accepted.contains(&value) => Ok(()),
        Only(accepted, why) => Err(Problem::Limited(accepted, why)),
        Refuse(why) => Err(Problem::Refused(why)),
        Ignore => Ok(()),
    }
}

/// A value as an error shows it: short, on one line, and not what may be a whole address.
fn shown(value: &str) -> String {
    if misplaced::may_be_secret(value) {
        return "something else (not shown: it may hold a password)".to_owned();
    }
    let short: String = value.chars().take(40).collect();
    format!("`{}`", short.escape_debug())
}

fn names(accepted: &[&str]) -> String {
    let quoted: Vec<String> = accepted.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}

fn set<T>(place: &mut Option<T>, value: std::result::Result<T, String>) -> Taken {
    *place = Some(value?);
    Ok(())
}

/// Sets a time, where zero stands for the operating system's own.
fn set_time(place: &mut Option<Duration>, value: std::result::Result<Duration, String>) -> Taken {
    *place = Some(value?).filter(|time| !time.is_zero());
    Ok(())
}

/// Sets a number of probes, where zero stands for the operating system's own.
fn retries(settings: &mut Settings, value: &str) -> Taken {
    settings.keepalives_retries = Some(integer(value)?).filter(|count| *count > 0);
    Ok(())
}

/// Takes a variable that libpq sends to the server unless its value is `default`.
fn unless_default(settings: &mut Settings, name: &'static str, value: &str) -> Taken {
    if value.eq_ignore_ascii_case("default") {
        return Ok(());
    }
    session(settings, name, value)
}

fn session(settings: &mut Settings, name: &'static str, value: &str) -> Taken {
    let value = text(value)?;
    settings.session.get_or_insert_default().push((name, value));
    Ok(())
}

fn text(value: &str) -> std::result::Result<String, String> {
    if value.contains('\0') {
        return Err("text without NUL".to_owned());
    }
    Ok(value.to_owned())
}

fn list<T>(
    value: &str,
    read: impl Fn(&str) -> std::result::Result<T, String>,
) -> std::result::Result<Vec<T>, String> {
    value.split(',').map(|item| read(item.trim())).collect()
}

/// Reads an item of a list that may be left out.
fn optional<T>(
    read: impl Fn(&str) -> std::result::Result<T, String>,
) -> impl Fn(&str) -> std::result::Result<Option<T>, String> {
    move |item| {
        if item.is_empty() {
            Ok(None)
        } else {
            read(item).map(Some)
        }
    }
}

fn address(item: &str) -> std::result::Result<IpAddr, String> {
    item.parse()
        .map_err(|_| "an IPv4 or IPv6 address, or several with commas".to_owned())
}

fn port(item: &str) -> std::result::Result<u16, String> {
    item.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| "an integer between 1 and 65535, or several with commas".to_owned())
}

fn integer(value: &str) -> std::result::Result<u32, String> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| i32::try_from(*number).is_ok())
        .ok_or_else(|| "an integer >= 0".to_owned())
}

fn seconds(value: &str) -> std::result::Result<Duration, String> {
    let seconds = integer(value).map_err(|_| "an integer >= 0, in seconds".to_owned())?;
    Ok(Duration::from_secs(seconds.into()))
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> std::result::Result<T, String> {
    choices
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, choice)| *choice)
        .ok_or_else(|| {
            let accepted: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            names(&accepted)
        })
}
