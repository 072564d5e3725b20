//! Whether what is notified reaches us: one notification of our own, and its return.
//!
//! Who stands between us and the server may take a LISTEN, answer every heartbeat, and pass no notification on: a pooler that gives
//! our backend to others, a proxy that does not know this kind of message, or a socket whose clients are all one session.

use std::time::Duration;

use super::{Session, TRIES, listen, notify};
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::seat::Event;
use crate::listen::liveness::ask_beside;

/// How long a notification from another client may take.
const BESIDE_TIMEOUT: Duration = Duration::from_secs(2);

/// A reason to think that what other clients notify does not reach this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Who answered start-up is not the backend that answers statements: there is a pooler in between. In session mode it
    /// passes notifications on. In transaction mode it takes the LISTEN, gives our backend to others, and what is notified
    /// meanwhile reaches nobody.
    Pooler,
    /// The backend is PostgreSQL in single-user mode, which has one session and no socket: who put a socket before it shares
    /// that session among all clients, as with `PGlite`. A notification goes to the client whose statement the server was
    /// answering, whoever has listened.
    SingleUser,
}

impl Suspicion {
    /// The reason to suspect a server, if there is one. `key` is the process id that start-up announced, `process_id` that of the
    /// backend that answers statements, `backend_type` the kind that this backend gives itself.
    pub(super) fn of(
        key: Option<i32>,
        process_id: i32,
        backend_type: Option<&str>,
    ) -> Option<Self> {
        if backend_type == Some(SINGLE_USER) {
            Some(Self::SingleUser)
        } else if key.is_some_and(|key| key != process_id) {
            Some(Self::Pooler)
        } else {
            None
        }
    }

    /// The error of a session to which nothing came from another client.
    fn confirmed(self) -> Error {
        match self {
            Self::Pooler => Error::new(
                ErrorKind::Connect,
                "there is a pooler between us and PostgreSQL, and it does not pass notifications on: LISTEN needs a \
                 connection of its own, so connect to the server itself, or to a pooler in session mode",
            ),
            Self::SingleUser => Error {
                is_hopeless: true,
                ..Error::new(
                    ErrorKind::Connect,
                    "all clients of this server share one session (PostgreSQL in single-user mode behind a socket, such as \
                     PGlite), and what another client notifies does not come to the listener: LISTEN needs a server with a \
                     session for each connection; for tests take `embedded-postgres` or a container (docs/testing.md)",
                )
            },
        }
    }
}

/// The type of the backend of a server in single-user mode, from `GetBackendTypeDesc` in src/backend/utils/init/miscinit.c. No
/// backend that a postmaster has started is of this type.
const SINGLE_USER: &str = "standalone backend";

/// Asks a backend for its type.
const BACKEND_TYPE: &str =
    "SELECT backend_type FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())";

impl Session {
    /// The type of the backend that answers statements. `None`: the server does not tell.
    pub(super) async fn backend_type(&self) -> Result<Option<String>> {
        match self.client.simple_query(BACKEND_TYPE).await {
            Err(error) if error.is_servers_refusal() => Ok(None),
            answer => Ok(answer?
                .first()
                .and_then(|row| row.get(0))
                .map(ToOwned::to_owned)),
        }
    }

    /// Proves that what another client notifies reaches this session: one is notified, from another connection.
    pub(super) async fn prove_from_beside(&self, suspicion: Suspicion) -> Result<()> {
        let channel = self.place.fence_channel();
        drop(self.client.simple_query(&listen(channel)).await?);
        let (probe, arrived) = self.place.probe();
        let asked = ask_beside(&self.connect, &self.destination, &notify(channel, probe)).await;
        let beside = match (asked, suspicion) {
            (Ok(beside), _) => beside,
            (Err(error), Suspicion::Pooler) => return Err(error),
            (Err(error), Suspicion::SingleUser) => {
                let confirmed = suspicion.confirmed();
                let message = format!(
                    "{}; a second connection, to try it, failed: {}",
                    confirmed.message, error.message
                );
                return Err(confirmed.saying(message));
            }
        };
        let is_shared = beside.was_notified && suspicion == Suspicion::SingleUser;
        let timeout = if is_shared {
            // The one session answered the client that notified. If it owes us the notification too, it sends that before
            // it answers. Through a pooler a request would prove nothing: it can be what gets us the backend that listens.
            drop(self.client.simple_query("SELECT 1").await?);
            Duration::ZERO
        } else {
            BESIDE_TIMEOUT.min(self.connect.connect_timeout / 2)
        };
        match tokio::time::timeout(timeout, arrived).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(suspicion.confirmed()),
        }
    }

    /// Proves the delivery of a session whose LISTENs are on their way: the notification travels right behind them.
    pub(super) async fn prove_at_first(&self, channels: usize, timeout: Duration) -> Result<()> {
        let (probe, arrived) = self.place.probe();
        let query = self.signed(&notify(self.place.fence_channel(), probe), channels);
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
         notifications on (a pooler in transaction mode, a proxy); LISTEN needs a \
         connection of its own to the server",
        timeout.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pooler_and_a_server_of_one_session_are_suspected() {
        let client = Some("client backend");
        assert_eq!(Suspicion::of(Some(7), 7, client), None);
        // Who has no key, or tells no type, is no reason.
        assert_eq!(Suspicion::of(None, 7, client), None);
        assert_eq!(Suspicion::of(Some(7), 7, None), None);
        assert_eq!(Suspicion::of(Some(7), 7, Some("")), None);
        assert_eq!(Suspicion::of(Some(1), 7, client), Some(Suspicion::Pooler));
        for key in [None, Some(42), Some(1)] {
            let suspicion = Suspicion::of(key, 42, Some("standalone backend"));
            assert_eq!(suspicion, Some(Suspicion::SingleUser), "{key:?}");
        }
    }

    #[test]
    fn only_a_server_of_one_session_is_beyond_hope() {
        // A pooler may have a server behind it that passes notifications on, a moment later.
        assert!(!Suspicion::Pooler.confirmed().is_hopeless);
        assert!(Suspicion::SingleUser.confirmed().is_hopeless);
    }
}
