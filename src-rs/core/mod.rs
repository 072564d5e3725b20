//! Sessions, buffers and queries: everything that can be tested without JavaScript.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod config;
pub mod dial;
pub mod error;
pub mod gap;
pub mod hub;
pub mod own_pids;
pub mod session;
pub mod subscriber;
pub mod supervisor;
