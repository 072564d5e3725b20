//! Opens one server connection: addresses, socket options, encryption, authentication, the role asked for.
//!
//! `tokio_postgres::Config::connect` bounds only the TCP handshake and hides the socket. Here one deadline
//! covers everything, and the socket is a [`Wire`].

mod candidates;
mod open;
mod round;
mod start;

use std::future::poll_fn;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::Instant;
use tokio_postgres::CancelToken;

pub use candidates::Candidate;
use candidates::{check_role, check_timeline, note_refused};
#[cfg(unix)]
use open::open_unix;
use open::{AttemptFailure, Encryption, no_address, open, resolve};
pub(crate) use round::{first_of, hosts_named};
use start::{AlreadyEncrypted, check_binding, start};

use crate::base::Setting;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::panic::contained_future;
use crate::connect::choices::{SslMode, TargetSessionAttrs};
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::password::Asked;
use crate::connect::wire::{Wire, WireFacts};
use crate::inbound::{Inbound, NotificationSink};
use crate::protocol::hand_over::lend;
use crate::protocol::{Asynchronous, Client, Connection, ConnectionEnd, Driven};

/// A connection to a server. Nothing is sent or read unless it is polled.
pub type ServerConnection = Connection<Inbound<Wire>>;

/// A connection that was dialled, authenticated and has the role asked for.
#[must_use = "the connection must be polled"]
#[derive(Debug)]
pub struct Dialed {
    /// Sends statements.
    pub client: Client,
    /// Drives the socket and yields asynchronous messages.
    pub connection: ServerConnection,
    /// Facts about the server that the socket notes while it is read.
    pub facts: Arc<WireFacts>,
    /// The server that answered.
    pub destination: Destination,
}

/// The server that a connection goes to, and whether it is encrypted: enough for another connection to the same server.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The host, with the one address of its name that answered.
    host: Host,
    /// That address with its scope, which tells the interface of an address that is link-local.
    address: Option<SocketAddr>,
    is_encrypted: bool,
}

impl Destination {
    /// The host that answered.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Asks the server to cancel the statement that the backend of `token` runs; an idle backend ignores the request.
    ///
    /// Returns once the server has passed the request on. The protocol does not tell whether it had an effect
    /// (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS>).
    pub async fn cancel(&self, config: &ConnectConfig, token: &CancelToken) -> Result<()> {
        let host = &self.host;
        let wire = match host {
            #[cfg(unix)]
            Host::Unix { directory, port } => open_unix(host, directory, *port).await?,
            Host::Tcp { name, .. } => {
                let address = self.address.ok_or_else(|| no_address(host))?;
                let encryption = if self.is_encrypted {
                    Encryption::Required
                } else {
                    Encryption::None
                };
                let opened = open(encryption, config, host, name, address).await;
                opened.map_err(|failure| failure.error)?.0
            }
        };
        let (stream, _) = lend(Inbound::new(wire, None));
        let request = token.cancel_query_raw(stream, AlreadyEncrypted);
        let sent = request.await;
        sent.map_err(|error| Error::connecting(&error, &host.to_string()))
    }
}

/// Connects to the first configured host that answers, authenticates us and has the role asked for. Gives the process id of the
/// backend that answers statements too.
///
/// Each host gets [`ConnectConfig::connect_timeout`], from name resolution to the last answer.
pub async fn dial(config: &ConnectConfig) -> Result<(Dialed, i32)> {
    first_of(config, |candidate| async {
        let host = candidate.host;
        let mut dialed = dial_host(config, candidate, None).await?;
        let asked = process_id(&dialed.client);
        let process_id = answered(&mut dialed.connection, host, asked).await?;
        Ok((dialed, process_id))
    })
    .await
}

/// The error when there was no host to try.
fn no_host() -> Error {
    Error::configuration(Setting::Host, "no host to connect to")
}

/// Bounds an attempt to connect to one host by the connect timeout.
pub(super) async fn in_time<T>(
    config: &ConnectConfig,
    host: &Host,
    attempt: impl Future<Output = Result<T>>,
) -> Result<T> {
    in_time_of(config.connect_timeout, config, host, attempt).await
}

/// Bounds an attempt by `timeout`. The error names the whole connect timeout, of which that may be a share.
async fn in_time_of<T>(
    timeout: Duration,
    config: &ConnectConfig,
    host: &Host,
    attempt: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(|_| {
            let seconds = config.connect_timeout.as_secs_f64();
            Err(Error::unanswered(
                ErrorKind::Connect,
                format!(
                    "could not connect to {host}: no answer within {seconds} s ({})",
                    Setting::ConnectTimeout
                ),
            ))
        })
}

/// The arguments that every step of dialling one host needs.
#[derive(Clone, Copy)]
struct Call<'a> {
    config: &'a ConnectConfig,
    host: &'a Host,
    /// Takes the notifications; `None` leaves them in the stream.
    sink: Option<&'a Arc<NotificationSink>>,
    asked: &'a Asked,
}

/// Connects to one host, without a bound in time. `sink` takes the notifications; `None` leaves them in the stream.
pub(crate) async fn dial_host(
    config: &ConnectConfig,
    Candidate { host, role, asked }: Candidate<'_>,
    sink: Option<&Arc<NotificationSink>>,
) -> Result<Dialed> {
    let call = Call {
        config,
        host,
        sink,
        asked: &asked,
    };
    let mut dialed = match host {
        #[cfg(unix)]
        Host::Unix { directory, port } => dial_unix(call, directory, *port).await?,
        Host::Tcp {
            name,
            address,
            port,
        } => {
            // The time of the look-up is taken from all addresses.
            let deadline = Instant::now() + config.connect_timeout;
            let mut addresses = resolve(host, name, *address, *port).await?;
            if config.load_balance {
                addresses.shuffle(&mut rand::rng());
            }
            dial_addresses(call, name, &addresses, deadline).await?
        }
    };
    let checked = check_role(&mut dialed, host, role).await;
    match &config.cluster {
        Some(cluster) if checked.is_err() => note_refused(&mut dialed, host, cluster).await,
        Some(cluster) if role != TargetSessionAttrs::Any => {
            check_timeline(&mut dialed, host, cluster).await?;
        }
        _ => {}
    }
    checked.map(|()| dialed)
}

/// Connects to the server of another connection once more, whatever its role is now, without a bound in time. The name of its host is
/// not looked up: it may lead to another server too.
pub(crate) async fn dial_again(
    config: &ConnectConfig,
    destination: &Destination,
) -> Result<Dialed> {
    let host = &destination.host;
    let call = Call {
        config,
        host,
        sink: None,
        asked: &Asked::default(),
    };
    match host {
        #[cfg(unix)]
        Host::Unix { directory, port } => dial_unix(call, directory, *port).await,
        Host::Tcp { name, .. } => {
            let address = destination.address.ok_or_else(|| no_address(host))?;
            dial_address(call, name, address).await
        }
    }
}

/// Connects to the Unix-domain socket in a folder. Like libpq, nothing is encrypted there.
#[cfg(unix)]
async fn dial_unix(call: Call<'_>, directory: &Path, port: u16) -> Result<Dialed> {
    let Call { config, host, .. } = call;
    check_binding(config, host, false)?;
    let wire = open_unix(host, directory, port).await?;
    let destination = Destination {
        host: host.clone(),
        address: None,
        is_encrypted: false,
    };
    start(call, wire, destination).await
}

/// Connects to the first of a host's addresses that answers.
async fn dial_addresses(
    call: Call<'_>,
    name: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<Dialed> {
    let mut outcome = Err(no_address(call.host));
    for (index, address) in addresses.iter().enumerate() {
        // Boxed: the future holds two attempts, each with a handshake and start-up.
        let attempt = Box::pin(dial_address(call, name, *address));
        match within_share(call, deadline, addresses.len() - index, attempt).await {
            Ok(dialed) => return Ok(dialed),
            // An address that answered and refused tells more than another one that did not answer.
            Err(error) => match &outcome {
                Err(before)
                    if before.kind != ErrorKind::Connect && error.kind == ErrorKind::Connect => {}
                _ => outcome = Err(error),
            },
        }
    }
    outcome
}

/// Bounds the attempt at one of the `left` addresses of a host, so that a dead address leaves time for the others. One that waits
/// for the password is not dead.
async fn within_share<T>(
    call: Call<'_>,
    deadline: Instant,
    left: usize,
    mut attempt: impl Future<Output = Result<T>> + Unpin,
) -> Result<T> {
    if left == 1 {
        return attempt.await;
    }
    let share = deadline.saturating_duration_since(Instant::now())
        / u32::try_from(left).unwrap_or(u32::MAX);
    match in_time_of(share, call.config, call.host, &mut attempt).await {
        Err(_) if call.asked.is_waiting() => attempt.await,
        outcome => outcome,
    }
}

/// Connects with or without TLS, in the order of the mode.
async fn dial_address(call: Call<'_>, name: &str, address: SocketAddr) -> Result<Dialed> {
    let attempts = match call.config.tls.mode {
        SslMode::Disable => &[Encryption::None][..],
        SslMode::Allow => &[Encryption::None, Encryption::Required],
        SslMode::Prefer => &[Encryption::IfOffered, Encryption::None],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Required],
    };
    let mut before: Option<Error> = None;
    for encryption in attempts {
        // Boxed: the future holds a handshake and start-up.
        let failure = match Box::pin(dial_with(*encryption, call, name, address)).await {
            Ok(dialed) => return Ok(dialed),
            Err(failure) => failure,
        };
        let error = match before {
            Some(before) => failure.error.after(&before),
            None => failure.error,
        };
        if !failure.may_be_encryption {
            return Err(error);
        }
        before = Some(error);
    }
    Err(before.unwrap_or_else(no_host))
}

/// Connects to an address with the given encryption.
async fn dial_with(
    encryption: Encryption,
    call: Call<'_>,
    name: &str,
    address: SocketAddr,
) -> std::result::Result<Dialed, AttemptFailure> {
    let Call { config, host, .. } = call;
    let (wire, is_encrypted) = open(encryption, config, host, name, address).await?;
    check_binding(config, host, is_encrypted).map_err(|error| AttemptFailure {
        error,
        may_be_encryption: true,
    })?;
    let facts = wire.facts();
    let destination = Destination {
        host: Host::Tcp {
            name: name.to_owned(),
            address: Some(address.ip()),
            port: address.port(),
        },
        address: Some(address),
        is_encrypted,
    };
    start(call, wire, destination).await.map_err(|error| {
        // libpq's rule: a server that refuses us before it has authenticated us may do so because of the encryption. A
        // server that is starting up (cannot_connect_now) does not, nor does one that had no TLS to offer.
        let may_be_encryption = (is_encrypted || encryption == Encryption::None)
            && error.server.is_some()
            && error.sql_state() != Some("57P03")
            && !facts.authenticated.load(Ordering::Relaxed);
        AttemptFailure {
            error,
            may_be_encryption,
        }
    })
}

/// The process id of the backend that answers statements.
pub(crate) async fn process_id(client: &Client) -> Result<i32> {
    let answer = client
        .first_row("SELECT pg_catalog.pg_backend_pid()")
        .await?;
    answer
        .and_then(|row| row.get(0)?.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::Connect, "the server did not tell its process id"))
}

/// Waits for the answer to a request of a connection that nobody else drives. One that ends before is the error of an attempt to
/// connect to `host`, with the server's last word.
pub(super) async fn answered<T>(
    connection: &mut ServerConnection,
    host: &Host,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::pin!(request);
    let answer = tokio::select! {
        answer = &mut request => answer,
        // What was not answered before has its error now.
        ended = to_the_end(|cx| connection.poll_message(cx)) => match ended {
            Ok(()) => request.await,
            Err(panicked) => Err(panicked),
        },
    };
    answer.map_err(|error| match error.kind {
        ErrorKind::Closed => Error {
            kind: ErrorKind::Connect,
            message: format!("could not connect to {host}: {}", error.message),
            ..error
        },
        _ => error,
    })
}

/// Polls a connection that others use meanwhile until it ends, and ignores its notices and notifications. A panic ends it too.
pub async fn drive_shared(connection: &Driven<Inbound<Wire>>) {
    if let Err(panicked) = to_the_end(|cx| connection.poll_message(cx)).await {
        connection.fail(&panicked);
    }
}

async fn to_the_end(
    mut message: impl FnMut(
        &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Asynchronous, ConnectionEnd>>>,
) -> Result<()> {
    contained_future("the task that reads the connection", async {
        let mut message = |cx: &mut Context<'_>| {
            fail_point!("connection");
            message(cx)
        };
        while let Some(Ok(_)) = poll_fn(&mut message).await {}
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use tokio::net::TcpListener;

    use super::*;
    use crate::connect::password::{AskPassword, PasswordFailure, PasswordSource};
    use crate::connect::settings::Settings;

    /// Takes connections, as the kernel does for it, and never answers.
    async fn silent() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    const TIMEOUT: Duration = Duration::from_millis(900);

    fn config() -> ConnectConfig {
        let settings = Settings {
            connect_timeout: Some(TIMEOUT),
            ..Settings::default()
        };
        let dsn = "postgres://user@name?sslmode=disable";
        ConnectConfig::resolve(settings, Some(dsn), Settings::default()).unwrap()
    }

    /// Answers after so long.
    struct After(Duration);

    impl AskPassword for After {
        fn ask(&self) -> BoxFuture<'static, std::result::Result<String, PasswordFailure>> {
            let answer = || Ok("secret".to_owned());
            tokio::time::sleep(self.0).map(move |()| answer()).boxed()
        }
    }

    #[tokio::test]
    async fn an_address_whose_attempt_waits_for_the_password_is_not_given_up() {
        let config = config().asking(PasswordSource::new(After(TIMEOUT * 3 / 4)));
        let host = &config.hosts[0];
        let asked = Asked::default();
        let call = Call {
            config: &config,
            host,
            sink: None,
            asked: &asked,
        };
        let ((_first, first), (second, other)) = (silent().await, silent().await);
        let deadline = Instant::now() + config.connect_timeout;
        let addresses = [first, other];
        let dialling = dial_addresses(call, "name", &addresses, deadline);
        tokio::select! {
            _ = second.accept() => panic!("the first address was given up"),
            outcome = in_time(&config, host, dialling) => {
                assert!(outcome.unwrap_err().message.contains("no answer"));
            }
        }
        // The password came, and the server did not answer then.
        assert!(asked.failure().is_none());
    }

    #[tokio::test]
    async fn a_function_is_to_blame_only_for_the_attempt_that_waited_for_it() {
        let config = config().asking(PasswordSource::new(After(TIMEOUT * 2)));
        let (_server, address) = silent().await;
        let asked = Asked::default();
        let call = Call {
            config: &config,
            host: &config.hosts[0],
            sink: None,
            asked: &asked,
        };
        let dialling = dial_address(call, "name", address);
        assert!(in_time(&config, call.host, dialling).await.is_err());
        let failure = asked.failure().unwrap();
        assert!(failure.message.contains("did not answer in time"));
        assert!(asked.again().failure().is_none());
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_is_no_refusal() {
        let dsn = "postgres://user@no-such-host.invalid,127.0.0.1:1";
        let config = ConnectConfig::resolve(Settings::default(), Some(dsn), Settings::default());
        let config = config.unwrap();
        for (host, is_unanswered) in config.hosts.iter().zip([true, false]) {
            let candidate = Candidate {
                host,
                role: TargetSessionAttrs::Any,
                asked: Asked::default(),
            };
            let error = dial_host(&config, candidate, None).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Connect);
            assert_eq!(error.is_unanswered, is_unanswered, "{error}");
        }
    }

    #[tokio::test]
    async fn the_same_server_is_dialled_again_whatever_its_name_leads_to_now() {
        let config = config();
        let ((_other, other), (same, address)) = (silent().await, silent().await);
        let destination = Destination {
            host: Host::Tcp {
                name: "localhost".to_owned(),
                address: Some(other.ip()),
                port: other.port(),
            },
            address: Some(address),
            is_encrypted: false,
        };
        tokio::select! {
            called = same.accept() => drop(called.unwrap()),
            _ = in_time(&config, &config.hosts[0], dial_again(&config, &destination)) => {
                panic!("another server was dialled");
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_never_answers_leaves_time_for_the_others() {
        let config = config();
        let host = &config.hosts[0];
        let call = Call {
            config: &config,
            host,
            sink: None,
            asked: &Asked::default(),
        };
        let ((_first, first), (_second, second)) = (silent().await, silent().await);
        let (last, third) = silent().await;
        let addresses = [first, second, third];
        let deadline = Instant::now() + config.connect_timeout;
        let dialling = dial_addresses(call, "name", &addresses, deadline);
        tokio::select! {
            called = last.accept() => drop(called.unwrap()),
            _ = in_time(&config, host, dialling) => panic!("the last address was never tried"),
        }
    }
}
