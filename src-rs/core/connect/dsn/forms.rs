//! The forms of addresses: libpq's two, those of other software that mean the same, and those that are refused with the
//! words to write instead.

/// An address without what tells its form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// What follows `postgres://`.
    Url(&'a str),
    /// What follows `jdbc:postgresql://`.
    Jdbc(&'a str),
    /// Key/value pairs.
    Pairs(&'a str),
}

/// The drivers that `SQLAlchemy`'s addresses name.
const DRIVERS: &[&str] = &[
    "asyncpg",
    "pg8000",
    "psycopg",
    "psycopg2",
    "psycopg2cffi",
    "psycopg_async",
];

/// How addresses that are no PostgreSQL's begin, and what is said to them.
const REFUSED: &[(&str, &str)] = &[
    (
        "jdbc:",
        "is a JDBC address without `//`; write `postgres://host:5432/database`",
    ),
    ("prisma://", OF_PRISMA),
    ("prisma+postgres://", OF_PRISMA),
    ("https://", OF_THE_WEB),
    ("http://", OF_THE_WEB),
    (
        "psql ",
        "begins with the command `psql`; write the address alone, without quotes",
    ),
    ("\"", IN_QUOTES),
    ("'", IN_QUOTES),
];

const OF_PRISMA: &str = "is an address of Prisma's own service, which speaks another protocol; write that of the database";
const OF_THE_WEB: &str = "is an address of the web; write that of the database, `postgres://user:password@host:5432/database`";
const IN_QUOTES: &str = "is in quotes; write it without them";
const OF_DOT_NET: &str = "is in the form of .NET, `Host=…;Username=…`; write \
     `postgres://user:password@host:5432/database`, or `host=… user=… password=… dbname=…` with blanks between them";

/// Finds the form of an address, or says what is to be written instead.
pub(super) fn form(dsn: &str) -> Result<Form<'_>, &'static str> {
    for scheme in ["postgresql://", "postgres://", "postgis://"] {
        if let Some(rest) = dsn.strip_prefix(scheme) {
            return Ok(Form::Url(rest));
        }
    }
    if let Some(rest) = dsn.strip_prefix("jdbc:postgresql://") {
        return Ok(Form::Jdbc(rest));
    }
    for scheme in ["postgresql+", "postgres+"] {
        let parts = dsn
            .strip_prefix(scheme)
            .and_then(|rest| rest.split_once("://"));
        if let Some((driver, rest)) = parts
            && DRIVERS.contains(&driver)
        {
            return Ok(Form::Url(rest));
        }
    }
    let begins = |with: &str| {
        dsn.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if let Some((_, instead)) = REFUSED.iter().find(|(start, _)| begins(start)) {
        return Err(instead);
    }
    if is_dot_net(dsn) {
        return Err(OF_DOT_NET);
    }
    Ok(Form::Pairs(dsn))
}

/// Whether pairs are apart by semicolons. libpq would take all of them for the value of the first, and show a host.
fn is_dot_net(dsn: &str) -> bool {
    const NAMES: &[&str] = &[
        "host",
        "server",
        "port",
        "database",
        "username",
        "user name",
        "user id",
        "userid",
        "uid",
        "user",
        "password",
        "pwd",
        "ssl mode",
        "sslmode",
        "pooling",
    ];
    let name = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        (!value.contains('=') && NAMES.contains(&name.as_str())).then_some(name)
    };
    let mut parts = dsn.split(';').filter(|part| !part.trim().is_empty());
    // A password of libpq's may have anything in it.
    let first = parts.next().and_then(name);
    first.is_some_and(|name| dsn.starts_with(char::is_uppercase) || name != "password")
        && parts.any(|part| name(part).is_some())
}
