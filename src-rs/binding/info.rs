//! The facts of a connection, as JavaScript sees them.

use napi_derive::napi;

use pglisten_core::protocol::TransactionStatus;
use pglisten_core::query::info::ConnectionInfo;

/// Whether a transaction block is open.
#[napi(string_enum = "camelCase")]
pub enum NativeTransactionStatus {
    Idle,
    Active,
    Failed,
}

impl From<TransactionStatus> for NativeTransactionStatus {
    fn from(status: TransactionStatus) -> Self {
        match status {
            TransactionStatus::Idle => Self::Idle,
            TransactionStatus::Active => Self::Active,
            TransactionStatus::Failed => Self::Failed,
        }
    }
}

/// The facts of a connection.
#[napi(object, object_from_js = false)]
pub struct NativeConnectionInfo {
    pub database: String,
    pub user: String,
    pub host: String,
    pub port: u16,
    pub process_id: i32,
    /// The name of each parameter that the server has reported, followed by its value.
    pub parameters: Vec<String>,
}

impl From<ConnectionInfo> for NativeConnectionInfo {
    fn from(info: ConnectionInfo) -> Self {
        let parameters = info.parameters.iter();
        let parameters = parameters.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
        Self {
            parameters: parameters.collect(),
            database: info.database,
            user: info.user,
            host: info.host,
            port: info.port,
            process_id: info.process_id,
        }
    }
}
