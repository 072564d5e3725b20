//! Finds a new session in the place of a lost one, and tells consumers of the gap between the two. Finds a first session too,
//! for who keeps on trying.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::attempts::{Attempts, PATIENCE};
use super::{Command, Supervisor};
use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::cluster::Timeline;
use crate::deliver::gap::{Gap, GapReason};
use crate::deliver::seat::Event;
use crate::listen::desired::ChannelNames;
use crate::listen::driver::SessionEnd;
use crate::listen::options::ReconnectOptions;
use crate::listen::sessions::{ListeningSession, Sessions};

/// The facts of a lost session that the gap after it tells.
struct LostSession {
    end: SessionEnd,
    process_id: i32,
    server_started: Option<String>,
    confirmed: SystemTime,
    timeline: Option<Timeline>,
    /// When the listener's first session began.
    started: SystemTime,
    /// The channels that the server has listened to. A channel that no session has listened to yet may be refused, and must
    /// not keep us out: such channels come after the gap.
    proven: ChannelNames,
}

impl LostSession {
    fn new(session: &impl ListeningSession, end: SessionEnd, started: SystemTime) -> Self {
        Self {
            end,
            process_id: session.process_id(),
            server_started: session.server_started().map(ToOwned::to_owned),
            confirmed: session.confirmed(),
            timeline: session.timeline(),
            started,
            proven: session.applied().clone(),
        }
    }

    /// The gap between the lost session and the one that takes its place after `attempts` attempts.
    fn gap_before(&self, session: &impl ListeningSession, attempts: u32) -> Gap {
        let resumed_at = clock::now();
        let promoted_since = self
            .timeline
            .and_then(|before| session.promoted_since(before))
            .map(|since| since.max(self.started));
        Gap {
            reason: if self.end.undecodable {
                GapReason::Decode
            } else {
                GapReason::Disconnect
            },
            // The clock may have been set back since.
            lost_at: promoted_since
                .unwrap_or(self.confirmed)
                .min(self.confirmed)
                .min(resumed_at),
            resumed_at,
            dropped: None,
            sql_state: self.end.error.sql_state().map(ToOwned::to_owned),
            message: self.end.error.message.clone(),
            attempts,
            server_restarted: self
                .server_started
                .as_deref()
                .zip(session.server_started())
                .map(|(old, new)| old != new),
            old_process_id: Some(self.process_id),
            new_process_id: Some(session.process_id()),
            merged: 1,
        }
    }
}

impl<S: Sessions> Supervisor<S> {
    /// Tries until there is a new session. `Err(None)`: shut down meanwhile. `Err(Some)`: gave up.
    pub(super) async fn reconnect(
        &mut self,
        session: S::Session,
        end: SessionEnd,
    ) -> std::result::Result<S::Session, Option<Error>> {
        let Some(options) = self.parts.policy.reconnect else {
            return Err(Some(end.error));
        };
        let delay = if session.since().elapsed() >= options.stable_after {
            self.backoff.reset();
            self.parts.losses.note()
        } else {
            let pace = self.backoff.pace(&end.error);
            self.backoff.next(pace)
        };
        let lost = LostSession::new(&session, end, self.started);
        drop(session);
        let error = lost.end.error.clone();
        self.announce_attempt(1, delay, &error);
        let never_heals = |_: &Error| false;
        let found = self.search(options, Some(&lost.proven), delay, error, never_heals);
        let (session, begun) = found.await?;
        self.resume(&session, &lost.gap_before(&session, begun));
        Ok(session)
    }

    /// Makes the first session. `None`: nobody waits for one any more.
    pub(super) async fn first(&mut self) -> Option<S::Session> {
        // The first listener has a seat already, and joins next.
        self.accept_joining(pending::<()>()).await?;
        while let Ok(command) = self.parts.commands.try_recv() {
            self.accept(command);
        }
        let mut failed = None;
        if self.waiting.retry().is_none() {
            match self.first_session().await? {
                Ok(session) => return Some(session),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = &failed {
            self.waiting.fail_joins(error, false);
        }
        // From here on only those wait who keep trying. After a failure somebody may have joined who does.
        let options = self.waiting.retry()?;
        self.backoff = self.parts.policy.backoff(Some(options));
        let delay = failed.map_or(Duration::ZERO, |error| {
            let pace = self.backoff.pace(&error);
            self.feed().announce(&Event::AttemptFailed {
                needs_attention: pace.needs_attention(),
                error: error.clone(),
                attempt: 1,
            });
            let delay = self.backoff.next(pace);
            self.announce_attempt(1, delay, &error);
            delay
        });
        let error = Error::new(
            ErrorKind::Connect,
            "the attempt to connect was not answered yet",
        );
        let never_heals = |error: &Error| error.kind == ErrorKind::Configuration;
        match self.search(options, None, delay, error, never_heals).await {
            Ok((session, _)) => {
                let policy = &self.parts.policy;
                self.backoff = policy.backoff(policy.reconnect);
                Some(session)
            }
            Err(error) => {
                if let Some(error) = error {
                    self.waiting.fail_joins(&error, true);
                }
                None
            }
        }
    }

    /// Makes the first session. An attempt that gets no answer is joined by others, as after a loss, for as long as the first of
    /// them may take; any other failure is the outcome. `None`: shut down meanwhile.
    async fn first_session(&mut self) -> Option<Result<S::Session>> {
        let mut attempts = Attempts::new();
        let mut number = 0;
        let mut bare = Bare::default();
        loop {
            number += 1;
            let channels = self.desired.in_order(|_| !bare.is_begun());
            attempts.begin(number, self.attempt(channels));
            let mut next = Instant::now() + PATIENCE;
            loop {
                let ended = tokio::time::timeout_at(next, attempts.next_end());
                let Ok(ended) = self.accept_while(ended).await? else {
                    if self.parts.sessions.is_asking() {
                        next = Instant::now() + PATIENCE;
                        continue;
                    }
                    break;
                };
                match ended {
                    (2.., Err(error)) if error.is_unanswered => {}
                    (refused, Err(error))
                        if self.waiting.joining() > 1 && may_be_of_a_channel(&error) =>
                    {
                        match bare.next(refused, number) {
                            Next::Begin => break,
                            Next::Wait => {}
                            Next::Fail => return Some(Err(error)),
                        }
                    }
                    (_, outcome) => return Some(outcome),
                }
            }
        }
    }

    /// Tries until there is a session that listens to those of `channels` that are still wanted, or to all that are wanted; gives
    /// it with the number of attempts. Begins after `delay`, or when somebody joins. `error` is the outcome if no attempt may be
    /// made.
    async fn search(
        &mut self,
        options: ReconnectOptions,
        channels: Option<&ChannelNames>,
        delay: Duration,
        mut error: Error,
        never_heals: impl Fn(&Error) -> bool,
    ) -> std::result::Result<(S::Session, u32), Option<Error>> {
        let (mut begun, mut next) = (0, Instant::now() + delay);
        // The first one was announced by the caller, who knows what has failed.
        let mut announced = 1;
        let mut last = Instant::now();
        let mut attempts = Attempts::new();
        let mut bare = Bare::default();
        loop {
            let may_begin = options.max_attempts.is_none_or(|max| begun < max);
            if !may_begin && attempts.is_empty() {
                return Err(Some(error));
            }
            let ended_or_due = async {
                tokio::select! {
                    biased;
                    ended = attempts.next_end() => Some(ended),
                    () = tokio::time::sleep_until(next), if may_begin => None,
                }
            };
            match self.accept_joining(ended_or_due).await.ok_or(None)? {
                // Who joins has not been refused, and waits for no more than one attempt.
                None => next = next.min(last + PATIENCE),
                // No network has lost it, and another attempt would have to ask too.
                Some(None) if self.parts.sessions.is_asking() => {
                    next = Instant::now() + PATIENCE;
                }
                Some(None) => {
                    begun += 1;
                    last = Instant::now();
                    next = last + PATIENCE;
                    if begun > announced {
                        announced = begun;
                        self.announce_attempt(begun, Duration::ZERO, &error);
                    }
                    let wanted = |name: &str| {
                        !bare.is_begun() && channels.is_none_or(|it| it.contains(name))
                    };
                    attempts.begin(begun, self.attempt(self.desired.in_order(wanted)));
                }
                Some(Some((_, Ok(session)))) => {
                    self.backoff.accepted();
                    return Ok((session, begun));
                }
                Some(Some((_, Err(failed)))) if never_heals(&failed) => return Err(Some(failed)),
                Some(Some((number, Err(failed)))) => {
                    if channels.is_none()
                        && self.waiting.joining() > 1
                        && may_be_of_a_channel(&failed)
                    {
                        match bare.next(number, begun) {
                            Next::Begin => {
                                next = Instant::now();
                                error = failed;
                                continue;
                            }
                            Next::Wait => continue,
                            Next::Fail => {}
                        }
                    }
                    let pace = self.backoff.pace(&failed);
                    self.waiting.fail_joins(&failed, false);
                    self.feed().announce(&Event::AttemptFailed {
                        needs_attention: pace.needs_attention(),
                        error: failed.clone(),
                        attempt: number,
                    });
                    // Only who was refused has to come less often. Who got no answer has waited for it.
                    if !failed.is_unanswered {
                        let delay = self.backoff.next(pace);
                        next = Instant::now() + delay;
                        if options.max_attempts.is_none_or(|max| begun < max) {
                            announced = begun + 1;
                            self.announce_attempt(announced, delay, &failed);
                        }
                    }
                    error = failed;
                }
            }
        }
    }

    /// Tells when the next attempt begins, and why.
    fn announce_attempt(&self, attempt: u32, delay: Duration, error: &Error) {
        self.feed().announce(&Event::Reconnecting {
            attempt,
            delay,
            error: error.clone(),
        });
    }

    /// An attempt to make a session that listens to `channels`.
    fn attempt(
        &self,
        channels: Vec<String>,
    ) -> impl Future<Output = Result<S::Session>> + Send + 'static + use<S> {
        let (sessions, feed) = (self.parts.sessions.clone(), Arc::clone(self.feed()));
        async move { sessions.establish(&feed, &channels).await }
    }

    /// Lets the stream go on with a new session, behind the gap.
    fn resume(&mut self, session: &S::Session, gap: &Gap) {
        self.feed().count_reconnect();
        self.enter(session);
        // The event comes before the gap: whoever handles the gap finds the listener connected.
        self.feed().announce(&Event::Reconnected {
            gap: Box::new(gap.clone()),
        });
        self.feed().resume(session.place(), Some(gap));
    }

    /// Accepts commands until `future` resolves. `None`: shut down meanwhile.
    async fn accept_while<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            if let Some(value) = self.accept_joining(&mut future).await? {
                return Some(value);
            }
        }
    }

    /// Accepts commands until `future` resolves, or somebody joins (`Some(None)`). `None`: shut down meanwhile.
    async fn accept_joining<T>(&mut self, future: impl Future<Output = T>) -> Option<Option<T>> {
        tokio::pin!(future);
        let cancel = self.parts.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return None,
                value = &mut future => return Some(Some(value)),
                command = self.parts.commands.recv() => match command {
                    // Nobody can ask for anything any more.
                    None => return None,
                    Some(Command::Unsubscribe { seat, channel, reply }) => {
                        // There is no session that would have to be told.
                        self.desired.remove(&channel, seat);
                        let _ = reply.send(Ok(()));
                    }
                    Some(command @ Command::Join { .. }) => {
                        self.accept(command);
                        return Some(None);
                    }
                    Some(command) => self.accept(command),
                },
            }
        }
    }
}

/// The attempts without any channel. A channel of one listener that the server refuses is no failure of another's: who is refused
/// is found when a session is up that was made without.
#[derive(Default)]
struct Bare {
    /// The number of the first of them.
    first: Option<u32>,
}

/// The answer to a refusal that may be one of a channel.
enum Next {
    /// An attempt without channels is to begin.
    Begin,
    /// Such an attempt is under way.
    Wait,
    /// It was refused itself.
    Fail,
}

impl Bare {
    fn is_begun(&self) -> bool {
        self.first.is_some()
    }

    /// An attempt was refused, when so many had begun.
    fn next(&mut self, refused: u32, begun: u32) -> Next {
        match self.first {
            None => {
                self.first = Some(begun + 1);
                Next::Begin
            }
            Some(first) if refused < first => Next::Wait,
            Some(_) => Next::Fail,
        }
    }
}

/// Whether a server that refused an attempt may have refused one of its LISTENs, rather than the user, the database, or all LISTENs.
fn may_be_of_a_channel(error: &Error) -> bool {
    /// Read-only: a standby refuses every LISTEN.
    const READ_ONLY: &str = "25006";
    /// Authentication, no such database, no resources, an operator's doing.
    const OF_THE_SESSION: [&str; 4] = ["28", "3D", "53", "57"];
    error.sql_state().is_some_and(|state| {
        state != READ_ONLY && !OF_THE_SESSION.iter().any(|class| state.starts_with(class))
    })
}
