//! The steps of a session between start-up and its first notification.

use std::time::Duration;

use super::{Session, SessionSetup, listen, notify};
use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::Feed;
use crate::deliver::seat::Event;
use crate::listen::liveness::ask_beside;

/// How long a notification through a pooler may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Gets a session that is connected ready, and LISTENs on `channels`.
    pub(super) async fn set_up(
        &mut self,
        setup: &SessionSetup,
        feed: &Feed,
        channels: &[String],
    ) -> Result<()> {
        // Both at once.
        let (protected, process_id) =
            tokio::join!(self.protect_server(setup, feed), self.client.process_id());
        protected?;
        self.process_id = process_id?;
        let key = self.facts.key_process_id.get();
        if key.is_some_and(|key| *key != self.process_id) {
            // Before anything else can come: no more than the feed holds for this session is read.
            self.prove_delivery(feed).await?;
        }
        // What is notified after the LISTENs are committed can be missing once the answer has come.
        let asked = clock::now();
        self.listen_first(channels).await?;
        self.confirm(asked);
        Ok(())
    }

    /// Who answered start-up is not the backend that answers statements: there is a pooler in between. In session mode
    /// it passes notifications on. In transaction mode it takes the LISTEN, gives our backend to others, and what is
    /// notified meanwhile reaches nobody. So one is notified, from another connection.
    async fn prove_delivery(&mut self, feed: &Feed) -> Result<()> {
        let channel = feed.fence_channel().to_owned();
        drop(self.client.simple_query(&listen(&channel)).await?);
        self.applied.insert(channel.clone());
        let (probe, arrived) = self.place.probe();
        ask_beside(&self.connect, &self.host, &notify(&channel, probe)).await?;
        let timeout = PROBE_TIMEOUT.min(self.connect.connect_timeout / 2);
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

    /// Settings that keep a frozen client from harming the server, as far as the server has and allows them.
    async fn protect_server(&self, setup: &SessionSetup, feed: &Feed) -> Result<()> {
        // An integer of the server's, in milliseconds.
        let timeout = setup
            .server_tcp_user_timeout
            .as_millis()
            .min(i32::MAX as u128);
        let set = async |name: &str, value: u128| {
            // A server that does not know the setting has no row for it.
            let query = format!(
                "SELECT pg_catalog.set_config(name, '{value}', false) FROM pg_catalog.pg_settings \
                 WHERE name OPERATOR(pg_catalog.=) '{name}'"
            );
            match self.client.simple_query(&query).await {
                Err(error) if error.is_servers_refusal() => {
                    feed.announce(Event::Warning(format!(
                        "the server refused {name} for the listening session: {error}"
                    )));
                    Ok(())
                }
                Err(error) => Err(error),
                Ok(_) => Ok(()),
            }
        };
        // Both at once, but each by itself: one that is refused takes no other with it.
        let (idle, frozen) = tokio::join!(
            set("idle_session_timeout", 0),
            set("tcp_user_timeout", timeout)
        );
        idle.and(frozen)
    }

    /// One round trip: LISTEN in a transaction, so that all of it is committed or nothing; then what the server
    /// says of itself and of the channels it listens to for us.
    async fn listen_first(&mut self, channels: &[String]) -> Result<()> {
        let mut query = String::from("BEGIN;");
        for channel in channels {
            query.push_str(&listen(channel));
        }
        query.push_str(
            "COMMIT;SELECT 'started', pg_catalog.pg_postmaster_start_time()::pg_catalog.text UNION ALL \
             SELECT 'channel', channel FROM pg_catalog.pg_listening_channels() AS channel",
        );
        for row in self.client.simple_query(&query).await? {
            match (row.get(0), row.get(1)) {
                (Some("started"), started) => self.server_started = started.map(ToOwned::to_owned),
                (Some("channel"), Some(channel)) => drop(self.applied.insert(channel.to_owned())),
                _ => {}
            }
        }
        match channels
            .iter()
            .find(|channel| !self.applied.contains(*channel))
        {
            None => Ok(()),
            Some(missing) => Err(Error::new(
                ErrorKind::Connect,
                format!(
                    "the server took LISTEN \"{missing}\" but does not listen; is there a pooler in between? LISTEN needs a \
                     connection of its own: connect to the server itself, or to a pooler in session mode"
                ),
            )),
        }
    }
}
