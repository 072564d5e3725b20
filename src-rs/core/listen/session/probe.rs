//! Whether what is notified reaches us: one notification of our own, and its return.
//!
//! Who stands between us and the server may take a LISTEN, answer every heartbeat, and pass no notification on: a pooler that gives
//! our backend to others, or a proxy that does not know this kind of message.

use std::time::Duration;

use super::{Session, TRIES, listen, notify};
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::seat::Event;
use crate::listen::liveness::ask_beside;

/// How long a notification through a pooler may take.
const POOLER_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Who answered start-up is not the backend that answers statements: there is a pooler in between. In session mode
    /// it passes notifications on. In transaction mode it takes the LISTEN, gives our backend to others, and what is
    /// notified meanwhile reaches nobody. So one is notified, from another connection.
    pub(super) async fn prove_through_pooler(&self) -> Result<()> {
        let channel = self.place.fence_channel();
        drop(self.client.simple_query(&listen(channel)).await?);
        let (probe, arrived) = self.place.probe();
        ask_beside(&self.connect, &self.host, &notify(channel, probe)).await?;
        let timeout = POOLER_TIMEOUT.min(self.connect.connect_timeout / 2);
        let arrived = tokio::time::timeout(timeout, arrived).await;
        if matches!(arrived, Ok(Ok(()))) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Connect,
            "there is a pooler between us and PostgreSQL, and it does not pass notifications on: LISTEN needs a \
             connection of its own, so connect to the server itself, or to a pooler in session mode",
        ))
    }

    /// Proves the delivery of a session whose LISTENs are on their way: the notification travels right behind them.
    pub(super) async fn prove_at_first(&self, timeout: Duration) -> Result<()> {
        let (probe, arrived) = self.place.probe();
        let query = notify(self.place.fence_channel(), probe);
        match self.client.simple_query(&query).await {
            // It says nothing about delivery: the server's queue may be full.
            Err(error) if error.is_servers_refusal() => {
                self.place.announce(Event::Warning(format!(
                    "the server refused NOTIFY for the probe of the delivery: {error}"
                )));
                return Ok(());
            }
            answer => drop(answer?),
        }
        match tokio::time::timeout(timeout, arrived).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::new(ErrorKind::Connect, undelivered(timeout))),
        }
    }

    /// Proves the delivery of a session that is up. `false`: it cannot be told, because the user's statements leave no room, or
    /// because the server refuses NOTIFY.
    pub(super) async fn probe_delivery(&mut self, timeout: Duration) -> Result<bool> {
        let (probe, arrived) = self.place.probe();
        let liveness = self.liveness();
        let asked = async {
            match self.notify_registered(&[probe], TRIES).await {
                Err(error) if error.is_servers_refusal() || error.kind == ErrorKind::Execute => {
                    Ok(false)
                }
                answer => answer,
            }
        };
        let answer = liveness
            .answer(timeout, "a probe of the delivery", asked)
            .await;
        self.doubt_if_silent(&answer);
        if !answer? {
            return Ok(false);
        }
        // The server sends what it owes before it answers.
        match tokio::time::timeout(timeout, arrived).await {
            Ok(Ok(())) => Ok(true),
            // The connection has ended meanwhile, which is the reason.
            _ if self.client.is_closed() => {
                Err(Error::new(ErrorKind::Closed, undelivered(timeout)))
            }
            _ => {
                let error = Error::new(ErrorKind::Closed, undelivered(timeout));
                self.place.warn(error.message.clone());
                Err(error)
            }
        }
    }
}

/// What a user is told of a probe that did not come.
fn undelivered(timeout: Duration) -> String {
    format!(
        "the server listens and took a NOTIFY, but the notification did not come within {} s: something in between does not pass \
         notifications on (a pooler in transaction mode, a proxy, or a server such as PGlite behind a socket); LISTEN needs a \
         connection of its own to the server",
        timeout.as_secs_f64()
    )
}
