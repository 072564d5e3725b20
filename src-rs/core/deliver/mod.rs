//! From packed notifications to the bounded buffer of each consumer.
//!
//! A [`feed::Feed`] belongs to a server session and to the sessions that take its place: it decides whose notifications count,
//! keeps what waits for a gap, and knows which fences are open. A [`seat::Seat`] belongs to a listener: it knows the
//! listener's channels and consumers, its counters and its events. A [`buffer::Subscriber`] is the bounded buffer of one
//! consumer, and an [`audience::Audience`] is that of many consumers that get the same. A [`budget::Budget`] bounds the buffers of
//! a pool together.

pub mod audience;
pub mod budget;
pub mod buffer;
pub mod feed;
pub mod filter;
pub mod gap;
pub mod seat;
