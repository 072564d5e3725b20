//! From options, DSNs and libpq's environment to a connection that is dialled, encrypted and authenticated.
//!
//! `settings` are what one source says, read by `dsn` and `parameters`, and looked through by `misplaced`. `sources` merges them, and
//! `config` checks the result and makes a [`config::ConnectConfig`] of it, with `hosts`, `start_up`, `socket_options`, `passfile`, [`password`] and [`tls`].
//! [`dial`] connects as the configuration says, and gives a [`wire`]. [`cluster`] tells a primary from one that was left behind.

pub mod choices;
pub mod cluster;
pub mod config;
pub mod dial;
mod dsn;
mod failure;
mod hosts;
mod key;
#[cfg(unix)]
mod lent_socket;
mod misplaced;
pub mod parameters;
mod passfile;
pub mod password;
pub mod settings;
mod socket_options;
mod sources;
mod start_up;
pub mod tls;
pub mod wire;
