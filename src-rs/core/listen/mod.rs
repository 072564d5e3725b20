//! Sessions that LISTEN, the supervisors that keep them alive, and the listeners that use them.

mod backoff;
mod desired;
mod driver;
mod idle_ends;
pub mod lending;
pub mod listener;
mod liveness;
mod losses;
mod moderation;
mod moving;
pub mod options;
mod registry;
pub mod session;
mod sessions;
mod supervised;
mod supervisor;
