//! Finds a password in a file like `~/.pgpass` (<https://www.postgresql.org/docs/current/libpq-pgpass.html>).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::base::Setting;
use crate::base::error::{Error, Result};

/// The file to look for passwords in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PasswordFile {
    /// A file that was named: it must be there.
    Named(PathBuf),
    /// The file in libpq's own place, where it may be missing.
    Default(PathBuf),
}

/// The account that a password is looked up for.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db_name: String,
    pub(crate) user: String,
}

/// The result of looking up a password.
#[derive(PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The password of the first line that fits.
    Password(Vec<u8>),
    /// There is no line for the account.
    Absent,
    /// The file must not be used, for the reason.
    Unusable(String),
}

impl PasswordFile {
    /// The file that was named, or libpq's own.
    pub(crate) fn choose(named: Option<String>) -> Option<Self> {
        if let Some(path) = named {
            return Some(Self::Named(PathBuf::from(path)));
        }
        #[cfg(windows)]
        let path = std::env::var_os("APPDATA")
            .map(|folder| PathBuf::from(folder).join("postgresql").join("pgpass.conf"));
        #[cfg(not(windows))]
        let path = std::env::home_dir().map(|folder| folder.join(".pgpass"));
        path.map(Self::Default)
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Default(path) => path,
        }
    }

    /// Looks for the first line that fits an account.
    pub(crate) fn look_up(&self, account: &Account) -> Result<Lookup> {
        let path = self.path();
        let problem = match read(path) {
            Ok(None) if matches!(self, Self::Default(_)) => return Ok(Lookup::Absent),
            Ok(None) => "there is no such file".to_owned(),
            Ok(Some(text)) => {
                return Ok(find(&text, account).map_or(Lookup::Absent, Lookup::Password));
            }
            Err(problem) => problem,
        };
        let message = format!("{}: {problem}", path.display());
        match self {
            Self::Named(_) => Err(Error::configuration(
                Setting::PasswordFile,
                format!(
                    "`{}` (`PGPASSFILE`) cannot be used: {message}",
                    Setting::PasswordFile
                ),
            )),
            Self::Default(_) => Ok(Lookup::Unusable(message)),
        }
    }
}

/// Reads a password file that only its owner has access to; `None` if there is no file.
fn read(path: &Path) -> std::result::Result<Option<Vec<u8>>, String> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if about.mode() & 0o077 != 0 {
            return Err(format!(
                "others have access to it; its permissions must be u=rw (0600) or less, but are {:04o}",
                about.mode() & 0o7777
            ));
        }
    }
    fs::read(path).map(Some).map_err(|error| error.to_string())
}

/// Finds the password of an account among lines of the form `hostname:port:database:username:password`. `*` stands for
/// anything, and a backslash takes the next character as it is.
fn find(text: &[u8], account: &Account) -> Option<Vec<u8>> {
    let port = account.port.to_string();
    let fields = [
        account.host.as_str(),
        &port,
        &account.db_name,
        &account.user,
    ];
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.starts_with(b"#"))
        .find_map(|line| {
            let password = fields
                .iter()
                .try_fold(line, |rest, field| match_field(rest, field.as_bytes()))?;
            let mut password = password.iter();
            let mut read = Vec::new();
            // A colon ends the password, and what follows is nobody's.
            while let Some(byte) = password.next().filter(|byte| **byte != b':') {
                // A backslash at the end stands for itself.
                let escaped = if *byte == b'\\' {
                    password.next()
                } else {
                    None
                };
                read.push(*escaped.unwrap_or(byte));
            }
            Some(read)
        })
}

/// The rest of a line behind its first field, if that field fits.
fn match_field<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let mut wanted = wanted.iter();
    let mut rest = line;
    loop {
        let Some(next) = wanted.next() else {
            return rest.strip_prefix(b":");
        };
        // A colon within the name itself needs no backslash.
        let ([b'\\', byte, after @ ..] | [byte, after @ ..]) = rest else {
            return None;
        };
        if byte != next {
            return None;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            host: "h:1".to_owned(),
            port: 5432,
            db_name: r"d\b".to_owned(),
            user: "us*er".to_owned(),
        }
    }

    #[test]
    fn lines_are_read_as_libpq_reads_them() {
        for (text, password) in [
            (r"h\:1:5432:d\\b:us*er:secret", Some("secret")),
            (r"h:1:5432:d\\b:us*er:secret", Some("secret")),
            (r"h:1:5432:d\b:us*er:first", None),
            ("*:*:*:*:secret\n", Some("secret")),
            ("*:*:*:*:secret\r\n", Some("secret")),
            (r"*:*:*:*:a\:b\\c\d\", Some(r"a:b\cd\")),
            ("*:*:*:*:secret:more", Some("secret")),
            (r"*:*:*:*:a\\:b", Some(r"a\")),
            ("*:*:*:*::more", Some("")),
            ("*:*:*:*:", Some("")),
            ("#*:*:*:*:first\n\n*:*:*:*:second", Some("second")),
            (
                "*:5433:*:*:first\n*:5432:*:*:second\n*:*:*:*:third",
                Some("second"),
            ),
            ("other:*:*:*:first", None),
            ("*:*:*:us*:first", None),
            ("*:*:*:us*er*:first", None),
            ("*:*:*:*", None),
            ("", None),
        ] {
            let found = find(text.as_bytes(), &account());
            assert_eq!(found.as_deref(), password.map(str::as_bytes), "{text}");
        }
    }
}
