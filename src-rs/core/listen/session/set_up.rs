//! The steps of a session between start-up and its first notification.

use smol_str::SmolStr;

use super::probe::Suspicion;
use super::registration::{self, read_listing};
use super::{Session, SessionSetup};
use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::Feed;
use crate::deliver::seat::Event;

/// The server cuts longer names, in bytes (`NAMEDATALEN`). Ours are ASCII.
const MAX_APPLICATION_NAME: usize = 63;

impl Session {
    /// Gets a session that is connected ready, and LISTENs on `channels`.
    pub(super) async fn set_up(
        &mut self,
        setup: &SessionSetup,
        feed: &Feed,
        channels: &[String],
    ) -> Result<()> {
        // One round trip.
        let (protected, process_id, backend_type) = tokio::join!(
            self.protect_server(setup, feed),
            self.client.process_id(),
            self.backend_type(),
        );
        protected?;
        self.process_id = process_id?;
        let key = self.facts.key_process_id.get().copied();
        if let Some(suspicion) = Suspicion::of(key, self.process_id, backend_type?.as_deref()) {
            // Before anything else can come: no more than the feed holds for this session is read.
            self.prove_from_beside(suspicion).await?;
        }
        // What is notified after the LISTENs are committed can be missing once the answer has come.
        let asked = clock::now();
        self.listen_first(setup, channels).await?;
        self.confirm(asked);
        Ok(())
    }

    /// Settings that keep a frozen client from harming the server, as far as the server has and allows them.
    async fn protect_server(&self, setup: &SessionSetup, feed: &Feed) -> Result<()> {
        // An integer of the server's, in milliseconds.
        let timeout = setup
            .server_tcp_user_timeout
            .as_millis()
            .min(i32::MAX as u128);
        let set = async |name: &str, value: String| {
            // A server that does not know the setting has no row for it.
            let query = format!(
                "SELECT pg_catalog.set_config(name, '{value}', false) FROM pg_catalog.pg_settings \
                 WHERE name OPERATOR(pg_catalog.=) '{name}'"
            );
            match self.client.simple_query(&query).await {
                Err(error) if error.is_servers_refusal() => {
                    feed.announce(&Event::Warning(format!(
                        "the server refused {name} for the listening session: {error}"
                    )));
                    Ok(())
                }
                Err(error) => Err(error),
                Ok(_) => Ok(()),
            }
        };
        // All at once, but each by itself: one that is refused takes no other with it.
        let (idle, frozen, named) = tokio::join!(
            set("idle_session_timeout", "0".to_owned()),
            set("tcp_user_timeout", timeout.to_string()),
            async {
                match self.name_for_server(setup) {
                    Some(name) => set("application_name", name).await,
                    None => Ok(()),
                }
            },
        );
        idle.and(frozen).and(named)
    }

    /// The `application_name` of a session whose user has set none, if its listeners have names. A name has no quote.
    fn name_for_server(&self, setup: &SessionSetup) -> Option<String> {
        let label = self.place.label().filter(|_| setup.connect.is_unnamed)?;
        let mut name = format!("pglisten: {label}");
        name.truncate(MAX_APPLICATION_NAME);
        Some(name)
    }

    /// One round trip: the LISTENs, what the server says of itself and of the channels it listens to for us, and a probe.
    async fn listen_first(&mut self, setup: &SessionSetup, channels: &[String]) -> Result<()> {
        let fences = self.place.fence_channel().to_owned();
        let wanted = channels.iter().chain(Some(&fences)).map(String::as_str);
        let queries = registration::listen_first(&wanted.collect::<Vec<_>>());
        let mut rows = Vec::new();
        let mut probed = Ok(());
        // Nothing is heard by anybody before the last of them is answered.
        for (place, query) in queries.iter().enumerate() {
            let query = self.signed(query, channels.len());
            let asked = self.client.simple_query(&query);
            let is_last = place + 1 == queries.len();
            match setup.probe_timeout.filter(|_| is_last) {
                None => rows = asked.await?,
                Some(timeout) => {
                    let timeout = timeout.min(self.connect.connect_timeout / 2);
                    let (answer, proof) =
                        tokio::join!(asked, self.prove_at_first(channels.len(), timeout));
                    (rows, probed) = (answer?, proof);
                }
            }
        }
        let started = rows.iter().find(|row| row.get(0) == Some("started"));
        self.server_started = started.and_then(|row| row.get(1)).map(ToOwned::to_owned);
        let (digest, listened) = read_listing(&rows);
        if let Some(missing) = channels
            .iter()
            .find(|channel| !listened.contains(channel.as_str()))
        {
            return Err(Error::new(
                ErrorKind::Connect,
                format!(
                    "the server took LISTEN \"{missing}\" but does not listen; is there a pooler in between? LISTEN needs a \
                     connection of its own: connect to the server itself, or to a pooler in session mode"
                ),
            ));
        }
        probed?;
        self.applied = listened.into_iter().map(SmolStr::from).collect();
        self.digest = digest;
        Ok(())
    }
}
