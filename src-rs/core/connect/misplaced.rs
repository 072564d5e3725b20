//! Refuses what stands in the wrong place and may hold a secret: a whole address where a name belongs, the text of a key where
//! its path does. The server and the operating system would be asked for it, and their errors show what they were asked for.

use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::settings::Settings;

/// Checks the settings of a source that are shown somewhere.
pub(super) fn check(settings: &Settings) -> Result<()> {
    let application_name = settings.application_name.as_ref();
    for (setting, value, what) in [
        (Setting::User, settings.user.as_ref(), "the name of a user"),
        (
            Setting::DbName,
            settings.db_name.as_ref(),
            "the name of a database",
        ),
        (
            Setting::Options,
            settings.options.as_ref(),
            "a command line such as `-c statement_timeout=5s`",
        ),
        (
            Setting::ApplicationName,
            application_name.or(settings.fallback_application_name.as_ref()),
            "a name",
        ),
    ] {
        if value.is_some_and(|value| is_address(value)) {
            return Err(address(setting, what));
        }
    }
    for (setting, path, text) in [
        (Setting::PasswordFile, &settings.password_file, None),
        (Setting::CaFile, &settings.ca_file, Some(Setting::Ca)),
        (Setting::CertFile, &settings.cert_file, Some(Setting::Cert)),
        (Setting::KeyFile, &settings.key_file, Some(Setting::Key)),
    ] {
        let Some(path) = path.as_deref() else {
            continue;
        };
        let what = "the path of a file";
        if is_address(path) {
            return Err(address(setting, what));
        }
        if is_content(path) {
            let taken = text.map_or(String::new(), |text| format!("; `{text}` takes that"));
            let message = format!(
                "Expected `{setting}` to be {what}, got the text of one (not shown){taken}"
            );
            return Err(Error::configuration(setting, message));
        }
    }
    Ok(())
}

fn address(setting: Setting, what: &str) -> Error {
    let dsn = Setting::Dsn;
    Error::configuration(
        setting,
        format!(
            "Expected `{setting}` to be {what}, got a whole address (not shown: it may hold a password); `{dsn}` takes that"
        ),
    )
}

/// Whether a text is an address, or has one in it: a URL of PostgreSQL's, or pairs with a password. A command line may have what
/// it likes.
fn is_address(text: &str) -> bool {
    if text.trim_start().starts_with('-') {
        return false;
    }
    let text = text.to_ascii_lowercase();
    let is_url = text
        .split_once("://")
        .is_some_and(|(before, _)| before.contains("postg"));
    let has_password = ["password", "pwd"].iter().any(|name| {
        text.match_indices(name)
            .any(|(at, _)| text[at + name.len()..].trim_start().starts_with('='))
    });
    is_url || has_password
}

/// Whether a text is what a file has in it.
fn is_content(path: &str) -> bool {
    path.contains(['\r', '\n']) || path.contains("-----BEGIN")
}

/// Whether a value may be a whole address, or certificates or a key.
pub(super) fn may_be_secret(value: &str) -> bool {
    value.contains(['@', '=']) || value.contains("://") || is_content(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_name() {
        for text in [
            "postgres://app:hunter2@db/x",
            "PostgreSQL+asyncpg://db/x",
            "jdbc:postgresql://db/x",
            "psql \"postgres://db/x\"",
            "host=db user=me password=hunter2",
            "host=db password = hunter2",
            "Host=db;Username=me;Password=hunter2",
            "Server=db;Pwd=hunter2",
        ] {
            assert!(is_address(text), "{text}");
        }
        for text in [
            "",
            "orders",
            "a=b",
            "me@db",
            "-c search_path=a -c app.password=b",
            "https://app.example",
            "/etc/postgresql/root.crt",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}
