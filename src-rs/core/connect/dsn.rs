//! Reads a DSN, a URL or key/value pairs, as libpq does
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>).

use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::parameters;
use crate::connect::settings::Settings;
use forms::{Form, form};

mod forms;

/// Reads a URL or a key/value string. The text of a DSN never appears in an error: it may hold a password.
pub(crate) fn parse_dsn(dsn: &str) -> Result<Settings> {
    let name = Setting::Dsn;
    let form =
        form(dsn).map_err(|instead| Error::configuration(name, format!("`{name}` {instead}")))?;
    let pairs = match form {
        Form::Url(rest) | Form::Jdbc(rest) => parse_url(rest),
        Form::Pairs(text) => parse_pairs(text),
    };
    let mut pairs = pairs.map_err(|problem| Error::configuration(name, problem.message()))?;
    // `sslmode` is read before what adds to it, wherever it stands.
    pairs.sort_by_key(|pair| parameters::adds_to_mode(&pair.keyword));
    let mut settings = Settings::default();
    for Pair {
        keyword,
        value,
        may_show_name,
    } in pairs
    {
        let mut value = value.as_str();
        if matches!(form, Form::Jdbc(_)) && keyword == "ssl" {
            // There `true` means more than in libpq, and only where nothing names a mode.
            if settings.ssl_mode.is_some() {
                continue;
            }
            if value == "true" {
                value = "verify-full";
            }
        }
        parameters::read_dsn(&mut settings, &keyword, value, may_show_name)?;
    }
    Ok(settings)
}

/// An option of a DSN.
#[derive(Debug, PartialEq, Eq)]
struct Pair {
    keyword: String,
    value: String,
    /// Whether the keyword stands where no piece of a password can stand.
    may_show_name: bool,
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

type Pairs = std::result::Result<Vec<Pair>, Malformed>;

/// What libpq takes for a blank: the white space of C. Others, such as a no-break space, can be part of a password.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

/// `name = 'value'`, apart by blanks; in values a backslash takes the next character as it is.
fn parse_pairs(text: &str) -> Pairs {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let (keyword, value) = rest.split_once('=').ok_or(Malformed::Neither)?;
        let keyword = keyword.trim_end_matches(is_blank);
        if keyword.is_empty() || keyword.contains(is_blank) {
            return Err(Malformed::Neither);
        }
        let value = value.trim_start_matches(is_blank);
        let (quoted, value) = match value.strip_prefix('\'') {
            Some(value) => (true, value),
            None => (false, value),
        };
        let mut read = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next() {
                Some((at, '\'')) if quoted => break at + 1,
                Some((at, blank)) if !quoted && is_blank(blank) => break at,
                Some((_, '\\')) => read.extend(characters.next().map(|(_, escaped)| escaped)),
                Some((_, character)) => read.push(character),
                None if quoted => return Err(Malformed::Quote),
                None => break value.len(),
            }
        };
        // What follows a password without quotes may belong to it, and a text that begins so may be anything.
        let may_show_name = !pairs.is_empty()
            && !pairs
                .iter()
                .any(|pair| parameters::may_be_secret(&pair.keyword));
        pairs.push(Pair {
            keyword: keyword.to_owned(),
            value: read,
            may_show_name,
        });
        rest = value[end..].trim_start_matches(is_blank);
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
            pairs.push(Pair {
                keyword: keyword.to_owned(),
                value,
                may_show_name: true,
            });
        }
    };
    if let Some(account) = account {
        let (user, password) = account.split_once(':').unwrap_or((account, ""));
        add("user", decode(user)?);
        add("password", decode(password)?);
    }
    let (names, ports) = hosts_and_ports(hosts)?;
    // Of several hosts, as in libpq, even the empty names and ports count: they are those of the default.
    add("host", names.join(","));
    add("port", ports.join(","));
    add("dbname", decode(database)?);
    // A password that was not encoded reaches to its `@`, and one without an account stands where a port does.
    let query = query.unwrap_or_default();
    let mut may_show_name =
        !query.contains('@') && place.contains('/') && (account.is_some() || !hosts.contains(':'));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair.split_once('=').ok_or(Malformed::Query)?;
        if value.contains('=') {
            return Err(Malformed::Query);
        }
        let (keyword, value) = (decode(keyword)?, decode(value)?);
        let is_secret = parameters::may_be_secret(&keyword);
        pairs.push(Pair {
            keyword,
            value,
            may_show_name,
        });
        may_show_name &= !is_secret;
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

    fn bare(pairs: Pairs) -> std::result::Result<Vec<(String, String)>, Malformed> {
        Ok(pairs?
            .into_iter()
            .map(|pair| (pair.keyword, pair.value))
            .collect())
    }

    fn parse_pairs(text: &str) -> std::result::Result<Vec<(String, String)>, Malformed> {
        bare(super::parse_pairs(text))
    }

    fn parse_url(text: &str) -> std::result::Result<Vec<(String, String)>, Malformed> {
        bare(super::parse_url(text))
    }

    #[test]
    fn the_name_of_an_unknown_option_is_shown_where_it_can_be_no_piece_of_a_password() {
        for (dsn, is_shown) in [
            ("postgres://u:p@h/d?schemma=x", true),
            ("postgres://h/d?sslmode=require&schemma=x", true),
            ("postgres://u:p@h:5/d?schemma=x", true),
            ("host=h schemma=x", true),
            ("host=h user=u schemma=x password=p", true),
            // The first of these may be anything, such as a secret by itself.
            ("schemma=x", false),
            ("schemma=x host=h", false),
            ("host=h password=a schemma=x", false),
            ("postgres://u:p@h/d?password=a&schemma=x", false),
            ("postgres://u:a?schemma=x/b@h/d", false),
            ("postgres://u:1/a?schemma=x", false),
            ("postgres://u:a@b/c?schemma=x@h/d", false),
            ("postgres://u:p@h?schemma=x", false),
            ("postgres://u:p@h/d?hunter2=x", false),
        ] {
            let error = parse_dsn(dsn).unwrap_err();
            assert_eq!(
                error.message.contains("schemma"),
                is_shown,
                "{dsn}: {}",
                error.message
            );
            assert!(!error.message.contains("hunter2"));
        }
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
            ("/?ssl=true", &[("ssl", "true")]),
            (":5", &[("port", "5")]),
            ("a,b/d", &[("host", "a,b"), ("port", ","), ("dbname", "d")]),
            (",", &[("host", ","), ("port", ",")]),
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
