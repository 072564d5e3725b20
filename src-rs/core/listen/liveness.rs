//! Tells a server that is gone from one that has a reason not to answer, if need be by asking beside the session.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{Destination, Dialed, dial_again};
use crate::connect::wire::WireFacts;
use crate::protocol::{Asynchronous, TextRow};

/// How many deadlines an answer may miss while the server is talking before a second connection asks: ten of the default
/// 5 s, so that a server that cannot hear us is noticed within a minute.
const MAX_BACKLOG_TIMEOUTS: u32 = 10;

/// A question about a session's backend that is asked on another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Is the backend there?
    IsThere,
    /// Is the backend there, and busy with a statement?
    IsWorking,
}

/// Asks about a session's backend on another connection.
pub(super) trait AskBeside: Send + Sync {
    /// The answer. No answer within `timeout` is a no.
    fn ask(&self, question: Question, timeout: Duration) -> impl Future<Output = bool> + Send;
}

/// Asks `pg_stat_activity` on a connection of its own.
#[derive(Debug)]
pub(super) struct SecondConnection {
    pub(super) connect: Arc<ConnectConfig>,
    pub(super) destination: Destination,
    /// The backend in question.
    pub(super) process_id: i32,
}

impl AskBeside for SecondConnection {
    async fn ask(&self, question: Question, timeout: Duration) -> bool {
        let condition = match question {
            Question::IsThere => "",
            Question::IsWorking => "AND state OPERATOR(pg_catalog.<>) 'idle'",
        };
        let query = format!(
            "SELECT pid FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) {} {condition}",
            self.process_id
        );
        let asked = ask_beside(&self.connect, &self.destination, &query);
        match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(beside)) => !beside.rows.is_empty(),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// The signs of life of a session's server.
#[derive(Debug)]
pub(super) struct Liveness<A> {
    pub(super) facts: Arc<WireFacts>,
    /// Whether a full consumer keeps us from reading.
    pub(super) paused: Arc<AtomicBool>,
    /// How many statements of the user are running.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) beside: A,
}

impl<A: AskBeside> Liveness<A> {
    /// Waits for the answer to a request: at most `timeout` after the last byte heard.
    ///
    /// The deadline is extended while we have paused reading, while the backend runs a statement of the user's, or while the
    /// server still sends a backlog. After ten extensions for a backlog a second connection asks whether the backend is there:
    /// a server that only talks may not have heard the request at all.
    pub(super) async fn answer<T>(
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
            } else if is_talking && self.beside.ask(Question::IsThere, timeout).await {
                // While it has notifications to send, a backend does not look at requests.
                patience = MAX_BACKLOG_TIMEOUTS;
            } else {
                let seconds = timeout.as_secs_f64();
                return Err(Error::unanswered(
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
            && self.beside.ask(Question::IsWorking, timeout).await
    }
}

/// What came to a connection beside the session's.
#[derive(Debug)]
pub(super) struct Beside {
    /// The answer to the query.
    pub(super) rows: Vec<TextRow>,
    /// Whether a notification came, although this connection listens to nothing.
    pub(super) was_notified: bool,
}

/// Runs a query on a connection of its own to the session's server, beside the session.
pub(super) async fn ask_beside(
    config: &ConnectConfig,
    destination: &Destination,
    query: &str,
) -> Result<Beside> {
    let Dialed {
        client,
        mut connection,
        ..
    } = dial_again(config, destination).await?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut was_notified = false;
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            was_notified |= matches!(message, Asynchronous::Notification);
        }
        was_notified
    }));
    let rows = client.simple_query(query).await?;
    drop(client);
    let was_notified = driver.await.unwrap_or(false);
    Ok(Beside { rows, was_notified })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use parking_lot::Mutex;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Answers as it is told, and keeps the questions.
    #[derive(Default)]
    struct Told {
        answer: AtomicBool,
        questions: Mutex<Vec<Question>>,
    }

    impl AskBeside for Arc<Told> {
        async fn ask(&self, question: Question, _: Duration) -> bool {
            self.questions.lock().push(question);
            self.answer.load(Ordering::Relaxed)
        }
    }

    fn liveness() -> (Arc<Liveness<Arc<Told>>>, Arc<Told>) {
        let told = Arc::new(Told::default());
        let liveness = Liveness {
            facts: Arc::default(),
            paused: Arc::default(),
            in_flight: Arc::default(),
            beside: Arc::clone(&told),
        };
        (Arc::new(liveness), told)
    }

    /// How long a request that never gets an answer is waited for, at most `most`.
    async fn waited(liveness: &Liveness<Arc<Told>>, most: Duration) -> Option<Duration> {
        let began = Instant::now();
        let answer = liveness.answer(TIMEOUT, "a test", pending::<Result<()>>());
        let outcome = tokio::time::timeout(most, answer).await.ok()?;
        let error = outcome.expect_err("there is no answer");
        assert_eq!(error.message, "the server did not answer a test within 5 s");
        Some(began.elapsed())
    }

    /// Hears a byte of the server every second.
    fn talk(liveness: &Arc<Liveness<Arc<Told>>>) -> AbortOnDropHandle<()> {
        let facts = Arc::clone(&liveness.facts);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                facts.heard.beat();
            }
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_the_timeout_without_a_question() {
        let (liveness, told) = liveness();
        assert_eq!(waited(&liveness, 2 * TIMEOUT).await, Some(TIMEOUT));
        assert_eq!(*told.questions.lock(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_given_as_it_is() {
        let (liveness, _) = liveness();
        let late = async {
            tokio::time::sleep(Duration::from_millis(4999)).await;
            Ok(7)
        };
        assert_eq!(liveness.answer(TIMEOUT, "a test", late).await.ok(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_ours_does_not_count_against_the_server() {
        let (liveness, _) = liveness();
        liveness.paused.store(true, Ordering::Relaxed);
        assert_eq!(waited(&liveness, 20 * TIMEOUT).await, None);
        liveness.paused.store(false, Ordering::Relaxed);
        assert_eq!(waited(&liveness, 2 * TIMEOUT).await, Some(TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_works_for_the_user_is_waited_for_while_it_does() {
        let (liveness, told) = liveness();
        liveness.in_flight.store(1, Ordering::Relaxed);
        told.answer.store(true, Ordering::Relaxed);
        assert_eq!(waited(&liveness, 20 * TIMEOUT).await, None);
        assert!(
            told.questions
                .lock()
                .iter()
                .all(|it| *it == Question::IsWorking)
        );
        told.answer.store(false, Ordering::Relaxed);
        assert_eq!(waited(&liveness, 2 * TIMEOUT).await, Some(TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_only_talks_is_asked_about_and_given_up_when_it_is_not_there() {
        let (liveness, told) = liveness();
        let _talking = talk(&liveness);
        let took = waited(&liveness, 100 * TIMEOUT).await.expect("given up");
        // Ten deadlines are missed; each begins at the last byte heard, up to a second before the one before it ended.
        assert!(took > 8 * TIMEOUT && took <= 11 * TIMEOUT, "{took:?}");
        assert_eq!(*told.questions.lock(), [Question::IsThere]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_sends_a_backlog_is_waited_for_as_long_as_it_is_there() {
        let (liveness, told) = liveness();
        told.answer.store(true, Ordering::Relaxed);
        let _talking = talk(&liveness);
        assert_eq!(waited(&liveness, 100 * TIMEOUT).await, None);
        assert!(told.questions.lock().len() > 5);
    }
}
