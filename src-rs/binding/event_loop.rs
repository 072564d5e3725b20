//! Connections that the JavaScript thread has borrowed: its event loop waits for their sockets, and it reads the answers itself.
//!
//! To wake one thread for the answer and another for JavaScript costs more than a short statement. The sockets are waited for by
//! libuv (<https://docs.libuv.org/en/v1.x/poll.html>); where an engine does not export its functions, nothing is borrowed.

mod uv;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::JsValuesTupleIntoVec as _;
use napi::{check_status, sys};
use pglisten_core::base::eager::here;
use pglisten_core::base::panic::contained;
use pglisten_core::listen::lending::{ListeningLoan, Next};
use pglisten_core::protocol::Loan;

use super::bridge::Shared;
use super::runtime::querying;
use super::wake::Arguments;
use uv::{Handle, Storage, UV_POLL, UV_READABLE, UV_TIMER, Uv};

thread_local! {
    /// The loops of this thread's environments, by the address of what reaches each from other threads.
    static LOOPS: RefCell<HashMap<usize, Rc<EventLoop>>> = RefCell::default();
    /// The environment whose promises are settled without a wake, because this thread is about to settle them.
    static SETTLING: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread is about to settle the promises of an environment.
pub(super) fn is_settling(shared: &Shared) -> bool {
    SETTLING.get() == address(shared)
}

fn address(shared: &Shared) -> usize {
    ptr::from_ref(shared).addr()
}

/// The event loop of an environment.
pub(super) struct EventLoop {
    uv: &'static Uv,
    uv_loop: *mut c_void,
    shared: Arc<Shared>,
    env: sys::napi_env,
    context: sys::napi_async_context,
    /// What takes the values of a wake.
    wake: sys::napi_ref,
    /// Where the numbers of a wake go.
    numbers: *mut [u32],
    /// The handles that are not closed yet, and whether each is being closed.
    open: RefCell<HashMap<Handle, bool>>,
    /// The last loan of each connection, unless it was ended here. The driver ends loans too, and tells nobody.
    last: RefCell<HashMap<usize, Rc<Borrowed>>>,
    /// Set when the environment ends: it waits until every handle is closed.
    ending: Cell<sys::napi_async_cleanup_hook_handle>,
}

/// What reads a connection that this thread has borrowed.
enum Reader {
    /// It reads answers.
    Statements(Loan),
    /// It reads notifications.
    Listening(RefCell<ListeningLoan>),
}

impl Reader {
    /// Reads what has come.
    fn read(&self, now_ms: u64) -> Next {
        match self {
            Self::Statements(loan) if loan.read() => Next::WhenReadable,
            Self::Statements(_) => Next::Over,
            Self::Listening(loan) => loan.borrow_mut().read(now_ms),
        }
    }

    /// Which connection it reads.
    fn connection(&self) -> usize {
        match self {
            Self::Statements(loan) => loan.connection(),
            Self::Listening(loan) => loan.borrow().connection(),
        }
    }

    /// Ends the loan.
    fn give_back(&self) {
        match self {
            Self::Statements(loan) => loan.give_back(),
            Self::Listening(loan) => loan.borrow().give_back(),
        }
    }
}

/// A connection whose socket is waited for.
struct Borrowed {
    /// Waits for the socket.
    poll: Storage,
    /// Waits for a moment instead, where a reader does.
    timer: Option<Storage>,
    /// Until the loan is over.
    socket: Cell<Option<OwnedFd>>,
    reader: Reader,
    /// Whether the timer waits.
    is_timed: Cell<bool>,
    event_loop: Rc<EventLoop>,
}

impl EventLoop {
    /// Lets the environment borrow connections, if its engine can wait for sockets.
    ///
    /// # Safety
    ///
    /// `env` is that of the present call, and `numbers` lives as long.
    pub(super) unsafe fn register(
        env: sys::napi_env,
        shared: &Arc<Shared>,
        wake: sys::napi_value,
        numbers: *mut [u32],
    ) -> napi::Result<()> {
        let Some(uv) = Uv::get() else { return Ok(()) };
        let mut uv_loop = ptr::null_mut();
        let mut context = ptr::null_mut();
        let mut reference = ptr::null_mut();
        let mut name = ptr::null_mut();
        let mut hook = ptr::null_mut();
        // Safety: the environment is valid, and so are the places for what is made.
        unsafe {
            check_status!(sys::napi_get_uv_event_loop(env, &raw mut uv_loop))?;
            check_status!(sys::napi_create_string_utf8(
                env,
                c"pglisten".as_ptr(),
                8,
                &raw mut name
            ))?;
            check_status!(sys::napi_async_init(
                env,
                ptr::null_mut(),
                name,
                &raw mut context
            ))?;
            check_status!(sys::napi_create_reference(env, wake, 1, &raw mut reference))?;
        }
        let event_loop = Rc::new(Self {
            uv,
            uv_loop: uv_loop.cast(),
            shared: Arc::clone(shared),
            env,
            context,
            wake: reference,
            numbers,
            open: RefCell::default(),
            last: RefCell::default(),
            ending: Cell::new(ptr::null_mut()),
        });
        let data = Rc::into_raw(Rc::clone(&event_loop)).cast_mut().cast();
        // Safety: the hook gets the pointer that was made for it, once.
        unsafe {
            check_status!(sys::napi_add_async_cleanup_hook(
                env,
                Some(end),
                data,
                &raw mut hook
            ))?;
        }
        LOOPS.with_borrow_mut(|loops| loops.insert(address(shared), event_loop));
        Ok(())
    }

    /// Borrows the connection of a lease, if that can be.
    pub(super) fn borrow(shared: &Shared, lend: impl FnOnce() -> Option<(OwnedFd, Loan)>) {
        Self::borrow_with(shared, || {
            let (socket, loan) = lend()?;
            Some((socket, Reader::Statements(loan)))
        });
    }

    /// Borrows the connection of a listening session, if that can be.
    pub(super) fn borrow_listening(
        shared: &Shared,
        lend: impl FnOnce() -> Option<(OwnedFd, ListeningLoan)>,
    ) {
        Self::borrow_with(shared, || {
            let (socket, loan) = lend()?;
            Some((socket, Reader::Listening(RefCell::new(loan))))
        });
    }

    fn borrow_with(shared: &Shared, lend: impl FnOnce() -> Option<(OwnedFd, Reader)>) {
        let event_loop = LOOPS.with_borrow(|loops| loops.get(&address(shared)).map(Rc::clone));
        if let Some(event_loop) = event_loop
            && let Some((socket, reader)) = lend()
        {
            event_loop.wait_for(socket, reader);
        }
    }

    fn wait_for(self: Rc<Self>, socket: OwnedFd, reader: Reader) {
        // Its socket would stay open until something is read from it.
        let before = self.last.borrow_mut().remove(&reader.connection());
        if let Some(before) = before {
            before.end();
        }
        let (uv, uv_loop) = (self.uv, self.uv_loop);
        let fd = socket.as_raw_fd();
        let waits = matches!(reader, Reader::Listening(_));
        let borrowed = Rc::new(Borrowed {
            poll: Storage::new(uv, UV_POLL),
            timer: waits.then(|| Storage::new(uv, UV_TIMER)),
            socket: Cell::new(Some(socket)),
            reader,
            is_timed: Cell::new(false),
            event_loop: Rc::clone(&self),
        });
        let poll = borrowed.poll.handle();
        // Safety: the storage has the size of the handle, and lives until the handle is closed.
        unsafe {
            if (uv.poll_init)(uv_loop, poll, fd) != 0 {
                borrowed.reader.give_back();
                return;
            }
            self.opened(poll, &borrowed);
            if let Some(timer) = &borrowed.timer {
                // It cannot fail.
                let _ = (uv.timer_init)(uv_loop, timer.handle());
                self.opened(timer.handle(), &borrowed);
            }
            if (uv.poll_start)(poll, UV_READABLE, on_readable) != 0 {
                return borrowed.end();
            }
        }
        let connection = borrowed.reader.connection();
        self.last.borrow_mut().insert(connection, borrowed);
    }

    /// Notes a handle that was opened, and what it is for.
    unsafe fn opened(&self, handle: Handle, borrowed: &Rc<Borrowed>) {
        self.open.borrow_mut().insert(handle, false);
        let data = Rc::into_raw(Rc::clone(borrowed));
        // Safety: the handle is open. Its data is dropped when it is closed.
        unsafe {
            (self.uv.handle_set_data)(handle, data.cast_mut().cast());
            (self.uv.unref)(handle);
        }
    }

    /// Forgets a loan that was the last one of its connection.
    fn forget(&self, ended: &Borrowed) {
        let mut last = self.last.borrow_mut();
        if let Entry::Occupied(it) = last.entry(ended.reader.connection())
            && ptr::eq(&raw const **it.get(), ended)
        {
            it.remove();
        }
    }

    fn close(&self, handle: Handle) {
        let mut open = self.open.borrow_mut();
        if let Some(is_closing @ false) = open.get_mut(&handle) {
            *is_closing = true;
            // Safety: the handle is open, and its storage lives until `on_closed`.
            unsafe { (self.uv.close)(handle, on_closed) };
        }
    }

    /// Does what may settle promises, and settles them.
    fn turn<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        SETTLING.set(address(&self.shared));
        let done = contained("an answer", || {
            let _entered = querying().ok()?.enter();
            Some(here(work))
        });
        SETTLING.set(0);
        self.settle();
        done.ok().flatten()
    }

    /// Calls JavaScript with what is ready.
    fn settle(&self) {
        let mut scope = ptr::null_mut();
        // Safety: this is the thread of the environment, which has not ended, since its end closes the handles first. The numbers are
        // written before the call reads them, on this thread.
        unsafe {
            // Before anything is taken, which would be lost without a scope.
            if sys::napi_open_handle_scope(self.env, &raw mut scope) != sys::Status::napi_ok {
                self.shared.wake_again();
                return;
            }
            let taken = self.shared.take_or_wake_again();
            if !taken.is_empty() {
                let arguments = Arguments::of(taken, self.env, &mut *self.numbers);
                if let Ok(arguments) = arguments.into_vec(self.env) {
                    self.call(&arguments);
                }
            }
            sys::napi_close_handle_scope(self.env, scope);
        }
    }

    unsafe fn call(&self, arguments: &[sys::napi_value]) {
        let mut wake = ptr::null_mut();
        // Safety: as `settle` says.
        unsafe {
            sys::napi_get_reference_value(self.env, self.wake, &raw mut wake);
            let status = sys::napi_make_callback(
                self.env,
                self.context,
                // Some object has to be `this`.
                wake,
                wake,
                arguments.len(),
                arguments.as_ptr(),
                ptr::null_mut(),
            );
            if status == sys::Status::napi_pending_exception {
                let mut thrown = ptr::null_mut();
                sys::napi_get_and_clear_last_exception(self.env, &raw mut thrown);
                sys::napi_fatal_exception(self.env, thrown);
            }
        }
    }

    /// Ends the wait of the environment once nothing is open any more.
    fn finish(&self) {
        let ending = self.ending.get();
        if !ending.is_null() && self.open.borrow().is_empty() {
            self.ending.set(ptr::null_mut());
            // Safety: nothing is settled here any more. The hook's handle was given to `end`, and is used once.
            unsafe {
                sys::napi_delete_reference(self.env, self.wake);
                sys::napi_async_destroy(self.env, self.context);
                sys::napi_remove_async_cleanup_hook(ending);
            }
        }
    }
}

impl Borrowed {
    /// What a handle is for.
    ///
    /// # Safety
    ///
    /// The handle is open.
    unsafe fn of(handle: Handle) -> Option<Rc<Self>> {
        let uv = Uv::get()?;
        // Safety: the data was made by `Rc::into_raw`, and the handle keeps its reference.
        unsafe {
            let data = (uv.handle_get_data)(handle).cast_const().cast::<Self>();
            Rc::increment_strong_count(data);
            Some(Rc::from_raw(data))
        }
    }

    /// Reads, and waits for what comes next.
    fn go_on(&self) {
        let uv = self.event_loop.uv;
        // Safety: the loop is that of this thread.
        let now = unsafe { (uv.now)(self.event_loop.uv_loop) };
        match (self.reader.read(now), &self.timer) {
            (Next::Over, _) => self.end(),
            (Next::After(delay), Some(timer)) => {
                // Safety: the handles are open: they are closed together, and of a handle that is being closed libuv calls nothing
                // but `on_closed`.
                unsafe {
                    if !self.is_timed.replace(true) {
                        let _ = (uv.poll_stop)(self.poll.handle());
                    }
                    if (uv.timer_start)(timer.handle(), on_time, delay, 0) != 0 {
                        self.end();
                    }
                }
            }
            (Next::WhenReadable | Next::After(_), _) => {
                if self.is_timed.replace(false)
                    // Safety: as above.
                    && unsafe { (uv.poll_start)(self.poll.handle(), UV_READABLE, on_readable) } != 0
                {
                    self.end();
                }
            }
        }
    }

    /// Ends the loan.
    fn end(&self) {
        self.reader.give_back();
        self.event_loop.forget(self);
        self.event_loop.close(self.poll.handle());
        // It need not wait until libuv is done with the handle (<https://docs.libuv.org/en/v1.x/poll.html>), which may take a while.
        self.socket.take();
        if let Some(timer) = &self.timer {
            self.event_loop.close(timer.handle());
        }
    }
}

unsafe extern "C" fn on_readable(handle: Handle, status: c_int, _: c_int) {
    // Safety: libuv calls it for open handles.
    let Some(borrowed) = (unsafe { Borrowed::of(handle) }) else {
        return;
    };
    borrowed.event_loop.turn(|| {
        borrowed.go_on();
        // After an error of the socket libuv waits no longer, although what the server had sent before may still stand in it.
        if status != 0 {
            borrowed.end();
        }
    });
}

unsafe extern "C" fn on_time(handle: Handle) {
    // Safety: libuv calls it for open handles.
    if let Some(borrowed) = unsafe { Borrowed::of(handle) } {
        borrowed.event_loop.turn(|| borrowed.go_on());
    }
}

unsafe extern "C" fn on_closed(handle: Handle) {
    let Some(uv) = Uv::get() else { return };
    // Safety: the data was made by `Rc::into_raw`, and this is the last use of the handle.
    let borrowed = unsafe { Rc::from_raw((uv.handle_get_data)(handle).cast::<Borrowed>()) };
    let event_loop = Rc::clone(&borrowed.event_loop);
    event_loop.open.borrow_mut().remove(&handle);
    drop(borrowed);
    event_loop.finish();
}

unsafe extern "C" fn end(hook: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // Safety: the data was made by `Rc::into_raw` for this call.
    let event_loop = unsafe { Rc::from_raw(data.cast_const().cast::<EventLoop>()) };
    LOOPS.with_borrow_mut(|loops| loops.remove(&address(&event_loop.shared)));
    event_loop.ending.set(hook);
    let handles: Vec<Handle> = event_loop.open.borrow().keys().copied().collect();
    for handle in handles {
        // Safety: the handle is open.
        if let Some(borrowed) = unsafe { Borrowed::of(handle) } {
            borrowed.end();
        }
    }
    event_loop.finish();
}
