//! The events of a listener's session, as the facade takes them.

use napi_derive::napi;
use pglisten_core::deliver::seat::Event;

use crate::binding::batch::NativeGap;
use crate::binding::error::{NativeError, NativeServerMessage, in_facade_words};

/// The kind of an event.
#[napi(string_enum = "camelCase")]
pub enum NativeEventKind {
    Connected,
    Disconnected,
    AttemptFailed,
    Reconnecting,
    Reconnected,
    Notice,
    Warning,
    Closed,
}

/// An event of the listener's session. Its kind tells which fields are there.
#[napi(object, object_from_js = false)]
pub struct NativeEvent {
    #[napi(ts_type = "`${NativeEventKind}`")]
    pub kind: NativeEventKind,
    pub process_id: Option<i32>,
    pub error: Option<NativeError>,
    pub attempt: Option<u32>,
    /// Of `reconnecting`: how long until the attempt begins, in milliseconds.
    pub delay_ms: Option<f64>,
    /// Of `attemptFailed`: whether only a person can mend the reason.
    pub needs_attention: Option<bool>,
    pub gap: Option<NativeGap>,
    pub notice: Option<NativeServerMessage>,
    pub message: Option<String>,
}

impl NativeEvent {
    /// An event without further fields.
    fn of(kind: NativeEventKind) -> Self {
        Self {
            kind,
            process_id: None,
            error: None,
            attempt: None,
            delay_ms: None,
            needs_attention: None,
            gap: None,
            notice: None,
            message: None,
        }
    }
}

impl From<Event> for NativeEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Connected { process_id } => Self {
                process_id: Some(process_id),
                ..Self::of(NativeEventKind::Connected)
            },
            Event::Disconnected { error, process_id } => Self {
                error: Some(error.into()),
                process_id: Some(process_id),
                ..Self::of(NativeEventKind::Disconnected)
            },
            Event::AttemptFailed {
                error,
                attempt,
                needs_attention,
            } => Self {
                error: Some(error.into()),
                attempt: Some(attempt),
                needs_attention: Some(needs_attention),
                ..Self::of(NativeEventKind::AttemptFailed)
            },
            Event::Reconnecting {
                attempt,
                delay,
                error,
            } => Self {
                error: Some(error.into()),
                attempt: Some(attempt),
                delay_ms: Some(delay.as_secs_f64() * 1000.0),
                ..Self::of(NativeEventKind::Reconnecting)
            },
            Event::Reconnected { gap } => Self {
                gap: Some((*gap).into()),
                ..Self::of(NativeEventKind::Reconnected)
            },
            Event::Notice(notice) => Self {
                notice: Some((*notice).into()),
                ..Self::of(NativeEventKind::Notice)
            },
            Event::Warning(message) => Self {
                message: Some(in_facade_words(&message)),
                ..Self::of(NativeEventKind::Warning)
            },
            Event::Closed { error } => Self {
                error: Some(error.into()),
                ..Self::of(NativeEventKind::Closed)
            },
        }
    }
}
