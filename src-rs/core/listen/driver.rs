//! The task that reads a session: polls its connection and hands notifications to the feed.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::base::Setting;
use crate::base::error::{Error, ErrorKind};
use crate::base::panic::contained_future;
use crate::connect::wire::Wire;
use crate::deliver::feed::Feed;
use crate::deliver::seat::Event;
use crate::inbound::{Inbound, NotificationSink, Stop};
use crate::protocol::{Asynchronous, ConnectionEnd, Driven};

/// Why a session ended.
#[derive(Debug, Clone)]
pub(super) struct SessionEnd {
    /// The reason.
    pub(super) error: Error,
    /// Whether the server sent what cannot be read.
    pub(super) undecodable: bool,
}

impl From<Error> for SessionEnd {
    fn from(error: Error) -> Self {
        Self {
            error,
            undecodable: false,
        }
    }
}

/// The driver of one session: reads it from its start-up to its end.
pub(super) struct Driver {
    pub(crate) connection: Arc<Driven<Inbound<Wire>>>,
    pub(crate) feed: Arc<Feed>,
    /// The session's number at the feed.
    pub(crate) number: u64,
    pub(crate) paused: Arc<AtomicBool>,
    /// Where the connection's notifications go.
    pub(crate) arrivals: Arc<NotificationSink>,
    pub(crate) max_pause: Duration,
}

impl Driver {
    /// Reads until the session ends, and says why it did. A panic ends it too.
    pub(crate) async fn run(mut self) -> SessionEnd {
        let ended = contained_future("the task that reads the session", self.read_to_end()).await;
        ended.unwrap_or_else(|panicked| {
            self.connection.fail(&panicked);
            panicked.into()
        })
    }

    async fn read_to_end(&mut self) -> SessionEnd {
        let (feed, number) = (Arc::clone(&self.feed), self.number);
        self.arrivals
            .hand_to(move |batch| feed.publish(number, batch));
        loop {
            let stopped = match self.read().await {
                Ok(Stop::Pause) => pause(&self.feed, &self.paused, self.max_pause).await,
                Ok(Stop::Broken(what)) => Err(undecodable(format!("the server sent {what}"))),
                Err(end) => Err(end),
            };
            if let Err(end) = stopped {
                return end;
            }
        }
    }

    /// Reads until it has to stop, or the session has ended.
    async fn read(&mut self) -> Result<Stop, SessionEnd> {
        poll_fn(|cx| {
            fail_point!("session");
            loop {
                match self.connection.poll_message(cx) {
                    Poll::Ready(Some(Ok(Asynchronous::Notice(notice)))) => {
                        self.feed.announce(&Event::Notice(notice));
                    }
                    Poll::Ready(Some(Ok(Asynchronous::Notification))) => {
                        let end = undecodable("the server sent a notification beyond any size");
                        return Poll::Ready(Err(end));
                    }
                    Poll::Ready(Some(Err(end))) => return Poll::Ready(Err(ended(end))),
                    Poll::Ready(None) => {
                        let closed = Error::new(ErrorKind::Closed, "the session was closed");
                        return Poll::Ready(Err(closed.into()));
                    }
                    Poll::Pending => {
                        return match self.arrivals.take_stop() {
                            Some(stop) => Poll::Ready(Ok(stop)),
                            None => Poll::Pending,
                        };
                    }
                }
            }
        })
        .await
    }
}

/// Why a session ends. What the server announced counts as said by it.
fn ended(end: ConnectionEnd) -> SessionEnd {
    let ConnectionEnd {
        mut error,
        is_undecodable: undecodable,
        notice,
    } = end;
    if error.server.is_none() {
        error.server = notice;
    }
    SessionEnd { error, undecodable }
}

/// Waits until every consumer has room again, at most `max_pause`. `paused` is set meanwhile.
async fn pause(feed: &Feed, paused: &AtomicBool, max_pause: Duration) -> Result<(), SessionEnd> {
    paused.store(true, Ordering::Relaxed);
    let room = tokio::time::timeout(max_pause, feed.wait_for_room()).await;
    paused.store(false, Ordering::Relaxed);
    room.map_err(|_| {
        Error::new(
            ErrorKind::Closed,
            format!(
                "a consumer kept the session from being read for {} s ({})",
                max_pause.as_secs_f64(),
                Setting::MaxPause
            ),
        )
        .into()
    })
}

/// The end of a session whose stream cannot be read on.
fn undecodable(message: impl Into<String>) -> SessionEnd {
    SessionEnd {
        error: Error::new(ErrorKind::Closed, message),
        undecodable: true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::Instant;

    use super::*;
    use crate::base::setting::rename;
    use crate::deliver::buffer::{Bounds, Overflow, Subscriber};
    use crate::deliver::feed::FeedPlace;
    use crate::deliver::gap::Gap;
    use crate::deliver::seat::Seat;
    use crate::inbound::ReceivedBatch;

    const MAX_PAUSE: Duration = Duration::from_secs(10);

    fn consumer(max_messages: usize, max_bytes: usize) -> Arc<Subscriber> {
        let bounds = Bounds {
            max_messages,
            max_bytes,
            overflow: Overflow::Pause,
        };
        Arc::new(Subscriber::new(bounds, Box::new(|| {}), Arc::default()))
    }

    /// A feed with consumers, each of which got `count` notifications.
    fn paused(consumers: &[&Arc<Subscriber>], count: usize) -> (Arc<Feed>, FeedPlace) {
        let seat = Arc::new(Seat::new(None, Box::new(|| {})));
        seat.add_channel("a", 1);
        for consumer in consumers {
            seat.add_subscriber(Arc::clone(consumer), None);
        }
        let feed = Feed::of(&seat);
        let place = FeedPlace::take(&feed);
        feed.resume(&place, None);
        let batch = ReceivedBatch::of(&vec![("a", "x"); count]);
        let stop = feed.publish(place.number(), &batch);
        assert!(matches!(stop, Some(Stop::Pause)));
        (feed, place)
    }

    /// A feed with a consumer that has room for four notifications and got five.
    fn full() -> (Arc<Feed>, FeedPlace, Arc<Subscriber>) {
        let consumer = consumer(4, 1 << 20);
        let (feed, place) = paused(&[&consumer], 5);
        (feed, place, consumer)
    }

    /// Whether a pause that begins now ends at once.
    async fn goes_on(feed: &Feed) -> bool {
        let paused = AtomicBool::new(false);
        let pause = pause(feed, &paused, MAX_PAUSE);
        let moment = Duration::from_millis(1);
        tokio::time::timeout(moment, pause).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_the_consumer_has_room_again() {
        let (feed, _place, consumer) = full();
        let paused = Arc::new(AtomicBool::new(false));
        let waiting = tokio::spawn({
            let (feed, paused) = (Arc::clone(&feed), Arc::clone(&paused));
            async move { pause(&feed, &paused, MAX_PAUSE).await }
        });
        tokio::time::sleep(MAX_PAUSE / 2).await;
        assert!(paused.load(Ordering::Relaxed) && !waiting.is_finished());
        consumer.drain(3, |_, _| ());
        feed.first_seat().made_room();
        assert!(waiting.await.expect("no panic").is_ok());
        assert!(!paused.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_lasts_too_long_ends_the_session() {
        let (feed, _place, _consumer) = full();
        let began = Instant::now();
        let end = pause(&feed, &AtomicBool::new(false), MAX_PAUSE).await;
        let message = end.expect_err("nobody made room").error.message;
        assert_eq!(
            rename(&message, Setting::name),
            "a consumer kept the session from being read for 10 s (max_pause)"
        );
        assert_eq!(began.elapsed(), MAX_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_is_removed_ends_a_pause() {
        let (feed, _place, consumer) = full();
        let seat = feed.first_seat();
        let waiting =
            tokio::spawn(async move { pause(&feed, &AtomicBool::new(false), MAX_PAUSE).await });
        tokio::time::sleep(MAX_PAUSE / 2).await;
        seat.remove_subscriber(&consumer);
        assert!(waiting.await.expect("no panic").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_still_has_room_does_not_make_a_pause_longer() {
        let (full, roomy) = (consumer(10, 1 << 20), consumer(20, 1 << 20));
        let (feed, _place) = paused(&[&full, &roomy], 12);
        assert!(!goes_on(&feed).await);
        full.drain(6, |_, _| ());
        assert!(!goes_on(&feed).await, "six of ten are above the low mark");
        full.drain(1, |_, _| ());
        assert_eq!(roomy.stats().buffered, 12, "as many as before");
        assert!(goes_on(&feed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_overflowed_by_bytes_drains_to_half_of_its_bytes() {
        // Each notification counts 65 bytes.
        let (full, roomy) = (consumer(1000, 650), consumer(1000, 1300));
        let (feed, _place) = paused(&[&full, &roomy], 12);
        full.drain(6, |_, _| ());
        assert!(
            !goes_on(&feed).await,
            "390 of 650 bytes are above the low mark"
        );
        full.drain(1, |_, _| ());
        assert!(goes_on(&feed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_without_room_for_one_more_keeps_a_pause_although_it_did_not_cause_it() {
        let (overfull, exactly_full) = (consumer(10, 1 << 20), consumer(12, 1 << 20));
        let (feed, _place) = paused(&[&overfull, &exactly_full], 12);
        overfull.drain(12, |_, _| ());
        assert!(!goes_on(&feed).await);
        exactly_full.drain(1, |_, _| ());
        assert!(goes_on(&feed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_comes_during_a_pause_neither_ends_nor_lengthens_it() {
        let full = consumer(10, 1 << 20);
        let (feed, _place) = paused(&[&full], 11);
        feed.first_seat().add_subscriber(consumer(1, 1 << 20), None);
        assert!(!goes_on(&feed).await);
        full.drain(6, |_, _| ());
        assert!(goes_on(&feed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_session_owes_nothing_to_a_pause_of_the_lost_one() {
        let (full, other) = (consumer(10, 1 << 20), consumer(20, 1 << 20));
        let (feed, place) = paused(&[&full, &other], 11);
        drop(place);
        full.drain(4, |_, _| ());
        let gap = Gap::overflow(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        let next = FeedPlace::take(&feed);
        feed.resume(&next, Some(&gap));
        assert!(goes_on(&feed).await, "there is room");
    }
}
