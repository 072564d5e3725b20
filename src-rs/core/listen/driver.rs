//! The task that reads a session: polls its connection and hands what comes to the hub.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::AsyncMessage;

use crate::base::error::{Error, ErrorKind, ServerMessage};
use crate::connect::dial::ServerConnection;
use crate::deliver::hub::{Event, Hub};
use crate::inbound::{NotificationSink, Stop};

/// Why a session ended.
#[derive(Debug, Clone)]
pub struct SessionEnd {
    /// The reason.
    pub error: Error,
    /// Whether the server sent what cannot be read.
    pub undecodable: bool,
}

impl From<Error> for SessionEnd {
    fn from(error: Error) -> Self {
        Self {
            error,
            undecodable: false,
        }
    }
}

/// See the module.
pub(crate) struct Driver {
    pub(crate) connection: ServerConnection,
    pub(crate) hub: Arc<Hub>,
    pub(crate) epoch: u64,
    pub(crate) paused: Arc<AtomicBool>,
    /// Where the connection's notifications go.
    pub(crate) arrivals: Arc<NotificationSink>,
    pub(crate) max_pause: Duration,
    /// The reason of a crashing server comes as a mere notice (57P02), before the socket breaks.
    pub(crate) shutdown_notice: Option<ServerMessage>,
}

impl Driver {
    /// Reads until the session ends, and says why it did.
    pub(crate) async fn run(mut self) -> SessionEnd {
        let (hub, epoch) = (Arc::clone(&self.hub), self.epoch);
        self.arrivals
            .hand_to(move |batch| hub.publish(epoch, batch));
        loop {
            let stopped = match self.read().await {
                Ok(Stop::Pause) => self.pause().await,
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
            loop {
                match self.connection.poll_message(cx) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => self.notice(&notice),
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(_)))) => {
                        let end = undecodable("the server sent a notification beyond any size");
                        return Poll::Ready(Err(end));
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.ended(error))),
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

    /// Waits until every consumer has room again.
    async fn pause(&mut self) -> Result<(), SessionEnd> {
        self.paused.store(true, Ordering::Relaxed);
        let room = tokio::time::timeout(self.max_pause, self.hub.wait_for_room()).await;
        self.paused.store(false, Ordering::Relaxed);
        room.map_err(|_| {
            Error::new(
                ErrorKind::Closed,
                format!(
                    "a consumer kept the session from being read for {} s (buffer.maxPauseMs)",
                    self.max_pause.as_secs_f64()
                ),
            )
            .into()
        })
    }

    fn notice(&mut self, notice: &tokio_postgres::error::DbError) {
        let notice = ServerMessage::from(notice);
        if notice.sql_state.starts_with("57P") {
            self.shutdown_notice = Some(notice.clone());
        }
        self.hub.event(Event::Notice(Box::new(notice)));
    }

    fn ended(&mut self, error: tokio_postgres::Error) -> SessionEnd {
        let mut error = Error::from(error);
        // What is neither the server's word nor a broken socket is a message that cannot be read.
        let undecodable = error.kind == ErrorKind::Execute;
        if undecodable {
            error.kind = ErrorKind::Closed;
        }
        if error.server.is_none()
            && let Some(notice) = self.shutdown_notice.take()
        {
            error.message = format!("{}: {}", error.message, notice.message);
            error.server = Some(Box::new(notice));
        }
        SessionEnd { error, undecodable }
    }
}

/// The end of a session whose stream cannot be read on.
fn undecodable(message: impl Into<String>) -> SessionEnd {
    SessionEnd {
        error: Error::new(ErrorKind::Closed, message),
        undecodable: true,
    }
}
