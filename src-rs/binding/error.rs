//! Errors of the core as plain objects; `src-ts/native/native-errors.ts` makes classes of them, on the JavaScript side.

use napi_derive::napi;

use pglisten_core::base::error::{Error, ErrorKind, ServerMessage};

/// What a PostgreSQL server said.
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
            message: message.message,
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

/// An error of the core.
#[napi(object)]
#[derive(Debug)]
pub struct NativeError {
    /// One of the names in [`kind_name`].
    pub kind: String,
    pub message: String,
    pub option: Option<String>,
    pub server: Option<NativeServerMessage>,
}

impl From<Error> for NativeError {
    fn from(error: Error) -> Self {
        Self {
            kind: kind_name(error.kind).to_owned(),
            message: error.message,
            option: error.option.map(ToOwned::to_owned),
            server: error.server.map(|server| (*server).into()),
        }
    }
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Configuration => "configuration",
        ErrorKind::Connect => "connect",
        ErrorKind::Tls => "tls",
        ErrorKind::Closed => "closed",
        ErrorKind::Database => "database",
        ErrorKind::Execute => "execute",
        ErrorKind::Pool => "pool",
        ErrorKind::ListenerClosed => "listenerClosed",
        ErrorKind::ListenerOverflow => "listenerOverflow",
        ErrorKind::Internal => "internal",
    }
}
