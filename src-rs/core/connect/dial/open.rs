//! Opens the socket to one address, and encrypts it if asked to.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
#[cfg(unix)]
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use crate::base::error::{Error, ErrorKind, tls_error};
use crate::base::{Setting, blocking};
use crate::connect::choices::{Choice as _, SslMode, SslNegotiation};
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::failure::was_closed;
use crate::connect::tls::ALPN;
use crate::connect::wire::{Socket, Transport, Wire};

/// How one attempt to connect is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Without TLS.
    None,
    /// With TLS, or not at all.
    Required,
    /// With TLS if the server has it, else without TLS on the same socket.
    IfOffered,
}

/// Why an attempt with one [`Encryption`] did not lead to a session.
pub(super) struct AttemptFailure {
    pub(super) error: Error,
    /// Whether the cause may be the encryption, so that an attempt with the other one is worth making.
    pub(super) may_be_encryption: bool,
}

impl From<Error> for AttemptFailure {
    fn from(error: Error) -> Self {
        Self {
            error,
            may_be_encryption: false,
        }
    }
}

/// The error of a host that cannot be reached.
pub(super) fn unreachable(host: &Host, error: &io::Error) -> Error {
    Error {
        is_unanswered: is_of_the_network(error.kind()),
        ..Error::connecting(error, &host.to_string())
    }
}

/// The error of a handshake that began at once. A server that does not expect one takes it for a broken request, and closes
/// the connection without an answer, or answers without TLS.
fn not_direct(host: &Host, error: &io::Error) -> Error {
    let is_closed = was_closed(error);
    let is_answer_plain = matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)));
    let mut told = unreachable(host, error);
    if is_closed {
        told.message =
            format!("could not connect to {host}: it closed the connection when TLS began");
    }
    if is_closed || is_answer_plain {
        let _ = write!(
            told.message,
            ". `{}` `direct` needs PostgreSQL 17 or later, and proxies that pass it on; with `postgres` the server is asked \
             first",
            Setting::SslNegotiation
        );
    }
    told
}

/// Whether an attempt ended in the network, and no server has said or refused anything.
fn is_of_the_network(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    matches!(
        kind,
        HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut
    )
}

/// The error of a host whose name has no address.
pub(super) fn no_address(host: &Host) -> Error {
    let absent = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    unreachable(host, &absent)
}

/// The addresses of a host: the one that was given, or those of its name.
pub(super) async fn resolve(
    host: &Host,
    name: &str,
    address: Option<IpAddr>,
    port: u16,
) -> crate::base::error::Result<Vec<SocketAddr>> {
    if let Some(address) = address.or_else(|| name.parse().ok()) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = name.to_owned();
    let looked_up = blocking(move || (name.as_str(), port).to_socket_addrs()).await;
    let addresses = looked_up
        .map_err(|error| unreachable(host, &error))?
        .map_err(|error| Error {
            // The system tells a network that is away from a name that is unknown by no more than a text.
            is_unanswered: true,
            ..unreachable(host, &error)
        })?;
    Ok(addresses.collect())
}

/// Connects to the Unix-domain socket in a folder.
#[cfg(unix)]
pub(super) async fn open_unix(
    host: &Host,
    directory: &Path,
    port: u16,
) -> crate::base::error::Result<Wire> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    let stream = UnixStream::connect(path).await;
    let stream = stream.map_err(|error| unreachable(host, &error))?;
    Ok(Wire::plain(Socket::new(Transport::Unix(stream))))
}

/// Connects to an address and encrypts as asked. Gives the connection and whether it is encrypted.
pub(super) async fn open(
    encryption: Encryption,
    config: &ConnectConfig,
    host: &Host,
    name: &str,
    address: SocketAddr,
) -> Result<(Wire, bool), AttemptFailure> {
    let failed = |error: io::Error| unreachable(host, &error);
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    config.socket.apply(&stream).map_err(failed)?;
    let socket = Socket::new(Transport::Tcp(stream));
    if encryption == Encryption::None {
        return Ok((Wire::plain(socket), false));
    }
    match encrypt(config, host, name, socket).await? {
        Offer::Encrypted(wire) => Ok((wire, true)),
        Offer::None(socket) if encryption == Encryption::IfOffered => {
            Ok((Wire::plain(socket), false))
        }
        Offer::None(_) => {
            let mode = config.tls.mode.name();
            Err(Error::new(
                ErrorKind::Tls,
                format!(
                    "{host} does not support TLS ({} is `{mode}`)",
                    Setting::SslMode
                ),
            )
            .into())
        }
    }
}

/// The server's answer to the request for TLS.
enum Offer {
    Encrypted(Wire),
    /// The server has no TLS, and goes on without it on the same socket.
    None(Socket),
}

/// `SSLRequest` (<https://www.postgresql.org/docs/current/protocol-message-formats.html>): its length, its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Asks the server for TLS, and shakes hands if the server has it.
async fn encrypt(
    config: &ConnectConfig,
    host: &Host,
    name: &str,
    mut socket: Socket,
) -> Result<Offer, AttemptFailure> {
    let failed = |error: &io::Error| unreachable(host, error);
    let tls = &config.tls;
    // Certificates that will be needed, and files that were named, must be readable before the server is asked anything.
    let mut loaded = None;
    if tls.mode >= SslMode::Require || tls.names_files() {
        loaded = Some(tls.load(name).await?);
    }
    if tls.negotiation == SslNegotiation::Postgres {
        let failed_early = |error: io::Error| failed(&error).closed_early(was_closed(&error));
        socket.write_all(&SSL_REQUEST).await.map_err(failed_early)?;
        // Exactly one byte is read: bytes that an attacker on the way put behind it would be taken for the server's words.
        match socket.read_u8().await.map_err(failed_early)? {
            b'S' => {}
            b'N' => return Ok(Offer::None(socket)),
            // A server that does not know the request, like one older than 7.0, answers with an error.
            b'E' => {
                return Err(AttemptFailure {
                    error: Error::new(
                        ErrorKind::Tls,
                        format!("{host} answered the request for TLS with an error"),
                    ),
                    may_be_encryption: true,
                });
            }
            other => {
                let text = format!("it answered the request for TLS with byte {other:#04x}");
                return Err(failed(&io::Error::new(io::ErrorKind::InvalidData, text)).into());
            }
        }
    }
    let (client, server_name) = match loaded {
        Some(loaded) => loaded,
        None => tls.load(name).await?,
    };
    let connecting = TlsConnector::from(client).connect(server_name, socket);
    let stream = connecting.await.map_err(|error| AttemptFailure {
        error: match tls.negotiation {
            SslNegotiation::Direct => not_direct(host, &error),
            SslNegotiation::Postgres => unreachable(host, &error),
        },
        may_be_encryption: true,
    })?;
    if tls.negotiation == SslNegotiation::Direct && stream.get_ref().1.alpn_protocol() != Some(ALPN)
    {
        return Err(Error::new(
            ErrorKind::Tls,
            format!(
                "{host} did not say that it speaks PostgreSQL's protocol (ALPN), as it must with {} `direct`",
                Setting::SslNegotiation
            ),
        )
        .into());
    }
    Ok(Offer::Encrypted(Wire::encrypted(stream)))
}
