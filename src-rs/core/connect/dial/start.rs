//! Start-up and authentication on a stream that is open, and encrypted if it is to be.

use std::future::{Ready, ready};
use std::io;

use tokio_postgres::config::{
    ChannelBinding, SslMode as ClientSslMode, SslNegotiation as ClientSslNegotiation,
};
use tokio_postgres::tls;

use super::{Call, Destination, Dialed};
use crate::base::Setting;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::wire::Wire;
use crate::inbound::Inbound;

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
    let Call { config, host, .. } = call;
    let facts = wire.facts();
    let inbound = Inbound::new(wire, call.sink.cloned());
    let mut start_up = config.start_up(host).await?;
    let protocol = &mut start_up.protocol;
    if destination.is_encrypted {
        // TLS was negotiated already; in this mode the client library asks only for the channel binding.
        protocol.ssl_mode(ClientSslMode::Require);
        protocol.ssl_negotiation(ClientSslNegotiation::Direct);
    } else {
        protocol.ssl_mode(ClientSslMode::Disable);
    }
    let (client, connection) = protocol
        .connect_raw(inbound, AlreadyEncrypted)
        .await
        .map_err(|error| start_up.explain(Error::starting(&error, &host.to_string())))?;
    Ok(Dialed {
        client,
        connection,
        facts,
        destination,
    })
}

impl tls::TlsStream for Inbound<Wire> {
    fn channel_binding(&self) -> tls::ChannelBinding {
        match self.stream().server_end_point() {
            Some(hash) => tls::ChannelBinding::tls_server_end_point(hash),
            None => tls::ChannelBinding::none(),
        }
    }
}

/// Tells the client library that a stream is encrypted already.
pub(super) struct AlreadyEncrypted;

impl tls::TlsConnect<Inbound<Wire>> for AlreadyEncrypted {
    type Stream = Inbound<Wire>;
    type Error = io::Error;
    type Future = Ready<io::Result<Inbound<Wire>>>;

    fn connect(self, stream: Inbound<Wire>) -> Self::Future {
        ready(Ok(stream))
    }
}
