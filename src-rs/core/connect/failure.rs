//! The errors of dialling, TLS and start-up.

use std::error::Error as StdError;
use std::io;

use super::tls::explain;
use crate::base::Setting;
use crate::base::error::{Error, ErrorKind, chain, tls_error};

/// The most iterations of SCRAM that the client library does (`MAX_ITERATION_COUNT` in its src/authentication/sasl.rs): a
/// server that is not the right one could keep a client busy with them.
const MAX_SCRAM_ITERATIONS: u64 = 100_000;

impl Error {
    /// The error of start-up at the server `to` that has asked for more `iterations` of SCRAM than are done; `None` if that
    /// is not its cause.
    #[must_use]
    pub(crate) fn too_many_iterations(
        error: &tokio_postgres::Error,
        iterations: Option<u64>,
        to: &str,
    ) -> Option<Self> {
        let asked = iterations.filter(|asked| *asked > MAX_SCRAM_ITERATIONS)?;
        if error.as_db_error().is_some() {
            return None;
        }
        Some(Self::configuration(
            Setting::Password,
            format!(
                "{to} asks for {asked} iterations of SCRAM for this user's password, and at most {MAX_SCRAM_ITERATIONS} are \
                 done; lower the server's `scram_iterations` and set the password again"
            ),
        ))
    }

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
        Self::connecting(error, to).closed_early(error.is_closed() || was_closed(error))
    }

    /// The error of a connection, with the likely reasons if the other side closed it before start-up was over.
    #[must_use]
    pub(super) fn closed_early(mut self, was_closed: bool) -> Self {
        if was_closed {
            self.message.push_str(
                "; it closed the connection before start-up was over, as a proxy does without a server behind it, and a server \
                 that takes no further client (PGlite's socket takes `maxConnections`, 1 by default)",
            );
        }
        self
    }
}

/// Whether the other side closed the connection, or reset it.
pub(super) fn was_closed(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
            );
        }
        next = error.source();
    }
    false
}
