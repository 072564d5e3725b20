//! Makes the server listen to the channels that the user wants, and answers whoever waits for that.

use super::waiting::Request;
use super::{Command, SessionOutcome, Supervisor};
use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::SeatId;
use crate::listen::session::CHUNK;
use crate::listen::sessions::{ListeningSession, Sessions};

/// The outer error ends the session, the inner one refuses a single request.
type Answer = std::result::Result<Result<()>, SessionOutcome>;

impl<S: Sessions> Supervisor<S> {
    /// Edits the desired state.
    pub(super) fn accept(&mut self, command: Command) {
        match command {
            // Whoever waits learns from the dropped reply that the listener is at its end.
            Command::Join { seat, .. } | Command::Subscribe { seat, .. }
                if !self.feed().is_taken(seat) => {}
            Command::Join {
                seat,
                channels,
                retry,
                reply,
            } => {
                for channel in &channels {
                    self.desired.insert(channel.clone(), seat);
                }
                self.is_followed = false;
                let request = Request::Join { channels, retry };
                self.waiting.push(seat, request, reply);
            }
            Command::Subscribe {
                seat,
                channel,
                number,
                reply,
            } => {
                self.desired.insert(channel.clone(), seat);
                self.is_followed = false;
                let request = Request::Listen { channel, number };
                self.waiting.push(seat, request, reply);
            }
            Command::Unsubscribe {
                seat,
                channel,
                reply,
            } => {
                self.desired.remove(&channel, seat);
                self.is_followed = false;
                let request = Request::Unlisten { channel };
                self.waiting.push(seat, request, reply);
            }
            Command::Leave { seat, channels } => {
                self.forget(seat, &channels);
                self.waiting.forget(seat);
                self.feed().free(seat);
            }
            Command::Fence { id } => self.new_fences.push(id),
        }
    }

    /// A seat wishes nothing any more.
    pub(super) fn forget(&mut self, seat: SeatId, channels: &[String]) {
        for channel in channels {
            self.desired.remove(channel, seat);
        }
        self.is_followed = false;
    }

    /// Makes the server follow the desired state, answers the commands that waited for that, and sends new fences.
    pub(super) async fn reconcile(
        &mut self,
        session: &mut S::Session,
    ) -> std::result::Result<(), SessionOutcome> {
        fail_point!("supervisor");
        // Whatever else is waiting goes into the same round trip.
        while let Ok(command) = self.parts.commands.try_recv() {
            self.accept(command);
        }
        let mut is_all_done = true;
        while !self.is_followed {
            // Set first: whoever leaves meanwhile takes it back.
            self.is_followed = true;
            let add = self
                .desired
                .in_order(|channel| !session.applied().contains(channel));
            self.subscribe(session, add).await?;
            is_all_done = self.unsubscribe(session).await?;
        }
        // An UNLISTEN that was refused is tried again behind the next command or heartbeat.
        self.is_followed = is_all_done;
        let process_id = session.process_id();
        self.waiting
            .answer(&self.desired, &self.parts.feed, process_id);
        self.send_fences(session).await
    }

    /// LISTENs on channels in as few round trips as their refusals allow: a channel that the server refuses takes
    /// no other with it.
    async fn subscribe(
        &mut self,
        session: &mut S::Session,
        mut channels: Vec<String>,
    ) -> std::result::Result<(), SessionOutcome> {
        let mut groups = Vec::new();
        while channels.len() > CHUNK {
            let whole = (channels.len() - 1) / CHUNK * CHUNK;
            groups.push(channels.split_off(whole));
        }
        if !channels.is_empty() {
            groups.push(channels);
        }
        while let Some(mut group) = groups.pop() {
            let Err(error) = self.change(session, &group, &[]).await? else {
                continue;
            };
            if group.len() == 1 {
                // A refused subscription leaves no trace.
                self.desired.forget(&group[0]);
                for (seat, channels) in self.waiting.refuse(&group[0], &error, &self.parts.feed) {
                    self.forget(seat, &channels);
                }
            } else {
                groups.push(group.split_off(group.len() / 2));
                groups.push(group);
            }
        }
        Ok(())
    }

    /// UNLISTENs the channels that nobody wants any more. `false`: one was refused, and whoever waited for it knows.
    async fn unsubscribe(
        &mut self,
        session: &mut S::Session,
    ) -> std::result::Result<bool, SessionOutcome> {
        let fence_channel = self.feed().fence_channel();
        let remove: Vec<String> = session
            .applied()
            .iter()
            .filter(|channel| !self.desired.contains(channel) && *channel != fence_channel)
            .map(ToString::to_string)
            .collect();
        let mut is_done = true;
        for remove in remove.chunks(CHUNK) {
            if let Err(error) = self.change(session, &[], remove).await? {
                self.waiting.refuse_unlisten(remove, &error);
                is_done = false;
            }
        }
        Ok(is_done)
    }

    async fn send_fences(
        &mut self,
        session: &mut S::Session,
    ) -> std::result::Result<(), SessionOutcome> {
        if self.new_fences.is_empty() {
            return Ok(());
        }
        let fences = std::mem::take(&mut self.new_fences);
        let timeout = self.parts.policy.request_timeout;
        let sent = session.fence(&fences, timeout);
        let answer = self.uninterrupted(sent).await?;
        let judged = judge(session, answer).await?;
        self.feed().note_answer();
        if let Err(error) = judged {
            self.feed().refuse_fences(&fences, &error);
        }
        Ok(())
    }

    async fn change(
        &mut self,
        session: &mut S::Session,
        add: &[String],
        remove: &[String],
    ) -> Answer {
        let timeout = self.parts.policy.request_timeout;
        let answer = self
            .uninterrupted(session.change(add, remove, timeout))
            .await?;
        let judged = judge(session, answer).await?;
        self.feed().note_answer();
        Ok(judged)
    }
}

/// Tells an answer that refuses one request from the end of the session.
async fn judge(session: &mut impl ListeningSession, answer: Result<()>) -> Answer {
    match answer {
        Ok(()) => Ok(Ok(())),
        Err(error) if is_refusal(&error) => Ok(Err(error)),
        // The driver knows the reason better than the request that it broke.
        Err(error) => Err(SessionOutcome::Lost(session.reason(error).await)),
    }
}

fn is_refusal(error: &Error) -> bool {
    error.is_servers_refusal() || error.kind == ErrorKind::Execute
}
