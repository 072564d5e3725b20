//! Sessions that LISTEN, and the supervisor that keeps one alive for a listener.

mod backoff;
mod desired;
mod driver;
mod idle_ends;
pub mod listener;
mod liveness;
mod losses;
pub mod options;
pub mod session;
mod sessions;
mod supervisor;
