//! Which server of a cluster is its primary now.
//!
//! A primary that was cut off from its cluster may go on answering although another node was promoted: nothing on a session
//! with it tells. Each promotion begins a new timeline
//! (<https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>), so two servers of one cluster that both
//! call themselves primary are told apart by it. Where several hosts are configured and a primary is asked for, a session looks
//! at one of the other hosts now and then, and what was learnt holds for every connection with the same settings.
//!
//! Whoever moves to a newer primary may have missed what was notified there since it was promoted, which may be long before the
//! old one was given up. So it is kept when each host was last known not to be promoted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::choices::TargetSessionAttrs;
use super::config::{ConnectConfig, Host};
use super::dial::{Candidate, Dialed, answered, dial_host, in_time};
use super::password::Asked;
use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Result};

/// So many intervals after a newer primary was last seen it is forgotten. A cluster that was restored from an old backup may come
/// back on a lower timeline.
const REMEMBERED: u32 = 10;

/// The cluster's identifier and the name of the WAL file that is being written, whose first eight digits are the timeline. A
/// standby writes none.
const IDENTIFY: &str = "SELECT c.system_identifier, CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
     THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END FROM pg_catalog.pg_control_system() AS c";

/// The timeline on which a primary writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// The identifier that the servers of a cluster share.
    system: u64,
    number: u32,
}

/// What a server says of its part in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Primary(Timeline),
    Standby,
    /// It does not tell.
    Unknown,
}

/// The newest timeline of a cluster.
#[derive(Debug)]
struct Newest {
    number: u32,
    /// The primary that was seen there.
    host: String,
    seen: Instant,
}

/// What is known of the clusters behind some hosts.
#[derive(Debug)]
pub struct Cluster {
    interval: Duration,
    /// The newest timeline of each cluster, by its identifier.
    newest: watch::Sender<HashMap<u64, Newest>>,
    /// A moment at which each host was not known to be the newest primary; at first the moment of the configuration.
    unpromoted: Mutex<HashMap<String, SystemTime>>,
    /// When somebody last began to look at another host.
    looked: Mutex<Option<Instant>>,
    /// The host to be looked at next.
    turn: AtomicUsize,
}

impl Cluster {
    /// Hosts of which one is looked at every `interval`.
    pub(super) fn new(interval: Duration, hosts: &[Host]) -> Arc<Self> {
        let now = clock::now();
        Arc::new(Self {
            interval,
            newest: watch::Sender::default(),
            unpromoted: Mutex::new(hosts.iter().map(|host| (host.to_string(), now)).collect()),
            looked: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Notes that the primary at `host` is on `timeline`. Refuses one that its cluster has left behind.
    pub(super) fn admit(&self, timeline: Timeline, host: &Host) -> Result<()> {
        let now = Instant::now();
        let mut behind = None;
        self.newest.send_if_modified(|newest| {
            if let Some(known) = newest.get_mut(&timeline.system) {
                let is_remembered = now - known.seen < self.interval * REMEMBERED;
                if timeline.number < known.number && is_remembered {
                    behind = Some(left_behind(host, timeline.number, known));
                    return false;
                }
                if timeline.number == known.number {
                    known.seen = now;
                    return false;
                }
            }
            let seen_at = Newest {
                number: timeline.number,
                host: host.to_string(),
                seen: now,
            };
            newest.insert(timeline.system, seen_at);
            true
        });
        behind.map_or(Ok(()), |text| Err(Error::new(ErrorKind::Connect, text)))
    }

    /// Notes what a host was at `asked`, or later.
    pub(super) fn note(&self, part: Part, host: &Host, asked: SystemTime) {
        let is_promoted = match part {
            Part::Unknown => return,
            Part::Standby => false,
            // An old primary is no news.
            Part::Primary(timeline) => self.admit(timeline, host).is_ok(),
        };
        if !is_promoted {
            self.unpromoted.lock().insert(host.to_string(), asked);
        }
    }

    /// Since when something may have been notified on the newest primary that a session with a primary on `before` has not
    /// heard. `None`: there is no newer one.
    pub fn promoted_since(&self, before: Timeline) -> Option<SystemTime> {
        let newest = self.newest.borrow();
        let known = newest.get(&before.system)?;
        let unpromoted = self.unpromoted.lock();
        match known.number.checked_sub(before.number)? {
            0 => None,
            1 => unpromoted.get(&known.host).copied(),
            // Any host may have been the primary in between.
            _ => unpromoted.values().min().copied(),
        }
    }

    /// Why a connection to a primary on `timeline` is no longer to be used, if that is so.
    fn verdict(&self, timeline: Timeline, host: &Host) -> Option<Error> {
        let newest = self.newest.borrow();
        let known = newest.get(&timeline.system)?;
        (timeline.number < known.number)
            .then(|| Error::new(ErrorKind::Closed, left_behind(host, timeline.number, known)))
    }

    /// Whether a primary on `timeline` was left behind.
    pub fn is_behind(&self, timeline: Timeline) -> bool {
        let newest = self.newest.borrow();
        let known = newest.get(&timeline.system);
        known.is_some_and(|known| timeline.number < known.number)
    }

    /// Looks at the other hosts, one after the other, until the primary at `host` on `timeline` is known to be left behind.
    pub async fn watch(&self, config: &ConnectConfig, timeline: Timeline, host: &Host) -> Error {
        let mut changes = self.newest.subscribe();
        loop {
            if let Some(error) = self.verdict(timeline, host) {
                return error;
            }
            let pause = self.interval.mul_f64(rand::rng().random_range(0.9..1.1));
            tokio::select! {
                // The sender lives as long as `self`.
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => {
                    // The session lives, so its primary is still there.
                    drop(self.admit(timeline, host));
                    if self.is_my_turn() {
                        self.look(config, host).await;
                    }
                }
            }
        }
    }

    /// Whether nobody else has looked for most of an interval.
    fn is_my_turn(&self) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock();
        let is_mine = looked.is_none_or(|last| now - last > self.interval.mul_f64(0.8));
        if is_mine {
            *looked = Some(now);
        }
        is_mine
    }

    /// Looks at one host but `own`. One that cannot be reached, or does not tell, is no news.
    async fn look(&self, config: &ConnectConfig, own: &Host) {
        let others: Vec<_> = config.hosts.iter().filter(|host| *host != own).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(host) = others.get(turn % others.len().max(1)) else {
            return;
        };
        let seen = Box::pin(in_time(config, host, async {
            let candidate = Candidate {
                host,
                role: TargetSessionAttrs::Any,
                asked: Asked::default(),
            };
            let mut dialed = dial_host(config, candidate, None).await?;
            let asked = clock::now();
            Ok((asked, identify(&mut dialed, host).await?))
        }));
        if let Ok((asked, part)) = seen.await {
            self.note(part, host, asked);
        }
    }
}

/// Asks a server for its part.
pub(super) async fn identify(
    Dialed {
        client, connection, ..
    }: &mut Dialed,
    host: &Host,
) -> Result<Part> {
    let answer = match answered(connection, host, client.first_row(IDENTIFY)).await {
        // Not everybody may ask, and not every server that speaks PostgreSQL's protocol has timelines.
        Err(error) if error.is_servers_refusal() => return Ok(Part::Unknown),
        answer => answer?,
    };
    Ok(answer.map_or(Part::Unknown, |row| {
        let system = row.get(0).and_then(|system| system.parse().ok());
        let Some(file) = row.get(1) else {
            return Part::Standby;
        };
        let number = file.get(..8).map(|digits| u32::from_str_radix(digits, 16));
        match (system, number) {
            (Some(system), Some(Ok(number))) => Part::Primary(Timeline { system, number }),
            _ => Part::Unknown,
        }
    }))
}

fn left_behind(host: &Host, number: u32, newer: &Newest) -> String {
    format!(
        "{host} is a primary that its cluster has left behind: it is on timeline {number}, and {} was promoted to timeline {}",
        newer.host, newer.number
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(port: u16) -> Host {
        Host::Tcp {
            name: "db".to_owned(),
            address: None,
            port,
        }
    }

    const fn timeline(system: u64, number: u32) -> Timeline {
        Timeline { system, number }
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_timeline_of_the_same_cluster_is_refused_until_the_newer_one_is_forgotten() {
        let cluster = Cluster::new(Duration::from_secs(30), &[]);
        cluster.admit(timeline(7, 1), &host(1)).unwrap();
        assert!(cluster.verdict(timeline(7, 1), &host(1)).is_none());
        cluster.admit(timeline(7, 2), &host(2)).unwrap();
        let text = "db:1 is a primary that its cluster has left behind: it is on timeline 1, and db:2 was promoted to timeline 2";
        let refusal = cluster.admit(timeline(7, 1), &host(1)).unwrap_err();
        assert_eq!(refusal.message, text);
        let verdict = cluster.verdict(timeline(7, 1), &host(1));
        assert_eq!(verdict.map(|error| error.message).as_deref(), Some(text));
        // Another cluster is another matter.
        cluster.admit(timeline(8, 1), &host(3)).unwrap();
        assert!(cluster.verdict(timeline(8, 1), &host(3)).is_none());
        tokio::time::advance(Duration::from_secs(299)).await;
        cluster.admit(timeline(7, 1), &host(1)).unwrap_err();
        cluster.admit(timeline(7, 2), &host(2)).unwrap();
        tokio::time::advance(Duration::from_secs(299)).await;
        cluster.admit(timeline(7, 1), &host(1)).unwrap_err();
        tokio::time::advance(Duration::from_secs(2)).await;
        cluster.admit(timeline(7, 1), &host(1)).unwrap();
    }

    #[tokio::test]
    async fn a_newer_primary_may_have_notified_since_it_was_last_known_not_to_be_one() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        clock::tests::set(Some(at(100)));
        let cluster = Cluster::new(Duration::from_secs(30), &[host(1), host(2), host(3)]);
        cluster.admit(timeline(7, 1), &host(1)).unwrap();
        assert_eq!(cluster.promoted_since(timeline(7, 1)), None);
        cluster.note(Part::Standby, &host(3), at(110));
        cluster.note(Part::Unknown, &host(2), at(120));
        // Nothing is known of its past.
        cluster.note(Part::Primary(timeline(7, 2)), &host(2), at(130));
        assert_eq!(cluster.promoted_since(timeline(7, 1)), Some(at(100)));
        cluster.note(Part::Primary(timeline(7, 1)), &host(1), at(135));
        cluster.note(Part::Standby, &host(3), at(140));
        cluster.note(Part::Primary(timeline(7, 3)), &host(3), at(150));
        assert_eq!(cluster.promoted_since(timeline(7, 2)), Some(at(140)));
        // Somebody else was the primary in between.
        assert_eq!(cluster.promoted_since(timeline(7, 1)), Some(at(100)));
        assert_eq!(cluster.promoted_since(timeline(7, 3)), None);
        assert_eq!(cluster.promoted_since(timeline(8, 1)), None);
        clock::tests::set(None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_sessions_looks_at_a_time() {
        let cluster = Cluster::new(Duration::from_secs(30), &[]);
        assert!(cluster.is_my_turn());
        assert!(!cluster.is_my_turn());
        tokio::time::advance(Duration::from_secs(27)).await;
        assert!(cluster.is_my_turn());
    }
}
