//! The way of a server's messages from the task that drives a connection to whoever asked.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::client::State;
use super::message::Message;
use crate::base::error::{Error, ServerMessage};

/// How much waits for whoever asked before the connection is no longer read, in bytes as [`Message::weight`] counts them.
const MOST_WAITING: usize = 4 << 20;

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// The weight of the messages.
    weight: usize,
    /// The request is answered, or its connection has ended.
    is_over: bool,
    /// Whoever asked is gone.
    is_abandoned: bool,
    reader: Option<Waker>,
    /// The driver, while there is no room.
    driver: Option<Waker>,
}

/// The driver's end.
#[derive(Debug)]
pub(super) struct Sender(Arc<Mutex<Waiting>>);

/// The messages with which a server answers one request, up to its `ReadyForQuery`.
///
/// Dropping it lets the rest of the answer pass unread.
#[derive(Debug)]
pub(crate) struct Responses {
    waiting: Arc<Mutex<Waiting>>,
    /// Messages that were taken together.
    taken: VecDeque<Message>,
    state: Arc<State>,
}

pub(super) fn channel(state: Arc<State>) -> (Sender, Responses) {
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let responses = Responses {
        waiting: Arc::clone(&waiting),
        taken: VecDeque::new(),
        state,
    };
    (Sender(waiting), responses)
}

impl Sender {
    /// Waits until there is room for a message.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.0.lock();
        if waiting.is_abandoned || waiting.weight < MOST_WAITING {
            return Poll::Ready(());
        }
        waiting.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Passes a message on. Wakes nobody yet.
    pub(super) fn push(&self, message: Message) {
        let mut waiting = self.0.lock();
        if !waiting.is_abandoned {
            waiting.weight += message.weight();
            waiting.messages.push_back(message);
        }
    }

    /// Wakes whoever waits for what was passed on.
    pub(super) fn wake(&self) {
        let mut waiting = self.0.lock();
        if waiting.messages.is_empty() && !waiting.is_over {
            return;
        }
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.wake();
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        waiting.is_abandoned = true;
        waiting.messages.clear();
        let driver = waiting.driver.take();
        drop(waiting);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Responses {
    /// The next message. `None`: the connection ended before the request was answered.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.taken.pop_front() {
            return Some(message);
        }
        poll_fn(|cx| {
            let mut waiting = self.waiting.lock();
            if waiting.messages.is_empty() {
                if waiting.is_over {
                    return Poll::Ready(None);
                }
                waiting.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut waiting.messages, &mut self.taken);
            waiting.weight = 0;
            let driver = waiting.driver.take();
            drop(waiting);
            if let Some(driver) = driver {
                driver.wake();
            }
            Poll::Ready(self.taken.pop_front())
        })
        .await
    }

    /// The error of a request that was not answered: `before`, if the server refused it before the connection ended.
    pub(crate) fn lost(&self, before: Option<Box<ServerMessage>>) -> Error {
        match before {
            Some(server) => Error::database(*server),
            None => self.state.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::protocol::message::TransactionStatus;
    use crate::protocol::parameters::Parameters;

    #[tokio::test]
    async fn there_is_no_room_until_what_waits_was_taken() {
        let (sender, mut responses) = channel(Arc::new(State::new(Parameters::default())));
        let has_room = || poll_fn(|cx| sender.poll_room(cx)).now_or_never().is_some();
        let mut pushed = 0;
        let data = Bytes::from(vec![0; 960]);
        while has_room() {
            sender.push(Message::CopyData(data.clone()));
            pushed += 1;
        }
        assert_eq!(pushed, MOST_WAITING / 1024);
        assert!(responses.next().await.is_some());
        assert!(has_room());
        drop(responses);
        for _ in 0..=pushed {
            sender.push(Message::CopyData(data.clone()));
        }
        assert!(has_room(), "nobody waits for it any more");
    }

    #[tokio::test]
    async fn the_end_of_the_driver_ends_the_answer_behind_what_was_sent() {
        let (sender, mut responses) = channel(Arc::new(State::new(Parameters::default())));
        sender.push(Message::ReadyForQuery(TransactionStatus::Idle));
        drop(sender);
        assert!(matches!(
            responses.next().await,
            Some(Message::ReadyForQuery(_))
        ));
        assert!(responses.next().await.is_none());
    }
}
