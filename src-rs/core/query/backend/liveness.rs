//! Whether a connection is still there: when the server was last heard, and the question when that was too long ago.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout};

use super::Backend;

/// How long a connection may have been silent before it is asked whether it is still there.
const TRUSTED: Duration = Duration::from_secs(10);

/// How long the answer to that question may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcome of a check that several wait for: whether the server answered.
pub(super) type Check = Shared<BoxFuture<'static, bool>>;

impl Backend {
    /// When the server was last heard.
    pub(super) fn heard(&self) -> Instant {
        self.facts.heard.last()
    }

    /// Whether the connection has been silent for so long, or since `doubted`, that it may be dead.
    pub(crate) fn is_suspect(&self, doubted: Option<Instant>) -> bool {
        let heard = self.heard();
        heard.elapsed() > TRUSTED || doubted.is_some_and(|doubted| heard <= doubted)
    }

    /// Asks the server whether it is there, in one round trip, and drops the socket if it does not say so in time. A check
    /// that is under way is shared.
    pub(crate) fn check(self: &Arc<Self>) -> impl Future<Output = bool> + Send + use<> {
        let mut slot = self.check.lock();
        if let Some(check) = &*slot {
            return check.clone();
        }
        let backend = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let answer = timeout(CHECK_TIMEOUT, backend.simple_query("")).await;
            let is_there = matches!(answer, Ok(Ok(_)));
            if !is_there {
                backend.abandon();
            }
            backend.check.lock().take();
            is_there
        });
        let check = async move { asked.await.unwrap_or(false) }.boxed().shared();
        *slot = Some(check.clone());
        check
    }
}
