//! Errors, moments of the clock, and the process ids of our own backends. This folder knows no other.

pub mod error;
mod moment;
pub mod own_pids;

pub use moment::Moment;
