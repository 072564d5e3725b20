//! The facts of a connection that are known without asking the server.

use crate::connect::config::{ConnectConfig, Host};
use crate::connect::dial::Destination;
use crate::protocol::Parameters;

/// The facts of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The name of the database that was asked for; without one, the server takes that of the user.
    pub database: String,
    /// The name of the user that was given at start-up.
    pub user: String,
    /// The name or address of the host, or the folder of its Unix-domain socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The process id of the backend that answered when the connection was opened.
    pub process_id: i32,
    /// What the server has reported of itself and of the session, as of now.
    pub parameters: Parameters,
}

impl ConnectionInfo {
    pub(super) fn new(
        config: &ConnectConfig,
        destination: &Destination,
        process_id: i32,
        parameters: Parameters,
    ) -> Self {
        let user = config.user().unwrap_or_default();
        let (host, port) = match destination.host() {
            Host::Tcp { name, port, .. } => (name.clone(), *port),
            #[cfg(unix)]
            Host::Unix { directory, port } => (directory.display().to_string(), *port),
        };
        Self {
            database: config.protocol.get_dbname().unwrap_or(user).to_owned(),
            user: user.to_owned(),
            host,
            port,
            process_id,
            parameters,
        }
    }
}
