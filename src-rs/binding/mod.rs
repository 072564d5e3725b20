//! Node-API: converts, and holds no policy.
//!
//! The same names in the same order as in the facade's TypeScript. Options cross complete: `T | null`,
//! never `undefined`; defaults and validation live in TypeScript.
// napi classes must be `pub` for their generated code, though nothing in Rust reaches them, and they are
// printed by JavaScript, if at all.
#![allow(unreachable_pub, missing_debug_implementations)]

use napi_derive::napi;

mod batch;
mod bounds;
mod bridge;
pub mod config;
mod connection;
mod copy;
mod cursor;
mod error;
#[cfg(unix)]
mod event_loop;
mod finalize;
mod info;
mod listen;
pub mod named_parameters;
mod password;
mod pool;
mod records;
mod runtime;
mod values;
mod wake;

/// The addon's version. The facade compares it with its own, since the two are installed as separate packages.
#[napi]
pub const ADDON_VERSION: &str = env!("CARGO_PKG_VERSION");
