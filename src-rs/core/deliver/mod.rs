//! From packed notifications to the bounded buffer of each consumer: routing, gaps, fences, overflow.

pub mod gap;
pub mod hub;
pub mod subscriber;
