//! The one error type of the core, and the fields of a PostgreSQL server's messages.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use super::setting::{Setting, rename};

/// The kind of an error, as far as a program can act on it. Each kind becomes one JavaScript class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// An option or a DSN is wrong. Becomes `ConnectionPoolConfigurationError`.
    Configuration,
    /// No server could be reached. Becomes `ConnectionFailedError`.
    Connect,
    /// The server offers no TLS, or none that both sides agree on. Becomes `ConnectionTlsError`.
    Tls,
    /// The connection has ended or was given back. Becomes `ConnectionClosedError`.
    Closed,
    /// The server answered with an error. Becomes `DatabaseError`.
    Database,
    /// A statement cannot be run as asked: a parameter, a type, the number of rows.
    /// Becomes `ConnectionExecuteError`.
    Execute,
    /// Something that lives within a transaction was to begin, and none was open. Nothing was sent. Becomes `ConnectionExecuteError`.
    NoTransaction,
    /// The pool has no connection to give. Becomes `ConnectionPoolExecuteError`.
    Pool,
    /// The listener was shut down. Becomes `ListenerClosedError`.
    ListenerClosed,
    /// A consumer's buffer is full and its policy is `error`. Becomes `ListenerOverflowError`.
    ListenerOverflow,
    /// An operation took longer than its caller allowed. Becomes `ConnectionTimeoutError`.
    TimedOut,
    /// An operation was aborted by its caller, who gets the reason of the abort.
    Aborted,
    /// A defect of this package. Becomes `PglistenError`.
    Internal,
}

/// The fields of an `ErrorResponse` or `NoticeResponse`
/// (<https://www.postgresql.org/docs/current/protocol-error-fields.html>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerMessage {
    /// `ERROR`, `FATAL`, `PANIC`, `WARNING`, `NOTICE`, …; never localized.
    pub severity: String,
    /// The five characters of the SQLSTATE.
    pub sql_state: String,
    /// The primary message.
    pub message: String,
    /// A longer explanation.
    pub detail: Option<String>,
    /// A suggestion what to do about the problem.
    pub hint: Option<String>,
    /// The place of the error in the statement, in characters from 1.
    pub position: Option<u32>,
    /// The call stack inside the server.
    pub context: Option<String>,
    /// The schema that the message is about.
    pub schema: Option<String>,
    /// The table that the message is about.
    pub table: Option<String>,
    /// The column that the message is about.
    pub column: Option<String>,
    /// The data type that the message is about.
    pub data_type: Option<String>,
    /// The constraint that the message is about.
    pub constraint: Option<String>,
    /// The function of the server that wrote the message; never localized.
    pub routine: Option<String>,
}

impl From<&tokio_postgres::error::DbError> for ServerMessage {
    fn from(error: &tokio_postgres::error::DbError) -> Self {
        use tokio_postgres::error::ErrorPosition;
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        Self {
            severity: error
                .parsed_severity()
                .map_or_else(|| error.severity().to_owned(), |s| s.to_string()),
            sql_state: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: owned(error.detail()),
            hint: owned(error.hint()),
            position: match error.position() {
                Some(
                    ErrorPosition::Original(position) | ErrorPosition::Internal { position, .. },
                ) => Some(*position),
                None => None,
            },
            context: owned(error.where_()),
            schema: owned(error.schema()),
            table: owned(error.table()),
            column: owned(error.column()),
            data_type: owned(error.datatype()),
            constraint: owned(error.constraint()),
            routine: owned(error.routine()),
        }
    }
}

/// What it would do to send a request again that has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Again {
    /// It may help: what the client knows of a type may be out of date.
    pub(crate) may_help: bool,
    /// It may harm: something of the request may have taken effect for good.
    pub(crate) may_harm: bool,
    /// How far the server had come when it refused the request.
    pub(crate) stage: Stage,
}

/// How far the server has come with a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The parameters of the statement are not bound yet, so that it has done nothing.
    Unbound,
    /// The statement runs, or nothing is known.
    #[default]
    Running,
    /// All statements of the request were executed, and the server commits what it has begun for them by itself.
    Committing,
}

/// An error of the core.
#[derive(Debug, Clone)]
pub struct Error {
    /// The part that a program can act on.
    pub kind: ErrorKind,
    /// The part that a person reads: complete, without a password. Settings in it are marked, as [`Setting`] says.
    pub message: String,
    /// The setting at fault, for [`ErrorKind::Configuration`].
    pub option: Option<Setting>,
    /// The server's message, for [`ErrorKind::Database`].
    pub server: Option<Box<ServerMessage>>,
    /// Whether an attempt to connect, or a request, got no answer at all: the server did not refuse, the network just took it.
    pub is_unanswered: bool,
    /// Whether only a person can mend it, although nothing was refused: trying often is of no use.
    pub is_hopeless: bool,
    /// What another attempt would do.
    pub(crate) again: Again,
    /// Which statement of a pipeline failed, or which execution of one with many sets of parameters.
    pub index: Option<usize>,
    /// How many statements of a pipeline were completed before.
    pub completed: usize,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rename(&self.message, Setting::name))
    }
}

impl StdError for Error {}

/// The result of operations of the core.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a setting and without a server's message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            option: None,
            server: None,
            is_unanswered: false,
            is_hopeless: false,
            again: Again::default(),
            index: None,
            completed: 0,
        }
    }

    /// The error of an attempt to connect, or of a request, that got no answer.
    pub(crate) fn unanswered(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            is_unanswered: true,
            ..Self::new(kind, message)
        }
    }

    /// The error of a setting that is wrong.
    pub fn configuration(option: Setting, message: impl Into<String>) -> Self {
        Self {
            option: Some(option),
            ..Self::new(ErrorKind::Configuration, message)
        }
    }

    /// The SQLSTATE, if the error comes from a server.
    #[must_use]
    pub fn sql_state(&self) -> Option<&str> {
        self.server
            .as_deref()
            .map(|server| server.sql_state.as_str())
    }

    /// Whether the server refused one statement only, so that the session goes on.
    #[must_use]
    pub fn is_servers_refusal(&self) -> bool {
        self.server
            .as_deref()
            .is_some_and(|server| server.severity == "ERROR")
    }

    /// Whether what was known of a statement was out of date. It is forgotten now, and nothing was done: another attempt may succeed.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.again.may_help && !self.again.may_harm
    }

    /// Whether the server did not accept who we are: the class of invalid authorization.
    #[must_use]
    pub fn refuses_us(&self) -> bool {
        self.sql_state()
            .is_some_and(|state| state.starts_with("28"))
    }

    /// Whether the connection is lost: its socket, or the session at the server's word.
    #[must_use]
    pub fn ends_session(&self) -> bool {
        self.kind == ErrorKind::Closed
            || self
                .server
                .as_deref()
                .is_some_and(|server| server.severity != "ERROR")
    }

    /// This error of a second attempt, with the error `before` of the first attempt in its message.
    #[must_use]
    pub(crate) fn after(mut self, before: &Self) -> Self {
        if self.message != before.message {
            let message = format!("{}; before that: {}", self.message, before.message);
            self = self.saying(message);
        }
        self
    }

    /// This error with another message.
    #[must_use]
    pub(crate) fn saying(mut self, message: String) -> Self {
        if let Some(server) = &mut self.server {
            server.message.clone_from(&message);
        }
        self.message = message;
        self
    }

    /// A server's message as an error.
    #[must_use]
    pub fn database(server: ServerMessage) -> Self {
        Self {
            server: Some(Box::new(server.clone())),
            ..Self::new(ErrorKind::Database, server.message)
        }
    }
}

/// The texts of an error and its causes, on one line.
#[must_use]
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        source = cause.source();
    }
    text
}

/// The error of TLS behind an error; `None` if there is none, as when the socket broke during a handshake.
pub(crate) fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // An I/O error does not give the error that it wraps as its source.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
impl Error {
    /// The error of a server that says no more than this.
    pub(crate) fn of_server(severity: &str, sql_state: &str) -> Self {
        let server = ServerMessage {
            severity: severity.to_owned(),
            sql_state: sql_state.to_owned(),
            ..ServerMessage::default()
        };
        Self {
            server: Some(Box::new(server)),
            ..Self::new(ErrorKind::Database, "")
        }
    }
}
