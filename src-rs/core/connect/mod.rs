//! From options, DSNs and libpq's environment to a connection that is dialled, encrypted and authenticated.

pub mod choices;
pub mod config;
pub mod dial;
mod dsn;
mod failure;
pub mod parameters;
mod passfile;
pub mod settings;
pub mod tls;
pub mod wire;
