//! A password that is asked for: once for each round through the hosts, when the first of them is reached.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use crate::base::Setting;
use crate::base::error::{Error, ErrorKind, Result};

/// Gives the password of a new connection.
pub trait AskPassword: Send + Sync + 'static {
    /// Asks for the password. Dropping the future gives the question up.
    fn ask(&self) -> BoxFuture<'static, std::result::Result<String, PasswordFailure>>;
}

/// Why there is no password. What was thrown or given is not told: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordFailure {
    /// It threw, or rejected.
    Threw,
    /// It gave something else than a string without NUL.
    NoString,
    /// It gave the empty text, and the server asks for a password.
    Empty,
    /// Nobody is left who could be asked.
    Gone,
}

impl From<PasswordFailure> for Error {
    fn from(failure: PasswordFailure) -> Self {
        failed(match failure {
            PasswordFailure::Threw => "it threw or rejected (its error is not shown)",
            PasswordFailure::NoString => {
                "it gave something else than a string without NUL (not shown)"
            }
            PasswordFailure::Empty => "it gave an empty text, and the server asks for a password",
            PasswordFailure::Gone => "its environment has ended",
        })
    }
}

fn failed(why: &str) -> Error {
    let name = Setting::Password;
    Error::new(
        ErrorKind::Connect,
        format!("could not connect: the function `{name}` failed: {why}"),
    )
}

/// Where passwords are asked for.
#[derive(Clone)]
pub struct PasswordSource(Arc<dyn AskPassword>);

impl PasswordSource {
    /// Asks `source`.
    pub fn new(source: impl AskPassword) -> Self {
        Self(Arc::new(source))
    }

    /// Where it is: the same for its clones alone.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordSource")
    }
}

type Answer = Shared<BoxFuture<'static, std::result::Result<String, PasswordFailure>>>;

/// The one question of a round through the hosts, as one attempt of the round asks it. Clones are of the same attempt.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    question: Arc<OnceLock<Answer>>,
    /// Whether the attempt waits for the answer, or was given up while it did.
    is_waiting: Arc<AtomicBool>,
}

impl Asked {
    /// The same question, for another attempt.
    pub(super) fn again(&self) -> Self {
        Self {
            question: Arc::clone(&self.question),
            is_waiting: Arc::default(),
        }
    }

    /// The password. `source` is asked at the first call; a call that is given up leaves the question to the next one.
    pub(super) async fn password(&self, source: &PasswordSource) -> Result<String> {
        let answer = self.question.get_or_init(|| source.0.ask().shared());
        self.is_waiting.store(true, Ordering::Relaxed);
        let password = answer.clone().await;
        self.is_waiting.store(false, Ordering::Relaxed);
        Ok(password?)
    }

    /// Notes the attempt among others.
    pub fn note_among(&self, attempts: &Waits) {
        let mut attempts = attempts.0.lock();
        attempts.retain(|attempt| attempt.strong_count() > 0);
        attempts.push(Arc::downgrade(&self.is_waiting));
    }

    /// Whether the attempt waits for the answer, so that nothing can be said of its server.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Waits for an answer that is still to come. Gives `false` at once if there is none.
    pub(super) async fn was_pending(&self) -> bool {
        match self.question.get() {
            Some(answer) if answer.peek().is_none() => {
                drop(answer.clone().await);
                true
            }
            _ => false,
        }
    }

    /// The error of a question that failed, or that an attempt whose time is over was still waiting for.
    pub(super) fn failure(&self) -> Option<Error> {
        match self.question.get()?.peek() {
            Some(Err(failure)) => Some((*failure).into()),
            None if self.is_waiting() => {
                let name = Setting::ConnectTimeout;
                Some(failed(&format!("it did not answer in time (`{name}`)")))
            }
            Some(Ok(_)) | None => None,
        }
    }
}

/// Which of several attempts wait for an answer.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Mutex<Vec<Weak<AtomicBool>>>>);

impl Waits {
    /// Whether an attempt that goes on waits for an answer.
    #[must_use]
    pub fn is_any(&self) -> bool {
        let attempts = self.0.lock();
        let mut going_on = attempts.iter().filter_map(Weak::upgrade);
        going_on.any(|is_waiting| is_waiting.load(Ordering::Relaxed))
    }
}
