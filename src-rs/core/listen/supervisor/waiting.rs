//! Who waits for a channel to be among those that the server listens to for us, or out of them.

use tokio::sync::oneshot;

use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::Feed;
use crate::listen::desired::Desired;

/// How one is told.
pub(crate) type Reply = oneshot::Sender<Result<()>>;

struct Waiting {
    channel: String,
    /// The channel's number, for a subscription; `None` for the end of one.
    subscription: Option<u32>,
    reply: Reply,
}

/// The commands that wait for the server to follow, with their replies.
#[derive(Default)]
pub(super) struct WaitingList(Vec<Waiting>);

impl WaitingList {
    /// `subscription`: the channel's number, for a subscription; `None` for the end of one.
    pub(super) fn push(&mut self, channel: String, subscription: Option<u32>, reply: Reply) {
        self.0.push(Waiting {
            channel,
            subscription,
            reply,
        });
    }

    /// The server refused a channel: nothing is routed to it any more, except for a subscription that was made since.
    pub(super) fn refuse(&mut self, channel: &str, error: &Error, feed: &Feed) {
        for waiting in std::mem::take(&mut self.0) {
            match waiting.subscription {
                Some(id) if waiting.channel == channel => {
                    feed.seat().remove_route(channel, id);
                    let _ = waiting.reply.send(Err(error.clone()));
                }
                _ => self.0.push(waiting),
            }
        }
    }

    /// The server's set is the desired one: whoever waited for that knows now.
    pub(super) fn answer(&mut self, desired: &Desired) {
        for waiting in self.0.drain(..) {
            // A subscription that was taken back while it waited did not come about.
            let came_about = waiting.subscription.is_none() || desired.contains(&waiting.channel);
            let _ = waiting.reply.send(if came_about {
                Ok(())
            } else {
                Err(Error::new(
                    ErrorKind::ListenerClosed,
                    format!(
                        "channel `{}` was removed before the server listened to it",
                        waiting.channel
                    ),
                ))
            });
        }
    }
}
