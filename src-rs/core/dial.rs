//! Opens one server connection: addresses, socket options, authentication, the role asked for.
//!
//! `tokio_postgres::Config::connect` bounds only the TCP handshake and hides the socket. Here one deadline
//! covers everything, and the socket is a [`Wire`].

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::seq::SliceRandom;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Connection, NoTls, SimpleQueryMessage};

use super::config::{ConnectConfig, Host};
use super::error::{Error, ErrorKind, Result};
use super::inbound::{Arrivals, Inbound};
use super::wire::{Transport, Wire, WireFacts};

/// A connection whose messages nobody reads yet: poll it, or nothing happens.
pub type ServerConnection = Connection<Inbound<Wire>, NoTlsStream>;

/// What dialling gives.
#[must_use = "the connection must be polled"]
#[expect(missing_debug_implementations, reason = "a `Connection` has none")]
pub struct Dialed {
    /// Sends statements.
    pub client: Client,
    /// Drives the socket and yields asynchronous messages.
    pub connection: ServerConnection,
    /// What the socket learns meanwhile.
    pub facts: Arc<WireFacts>,
}

/// The configured hosts, in the order in which they are to be tried now.
#[must_use]
pub fn hosts_in_turn(config: &ConnectConfig) -> Vec<&Host> {
    let mut hosts: Vec<&Host> = config.hosts.iter().collect();
    if config.load_balance {
        hosts.shuffle(&mut rand::rng());
    }
    hosts
}

/// Connects to the first configured host that answers, authenticates us and has the role asked for.
///
/// Each host gets [`ConnectConfig::connect_timeout`], from name resolution to the last answer.
pub async fn dial(config: &ConnectConfig) -> Result<Dialed> {
    let mut last = no_host();
    for host in hosts_in_turn(config) {
        match in_time(config, host, dial_host(config, host, None)).await {
            Ok(dialed) => return Ok(dialed),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The error when there was no host to try.
pub(super) fn no_host() -> Error {
    Error::configuration("host", "no host to connect to")
}

/// Bounds what is done to get a connection to one host.
pub(super) async fn in_time<T>(
    config: &ConnectConfig,
    host: &Host,
    attempt: impl Future<Output = Result<T>>,
) -> Result<T> {
    let timeout = config.connect_timeout;
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(|_| {
            let seconds = timeout.as_secs_f64();
            Err(Error::new(
                ErrorKind::Connect,
                format!(
                    "could not connect to {host}: no answer within {seconds} s (connectTimeoutSec)"
                ),
            ))
        })
}

/// Connects to one host, in whatever time it takes. Its notifications go to `arrivals`, if somebody wants them.
pub(super) async fn dial_host(
    config: &ConnectConfig,
    host: &Host,
    arrivals: Option<&Arc<Arrivals>>,
) -> Result<Dialed> {
    let failed = |error: io::Error| {
        Error::new(
            ErrorKind::Connect,
            format!("could not connect to {host}: {error}"),
        )
    };
    let mut last = failed(io::Error::new(
        io::ErrorKind::NotFound,
        "the name has no address",
    ));
    match host {
        #[cfg(unix)]
        Host::Unix { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            return authenticate(config, host, Transport::Unix(stream), arrivals).await;
        }
        Host::Tcp {
            name,
            address,
            port,
        } => {
            for address in resolve(name, *address, *port).await.map_err(failed)? {
                let attempt = async {
                    let stream = TcpStream::connect(address).await.map_err(failed)?;
                    config.apply_socket_options(&stream).map_err(failed)?;
                    authenticate(config, host, Transport::Tcp(stream), arrivals).await
                };
                match attempt.await {
                    Ok(dialed) => return Ok(dialed),
                    Err(error) => last = error,
                }
            }
        }
    }
    Err(last)
}

async fn resolve(name: &str, address: Option<IpAddr>, port: u16) -> io::Result<Vec<SocketAddr>> {
    match address {
        Some(address) => Ok(vec![SocketAddr::new(address, port)]),
        None => Ok(tokio::net::lookup_host((name, port)).await?.collect()),
    }
}

async fn authenticate(
    config: &ConnectConfig,
    host: &Host,
    transport: Transport,
    arrivals: Option<&Arc<Arrivals>>,
) -> Result<Dialed> {
    let wire = Wire::new(transport);
    let facts = wire.facts();
    let inbound = Inbound::new(wire, arrivals.cloned());
    let (client, mut connection) = config
        .protocol
        .connect_raw(inbound, NoTls)
        .await
        .map_err(|error| Error::connecting(&error, &host.to_string()))?;
    if config.target_session_attrs != TargetSessionAttrs::Any {
        let read_only = {
            let query = client.simple_query("SHOW transaction_read_only");
            tokio::pin!(query);
            tokio::select! {
                answer = &mut query => answer?,
                () = drive(&mut connection) => {
                    return Err(Error::new(ErrorKind::Connect, format!("{host} closed the connection")));
                }
            }
            .iter()
            .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")))
        };
        let wanted = config.target_session_attrs == TargetSessionAttrs::ReadOnly;
        if read_only != wanted {
            let (is, asked) = if read_only {
                ("read-only", "read-write")
            } else {
                ("read-write", "read-only")
            };
            return Err(Error::new(
                ErrorKind::Connect,
                format!("{host} is {is}, but targetSessionAttrs asks for `{asked}`"),
            ));
        }
    }
    Ok(Dialed {
        client,
        connection,
        facts,
    })
}

/// Polls a connection whose messages are of no interest until it ends.
pub async fn drive(connection: &mut ServerConnection) {
    while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {}
}
