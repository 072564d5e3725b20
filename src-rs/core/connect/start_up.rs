//! Start-up: the parameters that a session begins with, and the password that a file has for it.

use std::path::PathBuf;
use std::sync::OnceLock;

use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::{Setting, blocking};
use crate::connect::config::ConnectConfig;
use crate::connect::hosts::Host;
use crate::connect::passfile::{Account, Lookup};
use crate::connect::password::{Asked, PasswordFailure};
use crate::connect::settings::Settings;

/// The parameters of start-up at one host.
pub(crate) struct StartUp {
    /// User, password, database and parameters.
    pub(crate) protocol: Config,
    /// The file that the password is from, if it is from a file.
    password_file: Option<PathBuf>,
    /// Why a password file was not used.
    problem: Option<String>,
    /// Whether the password was asked for.
    is_asked: bool,
}

/// In bytes.
const SHA_256_BLOCK: usize = 64;

impl StartUp {
    /// Whether SCRAM can take so long that nobody else is to wait for it: a key of HMAC that is longer than a block of SHA-256
    /// is hashed anew in each iteration.
    pub(crate) fn is_slow(&self) -> bool {
        self.protocol
            .get_password()
            .is_some_and(|password| password.len() > SHA_256_BLOCK)
    }

    /// An error of start-up, with the part that the password file has in it.
    pub(crate) fn explain(&self, mut error: Error) -> Error {
        if self.is_asked
            && error.option == Some(Setting::Password)
            && self.protocol.get_password().is_none()
        {
            return PasswordFailure::Empty.into();
        }
        let more = match (&self.password_file, &self.problem) {
            // invalid_password
            (Some(path), _) if error.sql_state() == Some("28P01") => {
                format!("; the password is from {}", path.display())
            }
            _ if self.is_asked && error.sql_state() == Some("28P01") => {
                format!(
                    "; the password is from the function `{}`",
                    Setting::Password
                )
            }
            (_, Some(problem)) if error.option == Some(Setting::Password) => {
                format!("; the password file is not used: {problem}")
            }
            _ => return error,
        };
        error.message.push_str(&more);
        if let Some(server) = &mut error.server {
            server.message.push_str(&more);
        }
        error
    }
}

impl ConnectConfig {
    /// The parameters of start-up at a host, with the password that was asked for, or that a file has for it.
    pub(crate) async fn start_up(&self, host: &Host, asked: &Asked) -> Result<StartUp> {
        let mut start_up = StartUp {
            protocol: self.protocol.clone(),
            password_file: None,
            problem: None,
            is_asked: false,
        };
        if start_up.protocol.get_user().is_none() {
            start_up.protocol.user(process_user().await?);
        }
        if let Some(source) = &self.password_source {
            let password = asked.password(source).await?;
            start_up.is_asked = true;
            if !password.is_empty() {
                start_up.protocol.password(password);
            }
            return Ok(start_up);
        }
        let Some(file) = self.password_file.clone() else {
            return Ok(start_up);
        };
        let Some(user) = start_up.protocol.get_user().map(ToOwned::to_owned) else {
            return Ok(start_up);
        };
        let (name, port) = host.in_password_file();
        let account = Account {
            host: name,
            port,
            db_name: self.protocol.get_dbname().unwrap_or(&user).to_owned(),
            user,
        };
        let path = file.path().to_owned();
        // Home folders can be on another machine.
        let looked = blocking(move || file.look_up(&account)).await;
        let looked = looked.map_err(|error| {
            Error::new(
                ErrorKind::Connect,
                format!("the password file cannot be read: {error}"),
            )
        });
        match looked?? {
            Lookup::Password(password) => {
                start_up.protocol.password(password);
                start_up.password_file = Some(path);
            }
            Lookup::Absent => {}
            Lookup::Unusable(problem) => start_up.problem = Some(problem),
        }
        Ok(start_up)
    }
}

/// The name of the user who runs the process. It is looked up once; a failure is not kept.
pub(super) fn os_user() -> Option<&'static str> {
    static NAME: OnceLock<String> = OnceLock::new();
    if NAME.get().is_none() {
        let _ = NAME.set(whoami::username().ok()?);
    }
    NAME.get().map(String::as_str)
}

/// The name of the user who runs the process, which the system may have to ask a directory for.
async fn process_user() -> Result<&'static str> {
    let name = blocking(os_user).await.map_err(|error| {
        Error::new(
            ErrorKind::Connect,
            format!("the user who runs the process cannot be looked up: {error}"),
        )
    })?;
    name.ok_or_else(|| {
        let user = Setting::User;
        Error::configuration(
            user,
            format!(
                "no user is given (`{user}`, PGUSER), and the system has no name for the one who runs the process"
            ),
        )
    })
}

/// The parameters of start-up. As in libpq, an empty password or database is none.
pub(super) fn protocol(settings: &Settings) -> Config {
    let mut protocol = Config::new();
    protocol.channel_binding(settings.channel_binding.unwrap_or(ChannelBinding::Prefer));
    let application_name = settings.application_name.as_deref();
    let application_name = application_name.or(settings.fallback_application_name.as_deref());
    protocol.application_name(application_name.unwrap_or("pglisten"));
    if let Some(user) = &settings.user {
        protocol.user(user);
    }
    if let Some(password) = settings.password.as_ref().filter(|it| !it.is_empty()) {
        protocol.password(password);
    }
    if let Some(db_name) = settings.db_name.as_ref().filter(|it| !it.is_empty()) {
        protocol.dbname(db_name);
    }
    let options = command_line(&[settings]);
    if !options.is_empty() {
        protocol.options(options);
    }
    protocol
}

/// The session's command line. What stands last wins, so the sources come from the weakest on, and `options` are those of the last
/// that has any.
pub(super) fn command_line(sources: &[&Settings]) -> String {
    let has_options = |source: &&Settings| source.options.is_some();
    let chosen = sources.iter().rposition(has_options);
    let mut parts = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let session = source.session.iter().flatten();
        parts.extend(session.map(|(name, value)| format!("-c {name}={}", escaped(value))));
        if chosen == Some(index) {
            parts.extend(source.options.clone().filter(|options| !options.is_empty()));
        }
    }
    parts.join(" ")
}

/// A value as it stands in a command line.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        // Blanks separate, and a backslash takes the next character as it is (`pg_split_opts` in
        // src/backend/utils/init/postinit.c).
        if character.is_ascii_whitespace() || character == '\\' {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_environment_go_to_the_command_line() {
        let settings = Settings {
            options: Some("-c x=1".to_owned()),
            session: Some(vec![("TimeZone", r"a b\c".to_owned())]),
            ..Settings::default()
        };
        assert_eq!(command_line(&[&settings]), r"-c TimeZone=a\ b\\c -c x=1");
    }
}
