//! A listener's way from a shared session to one of its own, without a gap and without a doubled notification.
//!
//! The new session LISTENs first. Then one fence is notified that both sessions hear: the listener hears the old one up to the fence
//! and the new one from it on (`deliver/feed/arrival.rs`). A session that is lost before that changes nothing, and another fence is
//! tried when both are up. A new session at another server ends the move, since no fence would come to both. What the listener asks
//! for meanwhile waits, since the old session alone must not follow.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::listener::{Chair, Place, Running};
use super::registry;
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::{Feed, next_fence};
use crate::listen::supervisor::Command;

/// How long the session that is left may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a listener does not move.
const ELSEWHERE: &str = "a connection of its own came to another server than the session that the listener hears, and so the listener \
     keeps that session: the address leads to several servers, or to another one by now";

/// Something that a listener asked for while it moved.
type Deferred = Box<dyn FnOnce(&Chair) + Send>;

/// A move that is under way. Dropping it ends it.
pub(super) struct Moving {
    /// Where the listener goes.
    pub(super) target: Chair,
    /// The channels of the listener when it began to move: of those that were removed since, the session that is left has not heard.
    pub(super) channels: Vec<String>,
    pub(super) deferred: Vec<Deferred>,
    outcome: watch::Receiver<Option<Result<()>>>,
    _task: AbortOnDropHandle<()>,
}

impl fmt::Debug for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moving").finish_non_exhaustive()
    }
}

impl Moving {
    /// Begins a move, or joins the one that is under way. `None`: there is nothing to move, or nowhere to move from.
    pub(super) fn begin(
        running: &Arc<Running>,
    ) -> Option<impl Future<Output = Result<()>> + Send + use<>> {
        let mut place = running.place.lock();
        if place.moving.is_none() {
            let old = place.chair.clone()?;
            let is_up = old.supervised.client().lock().is_some();
            if old.supervised.feed.is_private() || !is_up {
                return None;
            }
            place.moving = Self::start(running, old).map(Box::new);
        }
        let mut outcome = place.moving.as_ref()?.outcome.clone();
        drop(place);
        let running = Arc::clone(running);
        Some(async move {
            match outcome.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(outcome)) => outcome.clone(),
                // The listener was shut down.
                _ => Err(running.closed(None)),
            }
        })
    }

    fn start(running: &Arc<Running>, old: Chair) -> Option<Self> {
        let _context = running.runtime.enter();
        let feed = Arc::new(Feed::private_beside(&old.supervised.feed));
        let id = feed.expect(&running.seat)?;
        let supervised = registry::start_alone(&running.options, feed);
        let target = Chair { supervised, id };
        let channels = running.seat.channels();
        let joined = target.join(channels.clone(), None);
        let (tell, outcome) = watch::channel(None);
        let task = {
            let (running, target) = (Arc::clone(running), target.clone());
            async move {
                let crossed = cross(&running, &old, &target, joined).await;
                let mut place = running.place.lock();
                let Some(moving) = place.moving.take() else {
                    return;
                };
                arrive(&running, &mut place, *moving, crossed.is_ok());
                drop(place);
                let _ = tell.send(Some(crossed));
            }
        };
        Some(Self {
            target,
            channels,
            deferred: Vec::new(),
            outcome,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        })
    }
}

/// Leaves the session that the listener no longer hears, and asks the other one for what was asked for meanwhile.
fn arrive(running: &Running, place: &mut Place, moving: Moving, is_there: bool) {
    let Moving {
        target,
        mut channels,
        deferred,
        ..
    } = moving;
    let left = if is_there {
        // The session that is left may end before it has notified them. Twice does no harm: the second time none of them is open.
        for id in target.supervised.feed.open_fences() {
            target.supervised.send(Command::Fence { id });
        }
        let left = place.chair.replace(target);
        running.seated.notify_waiters();
        left
    } else {
        Some(target)
    };
    if let Some(Chair { supervised, id }) = left {
        channels.extend(running.seat.channels());
        drop(supervised.leave(id, channels, CLOSE_TIMEOUT));
    }
    if let Some(chair) = &place.chair {
        for ask in deferred {
            ask(chair);
        }
    }
}

/// Resolves once the listener hears the new session, and the old one no more.
async fn cross(
    running: &Running,
    old: &Chair,
    new: &Chair,
    joined: oneshot::Receiver<Result<()>>,
) -> Result<()> {
    let closed = |chair: &Chair| running.closed(chair.supervised.feed.gave_up());
    joined.await.unwrap_or_else(|_| Err(closed(new)))?;
    let (from, to) = (&old.supervised.feed, &new.supervised.feed);
    loop {
        for chair in [old, new] {
            if !chair.supervised.feed.is_up().await {
                from.stay(old.id);
                return Err(closed(chair));
            }
        }
        if from.is_elsewhere(to) {
            // No fence would ever come to both.
            return Err(Error::new(ErrorKind::Connect, ELSEWHERE));
        }
        let fence = next_fence();
        let Some(crossing) = to.await_arrival(new.id, fence) else {
            continue;
        };
        if !from.depart(old.id, fence, to) {
            to.give_arrival_up(fence);
            if running.seat.gave_up().is_some() {
                return Err(closed(old));
            }
            tokio::task::yield_now().await;
            continue;
        }
        new.supervised.send(Command::Fence { id: fence });
        match crossing.await {
            Ok(Ok(true)) => return Ok(()),
            // A session was lost before.
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                from.stay(old.id);
                return Err(error);
            }
        }
    }
}
