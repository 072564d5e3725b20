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
    /// Wakes whoever waits for the listener to have another seat.
    pub(super) seated: Notify,
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

impl Place {
    /// Sends what is asked for. While the listener is on its way to another session, that waits; a fence goes to where the listener is.
    /// The answer is dropped if nobody is there to be asked.
    fn ask(&mut self, ask: &Ask, asked: &Asked) -> oneshot::Receiver<Result<()>> {
        let (reply, answer) = oneshot::channel();
        let ask = ask.clone();
        match (&self.chair, &mut self.moving) {
            (Some(chair), moving) if moving.is_none() || matches!(ask, Ask::Fence(_)) => {
                *asked.lock() = Arc::downgrade(&chair.supervised);
                let refused = chair.ask(ask.clone(), reply).err();
                // The seat has just been handed over.
                if let (Some(reply), Some(moving)) = (refused, moving) {
                    drop(moving.target.ask(ask, reply));
                }
            }
            (_, Some(moving)) => {
                let asked = Arc::clone(asked);
                moving.deferred.push(Box::new(move |chair| {
                    *asked.lock() = Arc::downgrade(&chair.supervised);
                    drop(chair.ask(ask, reply));
                }));
            }
            (_, None) => {}
        }
        answer
    }
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

    /// Asks the supervisor for something, or gives the reply back if the seat is not here.
    fn ask(&self, ask: Ask, reply: Reply) -> std::result::Result<(), Reply> {
        let Self { supervised, id } = self;
        let command = match ask {
            Ask::Subscribe { channel, number } => {
                supervised.feed.add_channel(*id, &channel);
                Command::Subscribe {
                    seat: *id,
                    channel,
                    number,
                    reply,
                }
            }
            Ask::Unsubscribe { channel } => {
                supervised.feed.remove_channel(*id, &channel);
                Command::Unsubscribe {
                    seat: *id,
                    channel,
                    reply,
                }
            }
            Ask::Fence(number) => Command::Fence {
                id: supervised.feed.add_fence(*id, number, reply)?,
            },
        };
        supervised.send(command);
        Ok(())
    }
}

/// Something that a listener asks of the supervisor of its session.
#[derive(Debug, Clone)]
enum Ask {
    Subscribe { channel: String, number: u32 },
    Unsubscribe { channel: String },
    Fence(u32),
}

impl Ask {
    /// Whether it is to be asked of the next session too, which was told of the listener's channels when it was joined.
    fn is_repeated(&self, seat: &Seat) -> bool {
        match self {
            Self::Subscribe { channel, .. } => seat.has_channel(channel),
            Self::Unsubscribe { .. } => false,
            Self::Fence(_) => true,
        }
    }
}

/// The session of which something was asked last.
type Asked = Arc<Mutex<Weak<Supervised>>>;

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
        self.0.ask(Ask::Subscribe { channel, number })
    }

    /// Unsubscribes from a channel; the future resolves once the UNLISTEN is committed, or another listener wants the channel.
    pub fn unsubscribe(&self, channel: String) -> impl Future<Output = Result<()>> + Send + use<> {
        self.0.seat.remove_channel(&channel);
        self.0.ask(Ask::Unsubscribe { channel })
    }

    /// Puts a fence behind everything that is committed by now, in every consumer's stream; the future
    /// resolves once it stands there.
    pub fn fence(&self, number: u32) -> impl Future<Output = Result<()>> + Send + use<> {
        self.0.ask(Ask::Fence(number))
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
            seated: Notify::new(),
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
        self.sit_at(Chair { supervised, id }, retry)
    }

    /// Takes this seat, and asks for the listener's channels.
    fn sit_at(
        &self,
        chair: Chair,
        retry: Option<&ReconnectOptions>,
    ) -> oneshot::Receiver<Result<()>> {
        // Whoever reads the session may not hear for another environment.
        chair.supervised.recall();
        let mut place = self.place.lock();
        // Under the lock: a channel that is added later is asked for at this seat.
        let channels = self.seat.channels();
        if self.has_left.load(Ordering::Acquire) {
            // Shut down since the session before this one ended.
            let Chair { supervised, id } = chair;
            drop(supervised.leave(id, channels, ABANDONED_CLOSE_TIMEOUT));
            return oneshot::channel().1;
        }
        let joined = chair.join(channels, retry.copied().map(Box::new));
        place.chair = Some(chair);
        drop(place);
        self.seated.notify_waiters();
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
                let chair = self.place.lock().chair.clone();
                if let Err(error) = Box::pin(self.ended(chair.as_ref())).await {
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
    async fn ended(&self, chair: Option<&Chair>) -> Result<()> {
        let Some(chair) = chair else {
            return Err(self.closed(None));
        };
        let finished = async {
            tokio::select! {
                biased;
                // First: a listener that was expelled may have been the last, and then its supervisor ends too, without an error.
                () = self.seat.given_up() => false,
                // A supervisor that panicked has dropped its replies before it could say why.
                () = chair.supervised.finished() => true,
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

    /// Asks for something that the supervisor has to do. A session that ends before it has answered is followed by another one, of
    /// which the same is asked, or is the end of the listener.
    fn ask(self: &Arc<Self>, ask: Ask) -> impl Future<Output = Result<()>> + Send + use<> {
        let asked = Asked::default();
        let mut answer = self.place.lock().ask(&ask, &asked);
        let running = Arc::clone(self);
        async move {
            loop {
                if let Ok(answer) = answer.await {
                    return answer;
                }
                // Boxed, since it is rare, and thousands may be waiting here.
                Box::pin(running.next_seat(&asked)).await?;
                let mut place = running.place.lock();
                if !ask.is_repeated(&running.seat) {
                    return Ok(());
                }
                answer = place.ask(&ask, &asked);
            }
        }
    }

    /// Waits until the listener has another seat than at this session, which has dropped a reply. An error is the listener's end.
    async fn next_seat(&self, asked: &Asked) -> Result<()> {
        loop {
            let seated = self.seated.notified();
            tokio::pin!(seated);
            // Registered before the look, so that another seat meanwhile is not missed.
            seated.as_mut().enable();
            let chair = self.place.lock().chair.clone();
            let is_same =
                |chair: &Chair| Weak::ptr_eq(&asked.lock(), &Arc::downgrade(&chair.supervised));
            if chair.as_ref().is_some_and(|chair| !is_same(chair)) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = seated.as_mut() => continue,
                ended = self.ended(chair.as_ref()) => ended?,
            }
            if self.unless_left(seated).await.is_none() {
                return Err(self.closed(None));
            }
        }
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
