//! The native half of `pglisten`: a Node addon around the crate [`pglisten_core`].
//!
//! # The way of a notification
//!
//! ```text
//! PostgreSQL ─socket─► Session ─► Feed ─► Seat ─► Subscriber (one per consumer, bounded) ─signal─► Bridge ─wake─► JS
//!                         ▲                       ◄───────────────── drain ──────────────────────────── JS
//!              Supervisor (connect, LISTEN, heartbeat, back-off)
//! ```
//!
//! * [`pglisten_core`] is pure Rust and knows nothing of JavaScript; its first page gives the reading order.
//! * [`binding`] is the only place that knows Node-API. It converts, and holds no policy.
//!
//! # Threads
//!
//! Two threads, each with a small tokio runtime, serve the whole process (`binding::runtime`). The JavaScript
//! thread never waits for them, and all that they do to it is one wake per environment (`binding::bridge`).
//!
//! # Invariants
//!
//! * Data is pulled by JavaScript, never pushed: the bound of a consumer's buffer holds in Rust.
//! * What was lost is an entry in the same buffer as what arrived, so order cannot be wrong.
//! * No Node-API handle lives in a static: every worker thread is an environment of its own.

pub mod binding;
