//! Sessions, buffers and queries: everything that can be tested without JavaScript.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod config;
pub mod connection;
mod desired;
pub mod dial;
mod driver;
mod dsn;
pub mod error;
pub mod gap;
mod gate;
pub mod hub;
pub mod inbound;
mod link;
pub mod listener;
pub mod listener_options;
mod moment;
pub mod own_pids;
pub mod parameters;
mod passfile;
pub mod pool;
pub mod session;
pub mod settings;
mod sql_text;
pub mod statements;
pub mod subscriber;
mod supervisor;
pub mod tls;
mod turns;
pub mod values;
mod watch;
pub mod wire;
