//! Tasks whose steps are taken by the threads that start and wake them: for work that soon waits, which another thread need not be
//! woken for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Queue = VecDeque<(Arc<Step>, Work)>;

thread_local! {
    /// The tasks that were woken on this thread, while it takes their next steps itself.
    static WOKEN: RefCell<Option<Queue>> = const { RefCell::new(None) };
}

/// Polls `work` once on this thread. If it has to wait, it goes on once it is woken, and only then: on the thread that wakes it, if that
/// is [`here`], and else as a task of the runtime.
pub fn spawn_eager(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    let step = Arc::new(Step {
        state: Mutex::new(State::Running),
        runtime: runtime.clone(),
    });
    let _entered = runtime.enter();
    step.take(Box::pin(work));
}

/// Does what may wake tasks of [`spawn_eager`], and takes their next steps on this thread. Called within the runtime.
pub fn here<T>(waking: impl FnOnce() -> T) -> T {
    WOKEN.set(Some(Queue::new()));
    let _over = Over;
    let done = waking();
    while let Some((step, work)) = next_woken() {
        *step.state.lock() = State::Running;
        step.take(work);
    }
    done
}

fn next_woken() -> Option<(Arc<Step>, Work)> {
    WOKEN.with_borrow_mut(|woken| woken.as_mut()?.pop_front())
}

/// Gives what is left to the runtime: after a panic there may be something.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        for (step, work) in WOKEN.take().into_iter().flatten() {
            drop(step.runtime.spawn(work));
        }
    }
}

enum State {
    /// A step is being taken by a thread.
    Running,
    /// Nothing has woken it since the last step.
    Waiting(Work),
    /// It is a task of the runtime, or goes on soon.
    Woken,
}

/// A task between two of its steps.
struct Step {
    state: Mutex<State>,
    runtime: Handle,
}

impl Step {
    fn take(self: Arc<Self>, mut work: Work) {
        let waker = Waker::from(Arc::clone(&self));
        if work
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            return;
        }
        let mut state = self.state.lock();
        if matches!(*state, State::Woken) {
            drop(self.runtime.spawn(work));
        } else {
            *state = State::Waiting(work);
        }
    }
}

impl Wake for Step {
    fn wake(self: Arc<Self>) {
        let before = mem::replace(&mut *self.state.lock(), State::Woken);
        let State::Waiting(work) = before else { return };
        WOKEN.with_borrow_mut(|woken| match woken {
            Some(woken) => woken.push_back((self, work)),
            None => drop(self.runtime.spawn(work)),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_first_step_is_of_this_thread_and_the_rest_of_the_runtime() {
        let here = thread::current().id();
        let (go, gone) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let first = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&first);
        spawn_eager(&Handle::current(), async move {
            *seen.lock() = Some(thread::current().id());
            gone.await.unwrap();
            tell.send(thread::current().id()).unwrap();
        });
        assert_eq!(*first.lock(), Some(here));
        go.send(()).unwrap();
        assert_ne!(told.await.unwrap(), here);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_woken_here_goes_on_here() {
        let runtime = Handle::current();
        let (go, gone) = oneshot::channel();
        let (on, going_on) = oneshot::channel();
        let threads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&threads);
        spawn_eager(&runtime, async move {
            gone.await.unwrap();
            seen.lock().push(thread::current().id());
            // Another task, which this one wakes.
            on.send(()).unwrap();
        });
        let seen = Arc::clone(&threads);
        spawn_eager(&runtime, async move {
            going_on.await.unwrap();
            seen.lock().push(thread::current().id());
        });
        here(|| go.send(()).unwrap());
        assert_eq!(*threads.lock(), [thread::current().id(); 2]);
    }

    #[tokio::test]
    async fn what_is_woken_during_its_first_step_goes_on() {
        let (tell, told) = oneshot::channel();
        spawn_eager(&Handle::current(), async move {
            yield_now().await;
            tell.send(7).unwrap();
        });
        assert_eq!(told.await, Ok(7));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_wakes_it_whenever_it_comes_to_its_end_once() {
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..2000 {
            let (go, gone) = oneshot::channel::<()>();
            let (tell, told) = oneshot::channel();
            let racing = tokio::spawn(async move { drop(go) });
            let counted = Arc::clone(&ended);
            spawn_eager(&Handle::current(), async move {
                drop(gone.await);
                counted.fetch_add(1, Ordering::Relaxed);
                tell.send(()).unwrap();
            });
            told.await.unwrap();
            racing.await.unwrap();
        }
        assert_eq!(ended.load(Ordering::Relaxed), 2000);
    }
}
