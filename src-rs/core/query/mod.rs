//! Statements, transactions, and the pool that leases connections for them.

pub mod connection;
mod gate;
mod link;
pub mod pool;
pub mod shared_client;
mod sql_text;
pub mod statements;
mod turns;
pub mod values;
