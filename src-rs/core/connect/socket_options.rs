//! The options of TCP sockets: probes of idle connections, and how long data may stay unacknowledged.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::connect::settings::Settings;

/// The kernel's own default of two hours is of no use to a listener.
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

/// The kernel's own default is to send again for a quarter of an hour (`tcp_retries2`). Nobody waits that long.
const DEFAULT_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Windows takes the interval together with the idle time, and has no value that stands for its default: zero would be sent
/// as zero, so that all probes follow each other at once. One second is Windows' own default, and what libpq sets.
const DEFAULT_KEEPALIVES_INTERVAL: Option<Duration> = if cfg!(windows) {
    Some(Duration::from_secs(1))
} else {
    None
};

/// The most seconds and probes that Linux takes (`MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL` and `MAX_TCP_KEEPCNT` in its
/// include/net/tcp.h). It refuses more, and then no connection could be made.
const MOST_SECONDS: u64 = 32_767;
const MOST_RETRIES: u32 = 127;

/// The options of a TCP socket.
#[derive(Debug, Clone)]
pub(crate) struct SocketOptions {
    keepalive: Option<TcpKeepalive>,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    tcp_user_timeout: Option<Duration>,
}

impl SocketOptions {
    pub(super) fn new(settings: &Settings) -> Self {
        let is_probed = settings.keepalives.unwrap_or(true);
        Self {
            keepalive: is_probed.then(|| keepalive(settings)),
            tcp_user_timeout: settings.tcp_user_timeout.or(Some(DEFAULT_USER_TIMEOUT)),
        }
    }

    /// Sets the options on a socket.
    pub(crate) fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if let Some(keepalive) = &self.keepalive {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.tcp_user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }
}

fn keepalive(settings: &Settings) -> TcpKeepalive {
    let idle = settings.keepalives_idle.unwrap_or(DEFAULT_KEEPALIVES_IDLE);
    let keepalive = TcpKeepalive::new().with_time(whole_seconds(idle));
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = match settings.keepalives_interval.or(DEFAULT_KEEPALIVES_INTERVAL) {
        Some(interval) => keepalive.with_interval(whole_seconds(interval)),
        None => keepalive,
    };
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = match settings.keepalives_retries {
        Some(retries) => keepalive.with_retries(retries.min(MOST_RETRIES)),
        None => keepalive,
    };
    keepalive
}

/// The time in seconds, rounded up, as systems take it.
fn whole_seconds(time: Duration) -> Duration {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(seconds.min(MOST_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// socket2 shows what it will set; the operating systems do not let all of it be read back.
    fn told(settings: &Settings) -> String {
        format!("{:?}", keepalive(settings))
    }

    #[test]
    fn the_interval_between_probes_is_never_zero() {
        let told = told(&Settings::default());
        let expected = if cfg!(windows) {
            "interval: Some(1s)"
        } else {
            "interval: None"
        };
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn what_systems_do_not_take_is_the_nearest_that_they_take() {
        let told = told(&Settings {
            keepalives_idle: Some(Duration::from_millis(500)),
            keepalives_interval: Some(Duration::from_secs(100_000)),
            keepalives_retries: Some(1000),
            ..Settings::default()
        });
        for expected in [
            "time: Some(1s)",
            "interval: Some(32767s)",
            "retries: Some(127)",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn every_setting_of_keepalive_is_used() {
        let told = told(&Settings {
            keepalives_idle: Some(Duration::from_secs(7)),
            keepalives_interval: Some(Duration::from_secs(8)),
            keepalives_retries: Some(9),
            ..Settings::default()
        });
        for expected in ["time: Some(7s)", "interval: Some(8s)", "retries: Some(9)"] {
            assert!(told.contains(expected), "{told}");
        }
    }
}
