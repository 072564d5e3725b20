//! Sessions, buffers and queries: everything that can be tested without JavaScript.
#![forbid(unsafe_code)]

pub mod config;
pub mod dial;
pub mod error;
