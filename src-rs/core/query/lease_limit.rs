//! How many connections may be leased at the same time.
//!
//! The pool behind it counts only connections that exist: shrunk before it has opened any, it would still open
//! as many as before. This gate counts leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(crate) struct Gate {
    free: Semaphore,
    waiting: AtomicUsize,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    max: usize,
    /// Passes that were out when the gate was made smaller: they are not to come back.
    surplus: usize,
}

/// The right to one lease.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Semaphore::new(max),
            waiting: AtomicUsize::new(0),
            size: Mutex::new(Size { max, surplus: 0 }),
        })
    }

    /// Waits for a pass; `None` once the gate is closed.
    pub(crate) async fn enter(self: Arc<Self>) -> Option<Pass> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let permit = if let Ok(permit) = self.free.try_acquire() {
            permit
        } else {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _waiting = Waiting(&self.waiting);
            self.free.acquire().await.ok()?
        };
        permit.forget();
        Some(Pass(self))
    }

    pub(crate) fn resize(&self, max: usize) {
        let mut size = self.size.lock();
        if max > size.max {
            let more = max - size.max;
            let kept = more.min(size.surplus);
            size.surplus -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = size.max - max;
            size.surplus += fewer - self.free.forget_permits(fewer);
        }
        size.max = max;
    }

    pub(crate) fn close(&self) {
        self.free.close();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut size = self.0.size.lock();
        if size.surplus > 0 {
            size.surplus -= 1;
        } else {
            self.0.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn enter(gate: &Arc<Gate>) -> Option<Pass> {
        Arc::clone(gate).enter().now_or_never().flatten()
    }

    #[test]
    fn a_gate_made_smaller_takes_back_what_is_out() {
        let gate = Gate::new(3);
        let mut out: Vec<Pass> = (0..3).map(|_| enter(&gate).unwrap()).collect();
        gate.resize(1);
        out.truncate(1);
        assert!(enter(&gate).is_none());
        out.clear();
        let only = enter(&gate).unwrap();
        assert!(enter(&gate).is_none());
        drop(only);
    }

    #[test]
    fn a_gate_made_smaller_and_larger_again_gives_no_more_than_its_size() {
        let gate = Gate::new(4);
        let out: Vec<Pass> = (0..3).map(|_| enter(&gate).unwrap()).collect();
        gate.resize(1);
        gate.resize(4);
        let fourth = enter(&gate).unwrap();
        assert!(enter(&gate).is_none());
        drop((out, fourth));
        let again: Vec<Pass> = std::iter::from_fn(|| enter(&gate)).collect();
        assert_eq!(again.len(), 4);
    }

    #[test]
    fn a_closed_gate_gives_nothing() {
        let gate = Gate::new(1);
        let waiting = enter(&gate);
        let mut next = Box::pin(Arc::clone(&gate).enter());
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(gate.waiting(), 1);
        gate.close();
        assert!(next.now_or_never().unwrap().is_none());
        drop(waiting);
        assert_eq!(gate.waiting(), 0);
    }
}
