//! Which server of a cluster is its primary now.
//!
//! A primary that was cut off from its cluster may go on answering although another node was promoted: nothing on a session
//! with it tells. Each promotion begins a new timeline
//! (<https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>), so two servers of one cluster that both
//! call themselves primary are told apart by it. Where several hosts are configured and a primary is asked for, a session looks
//! at one of the other hosts now and then, and what was learnt holds for every connection with the same settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::choices::TargetSessionAttrs;
use super::config::{ConnectConfig, Host};
use super::dial::{Candidate, dial_host, drive, in_time};
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::Client;

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

#[derive(Debug)]
struct Newest {
    number: u32,
    /// Who was seen there.
    host: String,
    seen: Instant,
}

/// What is known of the clusters behind some hosts.
#[derive(Debug)]
pub struct Cluster {
    interval: Duration,
    /// The newest timeline of each cluster, by its identifier.
    newest: watch::Sender<HashMap<u64, Newest>>,
    /// When somebody last began to look at another host.
    looked: Mutex<Option<Instant>>,
    /// The host to be looked at next.
    turn: AtomicUsize,
}

impl Cluster {
    /// Hosts that are looked at every `interval`.
    pub(super) fn new(interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            interval,
            newest: watch::Sender::default(),
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
            };
            let mut dialed = dial_host(config, candidate, None).await?;
            let asked = identify(&dialed.client);
            tokio::select! {
                timeline = asked => timeline,
                () = drive(&mut dialed.connection) => Ok(None),
            }
        }));
        if let Ok(Some(timeline)) = seen.await {
            // An older primary than the known one is no news either.
            drop(self.admit(timeline, host));
        }
    }
}

/// The timeline of the primary at the other end. `None`: it is a standby, or what it says is none.
pub(super) async fn identify(client: &Client) -> Result<Option<Timeline>> {
    let answer = client.simple_query(IDENTIFY).await?;
    let told = answer.first().and_then(|row| {
        Some(Timeline {
            system: row.get(0)?.parse().ok()?,
            number: u32::from_str_radix(row.get(1)?.get(..8)?, 16).ok()?,
        })
    });
    Ok(told)
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
        let cluster = Cluster::new(Duration::from_secs(30));
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

    #[tokio::test(start_paused = true)]
    async fn one_of_several_sessions_looks_at_a_time() {
        let cluster = Cluster::new(Duration::from_secs(30));
        assert!(cluster.is_my_turn());
        assert!(!cluster.is_my_turn());
        tokio::time::advance(Duration::from_secs(27)).await;
        assert!(cluster.is_my_turn());
    }
}
