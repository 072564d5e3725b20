//! Sessions that LISTEN, and the supervisor that keeps one alive for a listener.

mod backoff;
mod desired;
mod driver;
pub mod listener;
pub mod options;
pub mod session;
mod supervisor;
mod watch;
