//! The options of a listener.

use std::sync::Arc;
use std::time::Duration;

use crate::base::doubt::Doubt;
use crate::base::own_pids::OwnPids;
use crate::connect::config::ConnectConfig;
use crate::listen::session::SessionSetup;
use crate::listen::supervisor::Policy;

/// How to come back after a session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeartbeatOptions {
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often a notification of our own has to come back. `None`: never.
    pub probe_interval: Option<Duration>,
}

/// Whose session a listener uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChoice {
    /// That of all listeners with the same settings, until the listener needs one alone.
    Auto,
    /// That of all listeners with the same settings.
    Shared,
    /// One alone.
    Own,
}

/// Everything that a listener needs to know.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Whose session it uses.
    pub session: SessionChoice,
    /// Where to connect.
    pub connect: Arc<ConnectConfig>,
    /// Raised when a session is found silently dead: the pool's connections may be so too.
    pub doubt: Arc<Doubt>,
    /// How long a full consumer may keep us from reading.
    pub max_pause: Duration,
    /// `None`: the end of the session is the end of the listener.
    pub reconnect: Option<ReconnectOptions>,
    /// `None`: no heartbeat.
    pub heartbeat: Option<HeartbeatOptions>,
    /// Where to enter the backend of a session that is the listener's own.
    pub own_pids: Arc<OwnPids>,
}

impl ListenerOptions {
    /// How to make a session that raises `doubt`, read without a pause of more than `max_pause`.
    pub(super) fn setup(&self, doubt: &Arc<Doubt>, max_pause: Duration) -> SessionSetup {
        let probed = self.heartbeat.filter(|it| it.probe_interval.is_some());
        SessionSetup {
            probe_timeout: probed.map(|heartbeat| heartbeat.timeout),
            ..SessionSetup::new(Arc::clone(&self.connect), Arc::clone(doubt), max_pause)
        }
    }

    /// Whether two listeners have the same options.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.session == other.session
            && Arc::ptr_eq(&self.connect, &other.connect)
            && Arc::ptr_eq(&self.doubt, &other.doubt)
            && Arc::ptr_eq(&self.own_pids, &other.own_pids)
            && self.max_pause == other.max_pause
            && self.reconnect == other.reconnect
            && self.heartbeat == other.heartbeat
    }

    /// The rules for the supervisor of its session.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            asks_password: self.connect.asks_password(),
            reconnect: self.reconnect,
            heartbeat: self.heartbeat,
            // Each answer tells as much as a heartbeat, so the heartbeat's bound holds where there is one.
            request_timeout: match self.heartbeat {
                Some(heartbeat) => heartbeat.timeout,
                None => self.connect.connect_timeout,
            },
        }
    }
}
