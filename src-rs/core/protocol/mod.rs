//! The frontend/backend protocol once a connection has started up
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>).
//!
//! `tokio_postgres` starts a connection up and authenticates it, on a [`hand_over::Lent`] stream. Then a [`Connection`]
//! takes the stream over and is driven by whoever dialled, and a [`Client`] sends requests to it. Everything that a server
//! sends is read here with a check at every step: no message can panic, recurse, or reserve memory for bytes that have
//! not come.

mod client;
mod connection;
mod copy_feed;
mod driven;
pub(crate) mod hand_over;
mod message;
mod parameters;
mod responses;

pub use client::Client;
pub use client::TextRow;
pub(crate) use client::{Request, check_length, copy_refused, malformed, text_rows};
pub use connection::{Asynchronous, Connection, ConnectionEnd};
pub(crate) use connection::{StartedUp, pair};
pub use copy_feed::CopyWriter;
pub(crate) use copy_feed::{CopyFeed, copy_feed};
pub use driven::{Driven, Loan};
pub(crate) use message::{DataRow, Message};
pub use message::{Field, Origin, TransactionStatus};
pub use parameters::Parameters;
pub(crate) use responses::Responses;
