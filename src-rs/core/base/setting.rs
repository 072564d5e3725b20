//! The settings that errors name, and how their names are found again in a text.
//!
//! The core calls a setting by its own name (`connect_timeout`), users of the addon by the facade's
//! (`connectTimeoutSec`). A text passes through `format!`, other errors, gaps and warnings before it reaches a user. A
//! list of the names in it would have to be carried along beside it everywhere, and would be forgotten somewhere. So a
//! [`Setting`] is displayed between two invisible marks, which travel within the text, and [`rename`] replaces exactly what
//! is marked: the same word in a path or in a server's message is left alone.

use std::fmt;

/// Stands before and after each name: U+2063, INVISIBLE SEPARATOR.
const MARK: char = '\u{2063}';

macro_rules! settings {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A setting that an error can name. Displayed as its name, with marks for [`rename`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Setting {
            $($(#[$doc])* $variant,)*
            /// A variable of the environment, which has one name everywhere.
            Variable(&'static str),
        }

        impl Setting {
            const NAMED: &[Self] = &[$(Self::$variant,)*];

            /// The core's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Variable(name) => name,
                }
            }
        }
    };
}

settings! {
    /// A whole connection string.
    Dsn = "dsn",
    /// The servers to try.
    Host = "host",
    /// Their ports.
    Ports = "ports",
    /// The name of the user.
    User = "user",
    /// The user's password.
    Password = "password",
    /// The file that passwords are looked up in.
    PasswordFile = "password_file",
    /// The name of the database.
    DbName = "db_name",
    /// The command line of each session.
    Options = "options",
    /// The name of each session.
    ApplicationName = "application_name",
    /// The time for each host.
    ConnectTimeout = "connect_timeout",
    /// The role that a server must have.
    TargetSessionAttrs = "target_session_attrs",
    /// How much encryption is asked for.
    SslMode = "ssl_mode",
    /// How TLS begins.
    SslNegotiation = "ssl_negotiation",
    /// Whether authentication is bound to TLS.
    ChannelBinding = "channel_binding",
    /// The certificates of trusted authorities.
    CaFile = "ca_file",
    /// The client's certificate.
    CertFile = "cert_file",
    /// The key of the client's certificate.
    KeyFile = "key_file",
    /// The time between heartbeats.
    HeartbeatInterval = "heartbeat_interval",
    /// The certificates of trusted authorities, as text.
    Ca = "ca",
    /// The client's certificate, as text.
    Cert = "cert",
    /// The key of the client's certificate, as text.
    Key = "key",
    /// How long a full consumer may pause reading.
    MaxPause = "max_pause",
    /// The policy of a full consumer.
    Overflow = "overflow",
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            named => write!(f, "{MARK}{}{MARK}", named.name()),
        }
    }
}

/// The text with each marked setting under the name that `name` gives it, and without marks.
pub fn rename(text: &str, name: impl Fn(Setting) -> &'static str) -> String {
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        renamed.push_str(before);
        let marked = after.split_once(MARK).and_then(|(core_name, behind)| {
            let setting = Setting::NAMED.iter().find(|it| it.name() == core_name)?;
            Some((*setting, behind))
        });
        if let Some((setting, behind)) = marked {
            renamed.push_str(name(setting));
            rest = behind;
        } else {
            // A mark that is not ours.
            renamed.push(MARK);
            rest = after;
        }
    }
    renamed.push_str(rest);
    renamed
}

/// The text on one line, cut to at most `most` characters, with no name cut in two.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let line = text.replace(['\r', '\n'], " ");
    if line.chars().count() <= most {
        return line;
    }
    let mut short: String = line.chars().take(most).collect();
    if short.matches(MARK).count() % 2 == 1 {
        short.truncate(short.rfind(MARK).unwrap_or_default());
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_names_are_renamed() {
        let text = format!(
            "{MARK}ssl_mode in ssl_mode: `{}` ({}), {}{MARK}",
            Setting::SslMode,
            Setting::ConnectTimeout,
            Setting::Variable("PGPORT"),
        );
        assert_eq!(
            rename(&text, |setting| match setting {
                Setting::SslMode => "sslMode",
                other => other.name(),
            }),
            format!("{MARK}ssl_mode in ssl_mode: `sslMode` (connect_timeout), PGPORT{MARK}")
        );
    }
}
