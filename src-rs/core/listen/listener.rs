//! A running listener as the binding has it: a seat at a supervisor's feed, and commands to that supervisor.

use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::{OptionFuture, join};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::base::Awaited;
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::audience::{Audience, Candidate};
use crate::deliver::feed::{Reply, SeatId, Served};
use crate::deliver::seat::Seat;
use crate::listen::lending::ListeningLoan;
use crate::listen::moving::Moving;
use crate::listen::options::{ListenerOptions, ReconnectOptions, SessionChoice};
use crate::listen::registry;
use crate::listen::session::ClientSlot;
use crate::listen::supervised::Supervised;
use crate::listen::supervisor::Command;

/// How long closing may take when nobody waits for it.
const ABANDONED_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running listener. Dropping it leaves the session, and ends it with the last listener.
#[derive(Debug)]
pub struct ListenerHandle(Arc<Running>);

/// What a listener's tasks share with its handle.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) seat: Arc<Seat>,
    pub(super) options: Arc<ListenerOptions>,
    /// Where sessions are looked after.
    pub(super) runtime: Handle,
    pub(super) place: Mutex<Place>,
    /// Set when the listener is shut down.
    has_left: AtomicBool,
    /// Wakes whoever waits for the listener to be shut down.
    left: Notify,
    /// Why the supervisor gave up, for a listener that it had not taken in.
    gave_up: OnceLock<Box<Error>>,
}

/// Where a listener is at present.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The seat; `None` once it is left.
    pub(super) chair: Option<Chair>,
    pub(super) moving: Option<Box<Moving>>,
}

/// A seat at the feed of a supervisor.
#[derive(Debug, Clone)]
pub(super) struct Chair {
    pub(super) supervised: Arc<Supervised>,
    pub(super) id: SeatId,
}

impl Chair {
    pub(super) fn join(
        &self,
        channels: Vec<String>,
        retry: Option<Box<ReconnectOptions>>,
    ) -> oneshot::Receiver<Result<()>> {
        let (reply, joined) = oneshot::channel();
        self.supervised.feed.add_channels(self.id, &channels);
        self.supervised.send(Command::Join {
            seat: self.id,
            channels,
            retry,
            reply,
        });
        joined
    }

    fn subscribe(&self, channel: String, number: u32, reply: Reply) {
        self.supervised.feed.add_channel(self.id, &channel);
        self.supervised.send(Command::Subscribe {
            seat: self.id,
            channel,
            number,
            reply,
        });
    }

    fn unsubscribe(&self, channel: String, reply: Reply) {
        self.supervised.feed.remove_channel(self.id, &channel);
        self.supervised.send(Command::Unsubscribe {
            seat: self.id,
            channel,
            reply,
        });
    }

    /// Sends a fence, or gives the reply back if the seat is not here.
    fn fence(&self, number: u32, reply: Reply) -> std::result::Result<(), Reply> {
        let id = self.supervised.feed.add_fence(self.id, number, reply)?;
        self.supervised.send(Command::Fence { id });
        Ok(())
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        drop(self.shutdown(ABANDONED_CLOSE_TIMEOUT));
    }
}

impl ListenerHandle {
    /// Starts a listener on the current runtime, with the channels that its seat has. The future resolves once their LISTENs are
    /// committed, or fails and nothing is left running. With `retry` a failed attempt is followed by others, unless the
    /// configuration is wrong.
    pub fn start(
        options: Arc<ListenerOptions>,
        seat: Arc<Seat>,
        retry: Option<ReconnectOptions>,
    ) -> (Self, impl Future<Output = Result<()>> + Send + use<>) {
        let running = Running::new(options, seat);
        let retry = retry.map(Box::new);
        let joined = running.sit(retry.as_deref());
        let future = Arc::clone(&running).join(joined, retry);
        (Self(running), future)
    }

    /// Subscribes to a channel; the future resolves once the LISTEN is committed.
    pub fn subscribe(
        &self,
        channel: String,
        number: u32,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        self.0.seat.add_channel(&channel, number);
        self.0
            .ask(move |chair, reply| chair.subscribe(channel, number, reply))
    }

    /// Unsubscribes from a channel; the future resolves once the UNLISTEN is committed, or another listener wants the channel.
    pub fn unsubscribe(&self, channel: String) -> impl Future<Output = Result<()>> + Send + use<> {
        self.0.seat.remove_channel(&channel);
        self.0
            .ask(move |chair, reply| chair.unsubscribe(channel, reply))
    }

    /// Puts a fence behind everything that is committed by now, in every consumer's stream; the future
    /// resolves once it stands there.
    pub fn fence(&self, number: u32) -> impl Future<Output = Result<()>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let place = self.0.place.lock();
        let refused = match &place.chair {
            Some(chair) => chair.fence(number, reply).err(),
            None => None,
        };
        // The seat has just been handed over.
        if let (Some(reply), Some(moving)) = (refused, &place.moving) {
            drop(moving.target.fence(number, reply));
        }
        drop(place);
        let running = Arc::clone(&self.0);
        async move { running.answer(answer.await).await }
    }

    /// Takes a session of the listener's own, if it shares one and may leave it. The future resolves once the listener hears that session and no
    /// other; nothing is missing or doubled between the two.
    pub fn take_own_session(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let moved = match self.0.options.session {
            SessionChoice::Auto => Moving::begin(&self.0),
            SessionChoice::Own | SessionChoice::Shared => None,
        };
        async move {
            match moved {
                Some(moved) => moved.await,
                None => Ok(()),
            }
        }
    }

    /// Where the current session's client is. `None`: the listener shares the session, or has left it.
    #[must_use]
    pub fn client(&self) -> Option<ClientSlot> {
        let place = self.0.place.lock();
        let chair = place.chair.as_ref()?;
        let is_own = chair.supervised.feed.is_private();
        is_own.then(|| chair.supervised.client())
    }

    /// Lends the session's connection to this thread, which is the listener's, if that can be.
    #[must_use]
    pub fn lend(&self) -> Option<(Awaited, ListeningLoan)> {
        let chair = self.0.place.lock().chair.clone()?;
        chair.supervised.lend(self.0.seat.environment())
    }

    /// Has a consumer of the listener get its notifications together with others that get the same, if there are such and it waits
    /// with an empty buffer. `signal` makes what tells the environment of a new audience that there is something to drain.
    #[must_use]
    pub fn join_audience(
        &self,
        candidate: &Candidate<'_>,
        signal: impl FnOnce(Weak<Audience>) -> Box<dyn Fn() + Send + Sync>,
    ) -> bool {
        let chair = {
            let place = self.0.place.lock();
            if place.moving.is_some() {
                return false;
            }
            place.chair.clone()
        };
        chair.is_some_and(|Chair { supervised, id }| {
            supervised.feed.join_audience(id, candidate, signal)
        })
    }

    /// What the session serves. `None`: the listener has left it.
    #[must_use]
    pub fn served(&self) -> Option<Served> {
        let place = self.0.place.lock();
        place
            .chair
            .as_ref()
            .map(|chair| chair.supervised.feed.served())
    }

    /// Leaves the session. The last listener interrupts whatever is being done and closes it: then the future resolves once the
    /// server has closed it too, or after `timeout`.
    pub fn shutdown(&self, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.0.leave(timeout)
    }
}

impl Running {
    fn new(options: Arc<ListenerOptions>, seat: Arc<Seat>) -> Arc<Self> {
        Arc::new(Self {
            seat,
            options,
            runtime: Handle::current(),
            place: Mutex::default(),
            has_left: AtomicBool::new(false),
            left: Notify::new(),
            gave_up: OnceLock::new(),
        })
    }

    /// Takes a seat, and asks for its channels.
    fn sit(&self, retry: Option<&ReconnectOptions>) -> oneshot::Receiver<Result<()>> {
        let _context = self.runtime.enter();
        let take_seat = match self.options.session {
            SessionChoice::Own => registry::alone,
            SessionChoice::Auto | SessionChoice::Shared => registry::share,
        };
        let (supervised, id) = take_seat(&self.options, &self.seat, retry.is_some());
        // Whoever reads the session may not hear for another environment.
        supervised.recall();
        let chair = Chair { supervised, id };
        let channels = self.seat.channels();
        let joined = chair.join(channels.clone(), retry.copied().map(Box::new));
        let mut place = self.place.lock();
        if self.has_left.load(Ordering::Acquire) {
            // Shut down since the session before this one ended.
            let Chair { supervised, id } = chair;
            drop(supervised.leave(id, channels, ABANDONED_CLOSE_TIMEOUT));
        } else {
            place.chair = Some(chair);
        }
        joined
    }

    /// Waits until the listener hears its channels.
    async fn join(
        self: Arc<Self>,
        mut joined: oneshot::Receiver<Result<()>>,
        retry: Option<Box<ReconnectOptions>>,
    ) -> Result<()> {
        loop {
            let Ok(answer) = joined.await else {
                // The session ended before it took the listener in, for a reason that is none of the listener's.
                // Boxed, since it is rare, and thousands may be waiting here.
                if let Err(error) = Box::pin(self.ended()).await {
                    drop(self.leave(ABANDONED_CLOSE_TIMEOUT));
                    return Err(error);
                }
                joined = self.sit(retry.as_deref());
                continue;
            };
            if answer.is_err() {
                drop(self.leave(ABANDONED_CLOSE_TIMEOUT));
            }
            return answer;
        }
    }

    /// Waits until the supervisor of a session has ended that did not answer. An error is the listener's own.
    async fn ended(&self) -> Result<()> {
        let chair = self.place.lock().chair.clone();
        let Some(chair) = chair else {
            return Err(self.closed(None));
        };
        let finished = async {
            tokio::select! {
                // A supervisor that panicked has dropped its replies before it could say why.
                () = chair.supervised.finished() => true,
                // The session goes on for others.
                () = self.seat.given_up() => false,
            }
        };
        if self.unless_left(finished).await != Some(true) {
            return Err(self.closed(None));
        }
        match chair.supervised.feed.gave_up() {
            Some(error) => {
                let error = self.gave_up.get_or_init(|| Box::new(error));
                Err(self.closed(Some(Error::clone(error))))
            }
            None => Ok(()),
        }
    }

    /// The outcome of a future; `None` as soon as the listener is shut down.
    async fn unless_left<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let left = self.left.notified();
        tokio::pin!(left);
        // Registered before the look, so that a shutdown meanwhile is not missed.
        left.as_mut().enable();
        if self.has_left.load(Ordering::Acquire) {
            return None;
        }
        tokio::select! {
            biased;
            () = left => None,
            outcome = future => Some(outcome),
        }
    }

    /// Asks for something that the supervisor has to do. While the listener is on its way to another session, that waits.
    fn ask<A: FnOnce(&Chair, Reply) + Send + 'static>(
        self: &Arc<Self>,
        ask: A,
    ) -> impl Future<Output = Result<()>> + Send + use<A> {
        let (reply, answer) = oneshot::channel();
        let asked = Arc::<OnceLock<Weak<Supervised>>>::default();
        let of = Arc::clone(&asked);
        let ask = move |chair: &Chair| {
            let _ = of.set(Arc::downgrade(&chair.supervised));
            ask(chair, reply);
        };
        let mut place = self.place.lock();
        let Place { chair, moving } = &mut *place;
        match (chair, moving) {
            (_, Some(moving)) => moving.deferred.push(Box::new(ask)),
            (Some(chair), None) => ask(chair),
            // Whoever waits learns from the dropped reply.
            (None, None) => {}
        }
        drop(place);
        let running = Arc::clone(self);
        async move {
            let answer = answer.await;
            if answer.is_err() && running.has_moved_from(asked.get()) {
                // The listener left the session before it answered, for one that followed what was asked from its start.
                return Ok(());
            }
            running.answer(answer).await
        }
    }

    /// Whether the listener has gone from this session to another one.
    fn has_moved_from(&self, session: Option<&Weak<Supervised>>) -> bool {
        let place = self.place.lock();
        let now = place.chair.as_ref().zip(session);
        now.is_some_and(|(chair, before)| !Weak::ptr_eq(before, &Arc::downgrade(&chair.supervised)))
    }

    /// The answer to a command. A dropped reply means that the listener is at its end, and the error says why.
    async fn answer(
        self: Arc<Self>,
        answer: std::result::Result<Result<()>, oneshot::error::RecvError>,
    ) -> Result<()> {
        if let Ok(answer) = answer {
            return answer;
        }
        let ended = self.ended().await;
        Err(ended.err().unwrap_or_else(|| self.closed(None)))
    }

    /// The error of whoever waited for a listener that is gone.
    pub(super) fn closed(&self, gave_up: Option<Error>) -> Error {
        let gave_up = gave_up.or_else(|| self.gave_up.get().map(|it| Error::clone(it)));
        match self.seat.gave_up().or(gave_up) {
            None => Error::new(ErrorKind::ListenerClosed, "the listener was shut down"),
            Some(error) if error.kind == ErrorKind::ListenerOverflow => error,
            Some(error) => Error::new(
                ErrorKind::ListenerClosed,
                format!("the listener gave up: {}", error.message),
            ),
        }
    }

    fn leave(&self, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.has_left.store(true, Ordering::Release);
        let Place { chair, moving } = take(&mut *self.place.lock());
        self.left.notify_waiters();
        let mut channels = self.seat.channels();
        if let Some(moving) = &moving {
            channels.extend(moving.channels.iter().cloned());
        }
        let target = moving.map(|moving| moving.target.clone());
        let leave =
            |Chair { supervised, id }: Chair| supervised.leave(id, channels.clone(), timeout);
        let (old, new) = (chair.map(leave), target.map(leave));
        async move {
            join(OptionFuture::from(old), OptionFuture::from(new)).await;
        }
    }
}

#[cfg(test)]
mod tests;
