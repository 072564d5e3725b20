//! Statements, transactions, and the pool that leases connections for them.
//!
//! A [`pool::Pool`] hands out a [`lease::Lease`], whose methods run `statements` on the [`client::Client`] that the lease
//! holds. `call_order` keeps a lease's operations in their order, `lease_limit` bounds how many leases there are.

pub mod backend;
pub mod bounds;
mod call_order;
pub mod client;
mod connections;
pub mod copy;
mod fields;
mod held_connection;
mod holders;
pub mod info;
pub mod lease;
mod lease_limit;
pub mod limits;
pub mod pool;
pub mod shared_client;
pub mod sql_text;
pub mod statements;
mod types;
pub mod values;
