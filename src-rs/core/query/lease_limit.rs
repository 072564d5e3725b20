//! How many connections may be leased at the same time.
//!
//! deadpool counts only connections that exist: shrunk before it has opened any, it would still open as many as before.
//! A [`LeaseLimit`] counts leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Gives out permits to lease, first come, first served.
#[derive(Debug)]
pub(crate) struct LeaseLimit {
    free: Semaphore,
    /// How many calls wait for a permit.
    waiting: AtomicUsize,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    max: usize,
    /// How many permits were out beyond `max` when the limit was lowered: so many are not given out again.
    surplus: usize,
}

/// The right to one lease. Dropping it lets the next waiter lease.
#[derive(Debug)]
pub(crate) struct Permit(Arc<LeaseLimit>);

impl LeaseLimit {
    /// A limit of `max` leases.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Semaphore::new(max),
            waiting: AtomicUsize::new(0),
            size: Mutex::new(Size { max, surplus: 0 }),
        })
    }

    /// Waits for a permit; `None` once the limit is closed.
    pub(crate) async fn acquire(self: Arc<Self>) -> Option<Permit> {
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
        Some(Permit(self))
    }

    /// Changes the limit. Lowered below the number of permits that are out, it gives none until enough came back.
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

    /// Gives no permit any more: calls that wait get `None`.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    /// How many calls wait for a permit.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
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
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    fn take(limit: &Arc<LeaseLimit>) -> Option<Permit> {
        Arc::clone(limit).acquire().now_or_never().flatten()
    }

    #[test]
    fn a_limit_that_is_lowered_takes_back_what_is_out() {
        let limit = LeaseLimit::new(3);
        let mut out: Vec<Permit> = (0..3).map(|_| take(&limit).unwrap()).collect();
        limit.resize(1);
        out.truncate(1);
        assert!(take(&limit).is_none());
        out.clear();
        let only = take(&limit).unwrap();
        assert!(take(&limit).is_none());
        drop(only);
    }

    #[test]
    fn a_limit_that_is_lowered_and_raised_again_gives_no_more_than_its_size() {
        let limit = LeaseLimit::new(4);
        let out: Vec<Permit> = (0..3).map(|_| take(&limit).unwrap()).collect();
        limit.resize(1);
        limit.resize(4);
        let fourth = take(&limit).unwrap();
        assert!(take(&limit).is_none());
        drop((out, fourth));
        let again: Vec<Permit> = std::iter::from_fn(|| take(&limit)).collect();
        assert_eq!(again.len(), 4);
    }

    #[test]
    fn a_closed_limit_gives_nothing() {
        let limit = LeaseLimit::new(1);
        let waiting = take(&limit);
        let mut next = Box::pin(Arc::clone(&limit).acquire());
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(limit.waiting(), 1);
        limit.close();
        assert!(next.now_or_never().unwrap().is_none());
        drop(waiting);
        assert_eq!(limit.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_go_to_waiters_in_their_order() {
        let limit = LeaseLimit::new(1);
        let out = take(&limit).unwrap();
        let (mut first, mut second) = (
            Box::pin(Arc::clone(&limit).acquire()),
            Box::pin(Arc::clone(&limit).acquire()),
        );
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(out);
        assert!(second.as_mut().now_or_never().is_none());
        let out = first.now_or_never().unwrap();
        assert!(second.as_mut().now_or_never().is_none());
        drop(out);
        assert!(second.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_leaves_no_hole() {
        let limit = LeaseLimit::new(1);
        let out = take(&limit).unwrap();
        let patience = Duration::from_secs(5);
        let gave_up = timeout(patience, Arc::clone(&limit).acquire());
        let stays = timeout(2 * patience, Arc::clone(&limit).acquire());
        let gives_back = async {
            tokio::time::sleep(patience + Duration::from_secs(1)).await;
            assert_eq!(limit.waiting(), 1);
            drop(out);
        };
        let (gave_up, stays, ()) = tokio::join!(gave_up, stays, gives_back);
        assert!(gave_up.is_err());
        drop(stays.unwrap().unwrap());
        assert!(take(&limit).is_some());
        assert_eq!(limit.waiting(), 0);
    }

    #[test]
    fn a_permit_that_was_handed_over_but_not_taken_is_not_lost() {
        let limit = LeaseLimit::new(1);
        let out = take(&limit).unwrap();
        let mut waiter = Box::pin(Arc::clone(&limit).acquire());
        assert!(waiter.as_mut().now_or_never().is_none());
        drop(out);
        // The permit is the waiter's by now.
        assert!(take(&limit).is_none());
        drop(waiter);
        assert!(take(&limit).is_some());
    }

    #[test]
    fn a_limit_of_none_serves_waiters_once_it_is_raised() {
        let limit = LeaseLimit::new(1);
        let out = take(&limit).unwrap();
        limit.resize(0);
        drop(out);
        let mut waiter = Box::pin(Arc::clone(&limit).acquire());
        assert!(waiter.as_mut().now_or_never().is_none());
        limit.resize(2);
        assert!(waiter.now_or_never().unwrap().is_some());
    }
}
