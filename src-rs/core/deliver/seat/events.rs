//! Events of a listener's session, on their way to JavaScript.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::error::{Error, ServerMessage};
use crate::deliver::gap::Gap;

/// Events wait here while the JavaScript thread is busy; a server can send notices without end.
const MAX_WAITING_EVENTS: usize = 1000;

/// An event of the listener's session.
#[derive(Debug, Clone)]
pub enum Event {
    /// A session is up: the first one, or the first after a break.
    Connected {
        /// Its backend.
        process_id: i32,
    },
    /// The session ended.
    Disconnected {
        /// Why.
        error: Error,
        /// Its backend.
        process_id: i32,
    },
    /// An attempt to connect again failed.
    AttemptFailed {
        /// Why.
        error: Error,
        /// How many have been made since the session ended.
        attempt: u32,
        /// Whether only a person can mend the reason: a wrong password, say, or a missing database.
        needs_attention: bool,
    },
    /// An attempt to connect again will begin.
    Reconnecting {
        /// Its number: how many there are since the session ended, this one included.
        attempt: u32,
        /// How long until it begins.
        delay: Duration,
        /// What makes it necessary: the end of the session, or the failure of an attempt.
        error: Error,
    },
    /// A new session took over.
    Reconnected {
        /// The gap before the new session's notifications.
        gap: Box<Gap>,
    },
    /// A notice or warning of the server.
    Notice(Box<ServerMessage>),
    /// Something a user should know, said by us.
    Warning(String),
    /// The listener gave up.
    Closed {
        /// Why.
        error: Error,
    },
}

impl Event {
    /// Whether it can be lost in a flood of its kind; what tells of the session's state may not.
    fn is_droppable(&self) -> bool {
        matches!(
            self,
            Self::Notice(_)
                | Self::Warning(_)
                | Self::AttemptFailed { .. }
                | Self::Reconnecting { .. }
        )
    }
}

/// The events that wait to be taken.
pub(super) struct Events {
    waiting: Mutex<VecDeque<Event>>,
    /// Called, from any thread, when there are some.
    signal: Box<dyn Fn() + Send + Sync>,
}

impl Events {
    pub(super) fn new(signal: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            waiting: Mutex::default(),
            signal,
        }
    }

    pub(super) fn push(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.is_empty();
        if waiting.len() >= MAX_WAITING_EVENTS {
            match waiting.iter().position(Event::is_droppable) {
                Some(index) => drop(waiting.remove(index)),
                None if event.is_droppable() => return,
                None => {}
            }
        }
        waiting.push_back(event);
        drop(waiting);
        if was_empty {
            (self.signal)();
        }
    }

    pub(super) fn take(&self) -> VecDeque<Event> {
        std::mem::take(&mut self.waiting.lock())
    }
}
