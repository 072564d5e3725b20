//! Which server of a cluster is its primary now.
//!
//! A primary that was cut off from its cluster may go on answering although another node was promoted: nothing on a session
//! with it tells. Each promotion begins a new timeline
//! (<https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>), so two servers of one cluster that both
//! call themselves primary are told apart by it. Where several hosts are configured and a primary is asked for, a session looks
//! at one of the other hosts now and then, and what was learnt holds for every connection of this process whose settings have that
//! host, whoever has looked.
//!
//! A copy of a cluster that was promoted for a purpose of its own has the cluster's identifier too. So what was seen at a host tells
//! nothing to settings without that host.
//!
//! Whoever moves to a newer primary may have missed what was notified there since it was promoted, which may be long before the
//! old one was given up. So it is kept when each host was last known not to be promoted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
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

/// So many intervals of whoever saw a newer primary last it is remembered. A cluster that was restored from an old backup may come
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

/// The newest timeline that was seen at a host.
#[derive(Debug)]
struct Newest {
    number: u32,
    /// When it is forgotten, unless it is seen again.
    until: Instant,
}

/// The primaries of one cluster, by their hosts.
type Primaries = HashMap<String, Newest>;

/// What was seen of all clusters.
#[derive(Debug, Default)]
struct Seen {
    /// The primaries of each cluster, by its identifier.
    primaries: watch::Sender<HashMap<u64, Primaries>>,
    /// A moment at which each host was not known to be the newest primary; at first that of the first configuration with it.
    unpromoted: Mutex<HashMap<String, SystemTime>>,
}

/// What this process has seen.
static SEEN: LazyLock<Arc<Seen>> = LazyLock::new(Arc::default);

/// What is known of the clusters behind some hosts.
#[derive(Debug)]
pub struct Cluster {
    interval: Duration,
    /// The hosts.
    places: Mutex<Vec<String>>,
    seen: Arc<Seen>,
    /// When somebody last began to look at another host.
    looked: Mutex<Option<Instant>>,
    /// The host to be looked at next.
    turn: AtomicUsize,
}

impl Cluster {
    /// Hosts of which one is looked at every `interval`.
    pub(super) fn new(interval: Duration, hosts: &[Host]) -> Arc<Self> {
        Self::of(&SEEN, interval, hosts)
    }

    fn of(seen: &Arc<Seen>, interval: Duration, hosts: &[Host]) -> Arc<Self> {
        let now = clock::now();
        let places: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut unpromoted = seen.unpromoted.lock();
        for place in &places {
            unpromoted.entry(place.clone()).or_insert(now);
        }
        drop(unpromoted);
        Arc::new(Self {
            interval,
            places: Mutex::new(places),
            seen: Arc::clone(seen),
            looked: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Counts what is seen at the hosts of another configuration too, which lead to the same servers.
    fn heed(&self, other: &Self) {
        let others = other.places.lock().clone();
        let mut places = self.places.lock();
        for place in others {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }

    /// Lets what is seen at the hosts of two configurations hold for both, which lead to the same servers by different ways.
    pub(super) fn join(&self, other: &Self) {
        self.heed(other);
        other.heed(self);
    }

    /// The newest of a cluster's primaries at our hosts.
    fn newest<'a>(&self, primaries: &'a Primaries) -> Option<(&'a str, &'a Newest)> {
        let places = self.places.lock();
        let seen = places
            .iter()
            .filter_map(|place| primaries.get_key_value(place));
        let (place, newest) = seen.max_by_key(|(_, newest)| newest.number)?;
        Some((place, newest))
    }

    /// Notes that the primary at `host` is on `timeline`. Refuses one that its cluster has left behind.
    pub(super) fn admit(&self, timeline: Timeline, host: &Host) -> Result<()> {
        let now = Instant::now();
        let until = now + self.interval * REMEMBERED;
        let mut behind = None;
        self.seen.primaries.send_if_modified(|all| {
            let primaries = all.entry(timeline.system).or_default();
            if let Some((place, known)) = self.newest(primaries) {
                if timeline.number < known.number && now < known.until {
                    behind = Some(left_behind(host, timeline.number, place, known));
                    return false;
                }
                if timeline.number == known.number {
                    let place = place.to_owned();
                    let known = primaries.entry(place);
                    known.and_modify(|known| known.until = until.max(known.until));
                    return false;
                }
            }
            // What is forgotten counts no more, wherever it was seen.
            let places = self.places.lock();
            primaries
                .retain(|place, known| known.number < timeline.number || !places.contains(place));
            let seen_at = Newest {
                number: timeline.number,
                until,
            };
            primaries.insert(host.to_string(), seen_at);
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
            let mut unpromoted = self.seen.unpromoted.lock();
            unpromoted.insert(host.to_string(), asked);
        }
    }

    /// Since when something may have been notified on the newest primary that a session with a primary on `before` has not
    /// heard. `None`: there is no newer one.
    pub fn promoted_since(&self, before: Timeline) -> Option<SystemTime> {
        let all = self.seen.primaries.borrow();
        let (place, known) = self.newest(all.get(&before.system)?)?;
        let unpromoted = self.seen.unpromoted.lock();
        match known.number.checked_sub(before.number)? {
            0 => None,
            1 => unpromoted.get(place).copied(),
            // Any host may have been the primary in between.
            _ => {
                let places = self.places.lock();
                let of_ours = places.iter().filter_map(|place| unpromoted.get(place));
                of_ours.min().copied()
            }
        }
    }

    /// Why a connection to a primary on `timeline` is no longer to be used, if that is so.
    fn verdict(&self, timeline: Timeline, host: &Host) -> Option<Error> {
        let all = self.seen.primaries.borrow();
        let (place, known) = self.newest(all.get(&timeline.system)?)?;
        (timeline.number < known.number).then(|| {
            let text = left_behind(host, timeline.number, place, known);
            Error::new(ErrorKind::Closed, text)
        })
    }

    /// Whether a primary on `timeline` was left behind.
    pub fn is_behind(&self, timeline: Timeline) -> bool {
        let all = self.seen.primaries.borrow();
        let primaries = all.get(&timeline.system);
        let newest = primaries.and_then(|primaries| self.newest(primaries));
        newest.is_some_and(|(_, known)| timeline.number < known.number)
    }

    /// Looks at the other hosts, one after the other, until the primary at `host` on `timeline` is known to be left behind.
    pub async fn watch(&self, config: &ConnectConfig, timeline: Timeline, host: &Host) -> Error {
        let mut changes = self.seen.primaries.subscribe();
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

fn left_behind(host: &Host, number: u32, place: &str, newer: &Newest) -> String {
    format!(
        "{host} is a primary that its cluster has left behind: it is on timeline {number}, and {place} was promoted to timeline {}",
        newer.number
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

    fn cluster(seen: &Arc<Seen>, ports: &[u16]) -> Arc<Cluster> {
        let hosts: Vec<Host> = ports.iter().copied().map(host).collect();
        Cluster::of(seen, Duration::from_secs(30), &hosts)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_at_a_host_holds_for_whoever_has_that_host() {
        let seen = Arc::default();
        let one = cluster(&seen, &[1, 2]);
        let (more, less, copy) = (
            cluster(&seen, &[3, 2, 1]),
            cluster(&seen, &[1, 5]),
            cluster(&seen, &[1, 4]),
        );
        one.admit(timeline(7, 1), &host(1)).unwrap();
        one.admit(timeline(7, 2), &host(2)).unwrap();
        assert!(one.is_behind(timeline(7, 1)));
        assert!(more.is_behind(timeline(7, 1)));
        more.admit(timeline(7, 1), &host(1)).unwrap_err();
        assert!(more.promoted_since(timeline(7, 1)).is_some());
        // A copy at another host says nothing of ours, nor ours of it.
        copy.admit(timeline(7, 9), &host(4)).unwrap();
        assert!(!one.is_behind(timeline(7, 2)));
        assert!(!less.is_behind(timeline(7, 1)));
        less.heed(&one);
        assert!(less.is_behind(timeline(7, 1)));
        // Somebody forgets the newer primary, and with it everybody does.
        tokio::time::advance(Duration::from_secs(301)).await;
        less.admit(timeline(7, 1), &host(1)).unwrap();
        assert!(!more.is_behind(timeline(7, 1)));
        copy.admit(timeline(7, 9), &host(4)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_timeline_of_the_same_cluster_is_refused_until_the_newer_one_is_forgotten() {
        let cluster = cluster(&Arc::default(), &[1, 2, 3]);
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
        let cluster = cluster(&Arc::default(), &[1, 2, 3]);
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
        let cluster = cluster(&Arc::default(), &[]);
        assert!(cluster.is_my_turn());
        assert!(!cluster.is_my_turn());
        tokio::time::advance(Duration::from_secs(27)).await;
        assert!(cluster.is_my_turn());
    }
}
