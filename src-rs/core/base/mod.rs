//! What every other folder uses: errors and the settings they name, the wall clock, the process ids of our own backends.

pub mod clock;
pub mod error;
mod moment;
pub mod own_pids;
pub mod setting;

pub use moment::Moment;
pub use setting::Setting;
