//! Who waits for channels to be among those that the server listens to for us, or out of them.

use crate::base::error::{Error, ErrorKind};
use crate::deliver::feed::{Feed, Reply, SeatId};
use crate::listen::desired::Desired;
use crate::listen::options::ReconnectOptions;

/// The most waiting commands for which the empty list keeps memory.
const MOST_KEPT: usize = 256;

struct Waiting {
    seat: SeatId,
    request: Request,
    reply: Reply,
}

/// A request for which the server has to follow.
pub(super) enum Request {
    /// A listener's first channels.
    Join {
        channels: Vec<String>,
        /// How the listener goes on to wait after a failed attempt. `None`: not at all.
        retry: Option<Box<ReconnectOptions>>,
    },
    /// A channel, with the number that the listener gave it.
    Listen { channel: String, number: u32 },
    /// The end of a subscription.
    Unlisten { channel: String },
}

/// The commands that wait for the server to follow, with their replies.
#[derive(Default)]
pub(super) struct WaitingList(Vec<Waiting>);

impl WaitingList {
    pub(super) fn push(&mut self, seat: SeatId, request: Request, reply: Reply) {
        self.0.push(Waiting {
            seat,
            request,
            reply,
        });
    }

    /// A seat was left: nobody waits there.
    pub(super) fn forget(&mut self, seat: SeatId) {
        self.0.retain(|waiting| waiting.seat != seat);
    }

    /// How those who join go on to wait after a failed attempt, if somebody does.
    pub(super) fn retry(&self) -> Option<ReconnectOptions> {
        self.0.iter().find_map(|waiting| match &waiting.request {
            Request::Join { retry, .. } => retry.as_deref().copied(),
            _ => None,
        })
    }

    /// How many wait to join.
    pub(super) fn joining(&self) -> usize {
        let joins = self.0.iter();
        joins
            .filter(|it| matches!(it.request, Request::Join { .. }))
            .count()
    }

    /// An attempt to connect failed: those who join are told, except who goes on to wait, unless `all` are told.
    pub(super) fn fail_joins(&mut self, error: &Error, all: bool) {
        let failed = |waiting: &mut Waiting| match &waiting.request {
            Request::Join { retry, .. } => all || retry.is_none(),
            _ => false,
        };
        for waiting in self.0.extract_if(.., failed) {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }

    /// The server refused a channel, and nobody gets it: who asked for it is told. A subscription that was made since stays. Whom
    /// it keeps from joining is given, with the channels.
    pub(super) fn refuse(
        &mut self,
        channel: &str,
        error: &Error,
        feed: &Feed,
    ) -> Vec<(SeatId, Vec<String>)> {
        let mut kept_out = Vec::new();
        let refused = |waiting: &mut Waiting| match &waiting.request {
            Request::Join { channels, .. } => channels.iter().any(|it| it == channel),
            Request::Listen { channel: it, .. } => it == channel,
            Request::Unlisten { .. } => false,
        };
        for Waiting {
            seat,
            request,
            reply,
        } in self.0.extract_if(.., refused)
        {
            match request {
                Request::Listen { number, .. } => feed.refuse_channel(seat, channel, number),
                Request::Join { channels, .. } => kept_out.push((seat, channels)),
                Request::Unlisten { .. } => {}
            }
            let _ = reply.send(Err(error.clone()));
        }
        kept_out
    }

    /// The end of some subscriptions was refused: who asked for it is told.
    pub(super) fn refuse_unlisten(&mut self, channels: &[String], error: &Error) {
        let refused = |waiting: &mut Waiting| match &waiting.request {
            Request::Unlisten { channel } => channels.contains(channel),
            _ => false,
        };
        for waiting in self.0.extract_if(.., refused) {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }

    /// The server's set is the desired one: whoever waited for that knows now.
    pub(super) fn answer(&mut self, desired: &Desired, feed: &Feed, process_id: i32) {
        for Waiting {
            seat,
            request,
            reply,
        } in self.0.drain(..)
        {
            let answer = match request {
                Request::Join { .. } => {
                    feed.joined(seat, process_id);
                    Ok(())
                }
                // A subscription that was taken back while it waited did not come about.
                Request::Listen { channel, .. } if !desired.is_wish_of(&channel, seat) => {
                    Err(Error::new(
                        ErrorKind::ListenerClosed,
                        format!("channel `{channel}` was removed before the server listened to it"),
                    ))
                }
                Request::Listen { .. } | Request::Unlisten { .. } => Ok(()),
            };
            let _ = reply.send(answer);
        }
        // Thousands may have been started at once.
        self.0.shrink_to(MOST_KEPT);
    }
}
