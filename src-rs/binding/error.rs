//! Errors of the core as plain objects, in the facade's words. `src-ts/native/native-errors.ts` makes classes of them.

use napi_derive::napi;

use pglisten_core::base::Setting;
use pglisten_core::base::error::{Error, ErrorKind, ServerMessage};
use pglisten_core::base::setting::rename;

/// An error or a notice of a PostgreSQL server.
#[napi(object)]
#[derive(Debug)]
pub struct NativeServerMessage {
    pub severity: String,
    pub sql_state: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub position: Option<u32>,
    pub context: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub constraint: Option<String>,
}

impl From<ServerMessage> for NativeServerMessage {
    fn from(message: ServerMessage) -> Self {
        Self {
            severity: message.severity,
            sql_state: message.sql_state,
            message: in_facade_words(&message.message),
            detail: message.detail,
            hint: message.hint,
            position: message.position,
            context: message.context,
            schema: message.schema,
            table: message.table,
            column: message.column,
            data_type: message.data_type,
            constraint: message.constraint,
        }
    }
}

/// The kind of an error, for the class that the facade makes of it.
#[napi(string_enum = "camelCase")]
#[derive(Debug)]
pub enum NativeErrorKind {
    Configuration,
    Connect,
    Tls,
    Closed,
    Database,
    Execute,
    NoTransaction,
    Pool,
    ListenerClosed,
    ListenerOverflow,
    TimedOut,
    Aborted,
    Internal,
}

impl From<ErrorKind> for NativeErrorKind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Configuration => Self::Configuration,
            ErrorKind::Connect => Self::Connect,
            ErrorKind::Tls => Self::Tls,
            ErrorKind::Closed => Self::Closed,
            ErrorKind::Database => Self::Database,
            ErrorKind::Execute => Self::Execute,
            ErrorKind::NoTransaction => Self::NoTransaction,
            ErrorKind::Pool => Self::Pool,
            ErrorKind::ListenerClosed => Self::ListenerClosed,
            ErrorKind::ListenerOverflow => Self::ListenerOverflow,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::Aborted => Self::Aborted,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

/// An error of the core.
#[napi(object)]
#[derive(Debug)]
pub struct NativeError {
    #[napi(ts_type = "`${NativeErrorKind}`")]
    pub kind: NativeErrorKind,
    pub message: String,
    pub option: Option<String>,
    pub server: Option<NativeServerMessage>,
    /// Which statement of a pipeline failed.
    pub statement_index: Option<u32>,
    /// How many statements of a pipeline were completed before.
    pub completed: u32,
    /// What was known of a statement was out of date, and is forgotten; nothing was done.
    pub is_outdated: bool,
}

impl From<Error> for NativeError {
    fn from(error: Error) -> Self {
        Self {
            is_outdated: error.is_outdated(),
            kind: error.kind.into(),
            message: in_facade_words(&error.message),
            option: error.option.map(|option| facade_name(option).to_owned()),
            server: error.server.map(|server| (*server).into()),
            statement_index: error.index.and_then(|index| u32::try_from(index).ok()),
            completed: u32::try_from(error.completed).unwrap_or(u32::MAX),
        }
    }
}

/// A text of the core with the facade's names of the settings in it.
pub(super) fn in_facade_words(text: &str) -> String {
    rename(text, facade_name)
}

/// The facade's name of a setting.
fn facade_name(setting: Setting) -> &'static str {
    match setting {
        Setting::Dsn => "dsn",
        Setting::Host => "host",
        Setting::Ports => "ports",
        Setting::User => "username",
        Setting::Password => "password",
        Setting::PasswordFile => "passfile",
        Setting::DbName => "dbName",
        Setting::Options => "options",
        Setting::ApplicationName => "applicationName",
        Setting::ConnectTimeout => "connectTimeoutSec",
        Setting::TargetSessionAttrs => "targetSessionAttrs",
        Setting::SslMode => "sslMode",
        Setting::SslNegotiation => "sslNegotiation",
        Setting::ChannelBinding => "channelBinding",
        Setting::CaFile => "caFile",
        Setting::CertFile => "certFile",
        Setting::KeyFile => "keyFile",
        Setting::HeartbeatInterval => "heartbeat.intervalMs",
        Setting::Ca => "ca",
        Setting::Cert => "cert",
        Setting::Key => "key",
        Setting::MaxPause => "buffer.maxPauseMs",
        Setting::Overflow => "buffer.overflow",
        Setting::Variable(name) => name,
    }
}
