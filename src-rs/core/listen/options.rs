//! The options of a listener.

use std::sync::Arc;
use std::time::Duration;

use crate::base::own_pids::OwnPids;
use crate::listen::session::SessionSetup;

/// How to come back after a session was lost.
#[derive(Debug, Clone, Copy)]
pub struct ReconnectOptions {
    /// The longest first delay.
    pub initial_delay: Duration,
    /// The longest delay.
    pub max_delay: Duration,
    /// How many attempts in a row; `None` never gives up.
    pub max_attempts: Option<u32>,
    /// A session that lasted this long is stable: after its end the delays begin with none.
    pub stable_after: Duration,
}

/// How to notice a server that is silently gone.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatOptions {
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often a notification of our own has to come back. `None`: never.
    pub probe_interval: Option<Duration>,
}

/// Everything that a listener needs to know.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// How to make a session.
    pub setup: SessionSetup,
    /// `None`: the end of the session is the end of the listener.
    pub reconnect: Option<ReconnectOptions>,
    /// `None`: no heartbeat.
    pub heartbeat: Option<HeartbeatOptions>,
    /// Where to enter the session's backend.
    pub own_pids: Arc<OwnPids>,
}

impl ListenerOptions {
    /// How long the answer to a request of ours may take. Each answer tells as much as a heartbeat, so the heartbeat's bound
    /// holds where there is one.
    pub(super) fn request_timeout(&self) -> Duration {
        match self.heartbeat {
            Some(heartbeat) => heartbeat.timeout,
            None => self.setup.connect.connect_timeout,
        }
    }
}
