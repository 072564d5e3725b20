//! Keeps operations in the order in which they were called, although each runs as a task of its own.

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Gives out turns, first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Resolves (as dropped) when the turn given out last is over.
    last: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A place in the order. Dropping it ends the turn; it must not be dropped before it has come.
#[derive(Debug)]
#[must_use = "dropping a turn lets the next one begin"]
pub(crate) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _over: oneshot::Sender<()>,
}

impl Turns {
    /// Takes the next place. Synchronous, so that the order is that of the calls.
    pub(crate) fn next(&self) -> Turn {
        let (over, receiver) = oneshot::channel();
        let before = self.last.lock().replace(receiver);
        Turn {
            before,
            _over: over,
        }
    }
}

impl Turn {
    /// Waits until all turns before this one are over.
    pub(crate) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            let _ = before.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn turns_come_in_the_order_in_which_they_were_taken() {
        let turns = Turns::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for index in 0..1000 {
            let mut turn = turns.next();
            let order = Arc::clone(&order);
            tasks.push(tokio::spawn(async move {
                turn.come().await;
                order.lock().push(index);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.lock().iter().copied().eq(0..1000));
    }
}
