//! The events of a listener's session, as the facade takes them.

use napi_derive::napi;
use pglisten_core::deliver::seat::Event;

use crate::binding::batch::NativeGap;
use crate::binding::error::{NativeError, NativeServerMessage};

/// What happened to the session. Which fields are there depends on `kind`.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativeEvent {
    /// `connected`, `disconnected`, `attemptFailed`, `reconnected`, `notice`, `warning` or `closed`.
    pub kind: &'static str,
    pub process_id: Option<i32>,
    pub error: Option<NativeError>,
    pub attempt: Option<u32>,
    /// Of `attemptFailed`: whether only a person can mend the reason.
    pub needs_attention: Option<bool>,
    pub gap: Option<NativeGap>,
    pub notice: Option<NativeServerMessage>,
    pub message: Option<String>,
}

impl From<Event> for NativeEvent {
    fn from(event: Event) -> Self {
        let none = Self::default();
        match event {
            Event::Connected { process_id } => Self {
                kind: "connected",
                process_id: Some(process_id),
                ..none
            },
            Event::Disconnected { error, process_id } => Self {
                kind: "disconnected",
                error: Some(error.into()),
                process_id: Some(process_id),
                ..none
            },
            Event::AttemptFailed {
                error,
                attempt,
                needs_attention,
            } => Self {
                needs_attention: Some(needs_attention),
                kind: "attemptFailed",
                error: Some(error.into()),
                attempt: Some(attempt),
                ..none
            },
            Event::Reconnected { gap } => Self {
                kind: "reconnected",
                gap: Some((*gap).into()),
                ..none
            },
            Event::Notice(notice) => Self {
                kind: "notice",
                notice: Some((*notice).into()),
                ..none
            },
            Event::Warning(message) => Self {
                kind: "warning",
                message: Some(message),
                ..none
            },
            Event::Closed { error } => Self {
                kind: "closed",
                error: Some(error.into()),
                ..none
            },
        }
    }
}
