//! The protocol half of `pglisten`: sessions, buffers and statements, without a line of JavaScript.
//!
//! # Reading order
//!
//! Modules depend on those above them in this list, never on those below. The compiler does not check that within one crate,
//! so keep `use` lines pointing upwards.
//!
//! 1. [`base`]: errors, moments of the clock, the process ids of our own backends.
//! 2. [`observe`]: counters and snapshots.
//! 3. [`inbound`]: bytes of the socket become packed notifications.
//! 4. [`protocol`]: requests and answers on a connection that has started up.
//! 5. [`connect`]: options, DSNs and environment become a dialled, authenticated, encrypted connection.
//! 6. [`deliver`]: packed notifications become entries in the bounded buffer of each consumer.
//! 7. [`query`]: statements, transactions and the pool that leases connections.
//! 8. [`listen`]: sessions that LISTEN, and the supervisor that keeps one alive for a listener.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// A place that panics when a test asks for it. Only with the feature `failpoints`: otherwise it is no code at all.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        $crate::base::fail_point::reach($name)
    };
}

/// A place that panics when a test asks for it. Only with the feature `failpoints`: otherwise it is no code at all.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {};
}

pub mod base;
pub mod connect;
pub mod deliver;
pub mod inbound;
pub mod listen;
pub mod observe;
pub mod protocol;
pub mod query;
