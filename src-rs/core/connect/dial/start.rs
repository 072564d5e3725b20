//! Start-up and authentication on a stream that is open, and encrypted if it is to be.

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio_postgres::config::{
    ChannelBinding, SslMode as ClientSslMode, SslNegotiation as ClientSslNegotiation,
};
use tokio_postgres::tls;
use tokio_postgres::{AsyncMessage, Connection as StartUpConnection};
use tokio_util::sync::CancellationToken;

use super::{Call, Destination, Dialed};
use crate::base::error::{Error, ErrorKind, Result, ServerMessage};
use crate::base::{Setting, blocking};
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::wire::Wire;
use crate::inbound::Inbound;
use crate::protocol::hand_over::{Lent, lend};
use crate::protocol::{StartedUp, pair};

/// Refuses a plain connection when SCRAM has to be bound to a TLS channel.
pub(super) fn check_binding(config: &ConnectConfig, host: &Host, is_encrypted: bool) -> Result<()> {
    if is_encrypted || config.protocol.get_channel_binding() != ChannelBinding::Require {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Tls,
        format!(
            "the connection to {host} is not encrypted, but `{}` is `require`",
            Setting::ChannelBinding
        ),
    ))
}

/// Starts up and authenticates.
pub(super) async fn start(call: Call<'_>, wire: Wire, destination: Destination) -> Result<Dialed> {
    let Call {
        config,
        host,
        asked,
        ..
    } = call;
    let facts = wire.facts();
    let inbound = Inbound::new(wire, call.sink.cloned());
    let mut start_up = config.start_up(host, asked).await?;
    let protocol = &mut start_up.protocol;
    if destination.is_encrypted {
        // TLS was negotiated already; in this mode the client library asks only for the channel binding.
        protocol.ssl_mode(ClientSslMode::Require);
        protocol.ssl_negotiation(ClientSslNegotiation::Direct);
    } else {
        protocol.ssl_mode(ClientSslMode::Disable);
    }
    let (lent, lender) = lend(inbound);
    let connected = if start_up.is_slow() {
        let protocol = start_up.protocol.clone();
        apart(async move { protocol.connect_raw(lent, AlreadyEncrypted).await })
            .await
            .map_err(|error| {
                Error::new(
                    ErrorKind::Connect,
                    format!("could not connect to {host}: {error}"),
                )
            })?
    } else {
        start_up.protocol.connect_raw(lent, AlreadyEncrypted).await
    };
    let (client, mut connection) = connected.map_err(|error| {
        let to = host.to_string();
        let iterations = facts.scram_iterations.get().copied();
        let error = Error::too_many_iterations(&error, iterations, &to)
            .unwrap_or_else(|| Error::starting(&error, &to));
        start_up.explain(error)
    })?;
    let cancel_token = client.cancel_token();
    let notices = early_notices(&mut connection);
    // Nobody has polled it since start-up, so nothing is sent when it is dropped.
    drop((client, connection));
    let back = lender.take_back().ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            "the stream of start-up is still in use",
        )
    })?;
    let early = StartedUp {
        notices,
        parameters: back.parameters,
    };
    let (client, connection) = pair(back.stream, back.read, early, Some(cancel_token));
    Ok(Dialed {
        client,
        connection,
        facts,
        destination,
    })
}

/// Runs a future on a thread of its own, until this is dropped. Its sockets and timers stay with the runtime.
async fn apart<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let wanted = CancellationToken::new();
    let _unwanted = wanted.clone().drop_guard();
    let runtime = Handle::current();
    let outcome =
        blocking(move || runtime.block_on(wanted.run_until_cancelled_owned(future))).await?;
    // Whoever drops this waits for nothing.
    outcome.ok_or_else(|| io::Error::other("given up"))
}

/// The notices that came during start-up: a database whose collation has another version now, say.
fn early_notices(connection: &mut StartUpConnection<LentWire, LentWire>) -> Vec<ServerMessage> {
    let mut notices = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(message))) = connection.poll_message(&mut cx) {
        if let AsyncMessage::Notice(notice) = message {
            notices.push(ServerMessage::from(&notice));
        }
    }
    notices
}

/// A server's stream as start-up has it.
type LentWire = Lent<Inbound<Wire>>;

impl tls::TlsStream for LentWire {
    fn channel_binding(&self) -> tls::ChannelBinding {
        match self.with(|inbound| inbound.stream().server_end_point()) {
            Some(hash) => tls::ChannelBinding::tls_server_end_point(hash),
            None => tls::ChannelBinding::none(),
        }
    }
}

/// Tells the client library that a stream is encrypted already.
pub(super) struct AlreadyEncrypted;

impl tls::TlsConnect<LentWire> for AlreadyEncrypted {
    type Stream = LentWire;
    type Error = io::Error;
    type Future = Ready<io::Result<LentWire>>;

    fn connect(self, stream: LentWire) -> Self::Future {
        ready(Ok(stream))
    }
}
