//! Reads a DSN, a URL or key/value pairs, as libpq does
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>).

use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::parameters;
use crate::connect::settings::Settings;

/// Reads a URL or a key/value string. The text of a DSN never appears in an error: it may hold a password.
pub(crate) fn parse_dsn(dsn: &str) -> Result<Settings> {
    let scheme = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| dsn.strip_prefix(scheme));
    let pairs = match scheme {
        Some(rest) => parse_url(rest),
        None => parse_pairs(dsn),
    };
    let mut settings = Settings::default();
    for (keyword, value) in
        pairs.map_err(|problem| Error::configuration(Setting::Dsn, problem.message()))?
    {
        parameters::read_dsn(&mut settings, &keyword, &value)?;
    }
    Ok(settings)
}

/// The ways in which a DSN can be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Malformed {
    Neither,
    StrayAt,
    Encoding,
    Blank,
    Bracket,
    Query,
    Quote,
}

impl Malformed {
    fn message(self) -> String {
        let expected = match self {
            Self::Neither => {
                "a URL like `postgres://user:password@host:5432/database` or key/value pairs like `host=localhost \
                 user=postgres`, got text that is neither"
            }
            Self::StrayAt => {
                "a URL with one `@`, before the host; an `@` or `/` in a password is written `%40` or `%2F`"
            }
            Self::Encoding => {
                "a URL in which each `%` is followed by two hexadecimal digits, and what is encoded is UTF-8 without NUL"
            }
            Self::Blank => "a URL without blanks; a blank in a name is written `%20`",
            Self::Bracket => {
                "a URL in which an IPv6 address stands in brackets, and a port or a database follows them"
            }
            Self::Query => "a URL with options like `?name=value&name=value`",
            Self::Quote => {
                "key/value pairs in which each quote is closed; a quote in a value is written `\\'`"
            }
        };
        let dsn = Setting::Dsn;
        format!("Expected `{dsn}` to be {expected} (not shown: it may hold a password)")
    }
}

type Pairs = std::result::Result<Vec<(String, String)>, Malformed>;

/// `name = 'value'`, apart by blanks; in values a backslash takes the next character as it is.
fn parse_pairs(text: &str) -> Pairs {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, value) = rest.split_once('=').ok_or(Malformed::Neither)?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || keyword.contains(char::is_whitespace) {
            return Err(Malformed::Neither);
        }
        let value = value.trim_start();
        let (quoted, value) = match value.strip_prefix('\'') {
            Some(value) => (true, value),
            None => (false, value),
        };
        let mut read = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next() {
                Some((at, '\'')) if quoted => break at + 1,
                Some((at, blank)) if !quoted && blank.is_whitespace() => break at,
                Some((_, '\\')) => read.extend(characters.next().map(|(_, escaped)| escaped)),
                Some((_, character)) => read.push(character),
                None if quoted => return Err(Malformed::Quote),
                None => break value.len(),
            }
        };
        pairs.push((keyword.to_owned(), read));
        rest = value[end..].trim_start();
    }
    Ok(pairs)
}

/// `[user[:password]@][host][:port][,…][/database][?name=value[&…]]`
fn parse_url(text: &str) -> Pairs {
    let (account, rest) = account_and_rest(text);
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    // libpq would take what follows the first one for a host or a database, and both are shown. So it would with the rest of a
    // password among the options.
    let has_option = |account: &str| {
        ["?password=", "&password="]
            .iter()
            .any(|it| account.contains(it))
    };
    if place.contains('@') || account.is_some_and(has_option) {
        return Err(Malformed::StrayAt);
    }
    let mut pairs = Vec::new();
    let mut add = |keyword: &str, value: String| {
        if !value.is_empty() {
            pairs.push((keyword.to_owned(), value));
        }
    };
    if let Some(account) = account {
        let (user, password) = account.split_once(':').unwrap_or((account, ""));
        add("user", decode(user)?);
        add("password", decode(password)?);
    }
    let (names, ports) = hosts_and_ports(hosts)?;
    if names.iter().any(|name| !name.is_empty()) {
        add("host", names.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        add("port", ports.join(","));
    }
    add("dbname", decode(database)?);
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (keyword, value) = pair.split_once('=').ok_or(Malformed::Query)?;
        if value.contains('=') {
            return Err(Malformed::Query);
        }
        let (keyword, value) = (decode(keyword)?, decode(value)?);
        // For JDBC's sake, as libpq does it.
        pairs.push(if keyword == "ssl" && value == "true" {
            ("sslmode".to_owned(), "require".to_owned())
        } else {
            (keyword, value)
        });
    }
    Ok(pairs)
}

/// Divides a URL at the first `@` if no `/` stands before it: a `?` before it belongs to the user or the password
/// (`conninfo_uri_parse_options` in src/interfaces/libpq/fe-connect.c).
fn account_and_rest(text: &str) -> (Option<&str>, &str) {
    match text.find(['@', '/']) {
        Some(at) if text[at..].starts_with('@') => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    }
}

fn hosts_and_ports(text: &str) -> std::result::Result<(Vec<String>, Vec<String>), Malformed> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (name, port) = match one.strip_prefix('[') {
            Some(address) => {
                let (address, rest) = address.split_once(']').ok_or(Malformed::Bracket)?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => port,
                    None if rest.is_empty() => "",
                    None => return Err(Malformed::Bracket),
                };
                (address, port)
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        names.push(decode(name)?);
        ports.push(decode(port)?);
    }
    Ok((names, ports))
}

fn decode(text: &str) -> std::result::Result<String, Malformed> {
    let text = text.trim_ascii();
    if text.contains(|character: char| character.is_ascii_whitespace()) {
        return Err(Malformed::Blank);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(0), Some(0)) | (None, _) | (_, None) => return Err(Malformed::Encoding),
            (Some(high), Some(low)) => bytes.extend(u8::try_from(high * 16 + low)),
        }
    }
    String::from_utf8(bytes).map_err(|_| Malformed::Encoding)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(keyword, value)| ((*keyword).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        assert_eq!(
            parse_pairs(r" host = a,b user='x y' password='it\'s \\' port=5 ").unwrap(),
            owned(&[
                ("host", "a,b"),
                ("user", "x y"),
                ("password", r"it's \"),
                ("port", "5")
            ])
        );
        assert_eq!(
            parse_pairs(r"password=a\ b dbname=''").unwrap(),
            owned(&[("password", "a b"), ("dbname", "")])
        );
        assert_eq!(parse_pairs("").unwrap(), owned(&[]));
        assert_eq!(parse_pairs("host"), Err(Malformed::Neither));
        assert_eq!(parse_pairs("user name=x"), Err(Malformed::Neither));
        assert_eq!(parse_pairs("user='x"), Err(Malformed::Quote));
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        for (url, pairs) in [
            ("", &[][..]),
            ("localhost", &[("host", "localhost")]),
            (
                "u%40x:p%2Fw@[::1]:5,b/d%20b?sslmode=require&user=v",
                &[
                    ("user", "u@x"),
                    ("password", "p/w"),
                    ("host", "::1,b"),
                    ("port", "5,"),
                    ("dbname", "d b"),
                    ("sslmode", "require"),
                    ("user", "v"),
                ],
            ),
            ("%2Ftmp:5/", &[("host", "/tmp"), ("port", "5")]),
            ("/?ssl=true", &[("sslmode", "require")]),
            (":5", &[("port", "5")]),
            (" h /d\n", &[("host", "h"), ("dbname", "d")]),
            (
                "u?v:p?q&r=s@h?user=w",
                &[
                    ("user", "u?v"),
                    ("password", "p?q&r=s"),
                    ("host", "h"),
                    ("user", "w"),
                ],
            ),
            ("h?user=a@b", &[("user", "h?user=a"), ("host", "b")]),
            ("h/?user=a@b", &[("host", "h"), ("user", "a@b")]),
        ] {
            assert_eq!(parse_url(url).unwrap(), owned(pairs), "{url}");
        }
        for (url, problem) in [
            ("u:a@b@h/", Malformed::StrayAt),
            ("u:1/x@h/", Malformed::StrayAt),
            ("h?password=a@b", Malformed::StrayAt),
            ("h?user=u&password=a@b", Malformed::StrayAt),
            ("u:a?b/c@h/", Malformed::Query),
            ("[::1", Malformed::Bracket),
            ("[::1]5", Malformed::Bracket),
            ("h/a b", Malformed::Blank),
            ("h%2", Malformed::Encoding),
            ("h%00", Malformed::Encoding),
            ("h%ff", Malformed::Encoding),
            ("h?a", Malformed::Query),
            ("h?a=b=c", Malformed::Query),
        ] {
            assert_eq!(parse_url(url), Err(problem), "{url}");
        }
    }
}
