//! The errors of dialling, TLS and start-up.

use std::error::Error as StdError;

use super::tls::explain;
use crate::base::Setting;
use crate::base::error::{Error, ErrorKind, chain, tls_error};

impl Error {
    /// The error of a step of connecting to the server `to`: of kind TLS if TLS is behind it, else of kind connect.
    #[must_use]
    pub fn connecting(error: &(dyn StdError + 'static), to: &str) -> Self {
        let (kind, why) = match tls_error(error) {
            Some(tls) => (ErrorKind::Tls, explain(tls)),
            None => (ErrorKind::Connect, chain(error)),
        };
        Self::new(kind, format!("could not connect to {to}: {why}"))
    }

    /// The error of start-up: the server's message, or an error as of [`Error::connecting`].
    #[must_use]
    pub fn starting(error: &tokio_postgres::Error, to: &str) -> Self {
        if let Some(server) = error.as_db_error() {
            return Self::database(server.into());
        }
        // The client library tells these cases by their text alone.
        let text = chain(error);
        if text.contains("password missing") {
            return Self::configuration(
                Setting::Password,
                format!("{to} asks for a password, and none is configured"),
            );
        }
        if text.contains("did not use channel binding") {
            return Self::new(
                ErrorKind::Tls,
                format!(
                    "{to} does not bind authentication to TLS, but `{}` is `require`",
                    Setting::ChannelBinding
                ),
            );
        }
        Self::connecting(error, to)
    }
}
