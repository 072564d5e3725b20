//! A password that is asked for: once for each round through the hosts, when the first of them is reached.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

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

/// The one question of a round through the hosts. Clones are the same question.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<OnceLock<Answer>>);

impl Asked {
    /// The password. `source` is asked at the first call; a call that is given up leaves the question to the next one.
    pub(super) async fn password(&self, source: &PasswordSource) -> Result<String> {
        let answer = self.0.get_or_init(|| source.0.ask().shared()).clone();
        Ok(answer.await?)
    }

    /// The error of a question that failed, or that has no answer although its time is over.
    pub(super) fn failure(&self) -> Option<Error> {
        match self.0.get()?.peek() {
            Some(Ok(_)) => None,
            Some(Err(failure)) => Some((*failure).into()),
            None => {
                let name = Setting::ConnectTimeout;
                Some(failed(&format!("it did not answer in time (`{name}`)")))
            }
        }
    }
}
