//! What every other folder uses: errors and the settings they name, panics, tasks and threads that can fail, the wall clock, the
//! process ids of our own backends.

mod blocking;
pub mod clock;
pub mod doubt;
pub mod eager;
pub mod error;
#[cfg(feature = "failpoints")]
pub mod fail_point;
mod lend;
mod moment;
pub mod own_pids;
pub mod panic;
pub mod setting;

pub(crate) use blocking::blocking;
pub use lend::{Awaited, Lend};
pub use moment::Moment;
pub use setting::Setting;
