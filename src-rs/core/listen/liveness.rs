//! Tells a server that is gone from one that has a reason not to answer, if need be by asking beside the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::choices::TargetSessionAttrs;
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::dial::{Candidate, Dialed, dial_host, drive};
use crate::connect::wire::WireFacts;

/// How many deadlines an answer may miss while the server is talking before somebody is asked beside: ten of the default
/// 5 s, so that a server that cannot hear us is noticed within a minute.
const MAX_BACKLOG_TIMEOUTS: u32 = 10;

/// What is known of a session's server while it does not answer.
#[derive(Debug)]
pub(crate) struct Liveness {
    pub(crate) facts: Arc<WireFacts>,
    pub(crate) paused: Arc<AtomicBool>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) connect: Arc<ConnectConfig>,
    pub(crate) host: Host,
    pub(crate) process_id: i32,
}

impl Liveness {
    /// Waits for the answer to a request: at most `timeout` after the last byte heard, as what the server has to say
    /// before it may take longer. A server that we do not read, that works for the user, or that never comes to the end of
    /// what it has to send, may take as long as that takes; one that only talks may not have heard the request at all.
    pub(crate) async fn answer<T>(
        &self,
        timeout: Duration,
        what: &str,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::pin!(request);
        let mut since = Instant::now();
        let mut patience = MAX_BACKLOG_TIMEOUTS;
        loop {
            since = since.max(self.facts.heard.last());
            let answer = tokio::time::timeout_at(since + timeout, &mut request);
            if let Ok(answer) = answer.await {
                return answer;
            }
            let is_talking = self.facts.heard.last() > since;
            if self.paused.load(Ordering::Relaxed) || self.is_working(timeout).await {
                since = Instant::now();
            } else if is_talking && patience > 0 {
                patience -= 1;
            } else if is_talking && self.is_listed(timeout, "").await {
                // While it has notifications to send, a backend does not look at requests.
                patience = MAX_BACKLOG_TIMEOUTS;
            } else {
                let seconds = timeout.as_secs_f64();
                return Err(Error::new(
                    ErrorKind::Closed,
                    format!("the server did not answer {what} within {seconds} s"),
                ));
            }
        }
    }

    /// Whether the backend is busy with a statement of the user's. It says nothing itself meanwhile, no more than a dead
    /// network would.
    async fn is_working(&self, timeout: Duration) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
            && self.is_listed(timeout, "AND state <> 'idle'").await
    }

    /// Asks beside the session whether its backend is there, and the condition holds. No answer is a no.
    async fn is_listed(&self, timeout: Duration, condition: &str) -> bool {
        let query = format!(
            "SELECT pid FROM pg_stat_activity WHERE pid = {} {condition}",
            self.process_id
        );
        let asked = ask_beside(&self.connect, &self.host, &query);
        match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(rows)) => rows
                .iter()
                .any(|row| matches!(row, SimpleQueryMessage::Row(_))),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// Runs a query on a connection of its own, beside the session's.
pub(crate) async fn ask_beside(
    config: &ConnectConfig,
    host: &Host,
    query: &str,
) -> Result<Vec<SimpleQueryMessage>> {
    // It is the session's server, whatever has become of it.
    let candidate = Candidate {
        host,
        role: TargetSessionAttrs::Any,
    };
    let Dialed {
        client,
        mut connection,
        ..
    } = dial_host(config, candidate, None).await?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move { drive(&mut connection).await }));
    let answer = client.simple_query(query).await?;
    drop(client);
    let _ = driver.await;
    Ok(answer)
}
