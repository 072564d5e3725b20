//! Connections that the JavaScript thread has borrowed: its event loop waits for their sockets, and it reads the answers itself.
//!
//! To wake one thread for the answer and another for JavaScript costs more than a short statement. The functions are those of libuv
//! (<https://docs.libuv.org/en/v1.x/poll.html>), which Node.js exports; where an engine has none, nothing is borrowed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use napi::bindgen_prelude::JsValuesTupleIntoVec as _;
use napi::{check_status, sys};
use pglisten_core::base::eager::here;
use pglisten_core::base::panic::contained;
use pglisten_core::protocol::Loan;
use pglisten_core::query::lease::Lease;
use pglisten_core::query::statements::Manner;

use super::bridge::Shared;
use super::runtime::querying;
use super::wake::Arguments;

/// `UV_POLL` of `uv_handle_type`.
const UV_POLL: c_int = 8;
/// `UV_READABLE` of `uv_poll_event`.
const UV_READABLE: c_int = 1;

/// A handle of libuv.
type Handle = *mut c_void;
type OnPoll = unsafe extern "C" fn(Handle, c_int, c_int);
type OnClose = unsafe extern "C" fn(Handle);

type HandleSize = unsafe extern "C" fn(c_int) -> usize;
type SetData = unsafe extern "C" fn(Handle, *mut c_void);
type GetData = unsafe extern "C" fn(Handle) -> *mut c_void;
type PollInit = unsafe extern "C" fn(*mut c_void, Handle, c_int) -> c_int;
type PollStart = unsafe extern "C" fn(Handle, c_int, OnPoll) -> c_int;
type Unref = unsafe extern "C" fn(Handle);
type Close = unsafe extern "C" fn(Handle, OnClose);

/// The functions of libuv that are needed.
struct Uv {
    handle_size: HandleSize,
    handle_set_data: SetData,
    handle_get_data: GetData,
    poll_init: PollInit,
    poll_start: PollStart,
    unref: Unref,
    close: Close,
}

/// Every library that is loaded, as `dlfcn.h` of Apple's systems has it.
#[cfg(target_vendor = "apple")]
const RTLD_DEFAULT: *mut c_void = ptr::without_provenance_mut(usize::MAX - 1);
/// Every library that is loaded, as `dlfcn.h` of glibc and musl has it.
#[cfg(not(target_vendor = "apple"))]
const RTLD_DEFAULT: *mut c_void = ptr::null_mut();

unsafe extern "C" {
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

impl Uv {
    /// The functions, if the program that has loaded this one exports them.
    fn get() -> Option<&'static Self> {
        static UV: OnceLock<Option<Uv>> = OnceLock::new();
        UV.get_or_init(Self::find).as_ref()
    }

    fn find() -> Option<Self> {
        fn symbol(name: &CStr) -> Option<*mut c_void> {
            // Safety: the handle stands for every library that is loaded; the name ends with a NUL.
            let found = unsafe { dlsym(RTLD_DEFAULT, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        }
        macro_rules! function {
            ($name:literal, $signature:ty) => {
                // Safety: libuv's functions have had these signatures since version 1.19.
                unsafe { std::mem::transmute::<*mut c_void, $signature>(symbol($name)?) }
            };
        }
        Some(Self {
            handle_size: function!(c"uv_handle_size", HandleSize),
            handle_set_data: function!(c"uv_handle_set_data", SetData),
            handle_get_data: function!(c"uv_handle_get_data", GetData),
            poll_init: function!(c"uv_poll_init", PollInit),
            poll_start: function!(c"uv_poll_start", PollStart),
            unref: function!(c"uv_unref", Unref),
            close: function!(c"uv_close", Close),
        })
    }
}

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
    /// Set when the environment ends: it waits until every handle is closed.
    ending: Cell<sys::napi_async_cleanup_hook_handle>,
}

/// A connection whose socket is waited for.
struct Borrowed {
    /// Where libuv keeps its handle.
    _storage: Box<[u64]>,
    _socket: OwnedFd,
    loan: Loan,
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
    pub(super) fn borrow(shared: &Shared, lease: &Lease, sql: &str, manner: Manner) {
        let event_loop = LOOPS.with_borrow(|loops| loops.get(&address(shared)).map(Rc::clone));
        if let Some(event_loop) = event_loop
            && let Some((socket, loan)) = lease.lend(sql, manner)
        {
            event_loop.wait_for(socket, loan);
        }
    }

    fn wait_for(self: Rc<Self>, socket: OwnedFd, loan: Loan) {
        let (uv, uv_loop) = (self.uv, self.uv_loop);
        let fd = socket.as_raw_fd();
        // Safety: the size is that of the handle, whose storage is aligned for pointers, and lives until the handle is closed.
        unsafe {
            let words = (uv.handle_size)(UV_POLL).div_ceil(size_of::<u64>());
            let mut storage = vec![0_u64; words].into_boxed_slice();
            let handle: Handle = storage.as_mut_ptr().cast();
            if (uv.poll_init)(uv_loop, handle, fd) != 0 {
                loan.give_back();
                return;
            }
            let event_loop = Rc::clone(&self);
            let borrowed = Box::new(Borrowed {
                _storage: storage,
                _socket: socket,
                loan,
                event_loop,
            });
            self.open.borrow_mut().insert(handle, false);
            let borrowed = Box::into_raw(borrowed);
            (uv.handle_set_data)(handle, borrowed.cast());
            (uv.unref)(handle);
            if (uv.poll_start)(handle, UV_READABLE, on_readable) != 0 {
                (*borrowed).loan.give_back();
                self.close(handle);
            }
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
        let taken = contained("a wake", || self.shared.take()).unwrap_or_default();
        if taken.is_empty() {
            return;
        }
        let mut scope = ptr::null_mut();
        // Safety: this is the thread of the environment, which has not ended, since its end closes the handles first. The numbers are
        // written before the call reads them, on this thread.
        unsafe {
            if sys::napi_open_handle_scope(self.env, &raw mut scope) != sys::Status::napi_ok {
                return;
            }
            let arguments = Arguments::of(taken, self.env, &mut *self.numbers).into_vec(self.env);
            if let Ok(arguments) = arguments {
                self.call(&arguments);
            }
            sys::napi_close_handle_scope(self.env, scope);
        }
    }

    unsafe fn call(&self, arguments: &[sys::napi_value]) {
        let (mut wake, mut global) = (ptr::null_mut(), ptr::null_mut());
        // Safety: as `settle` says.
        unsafe {
            sys::napi_get_reference_value(self.env, self.wake, &raw mut wake);
            sys::napi_get_global(self.env, &raw mut global);
            let status = sys::napi_make_callback(
                self.env,
                self.context,
                global,
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

unsafe extern "C" fn on_readable(handle: Handle, status: c_int, _: c_int) {
    let Some(uv) = Uv::get() else { return };
    // Safety: the data is a `Borrowed` until `on_closed`.
    let borrowed = unsafe { &*(uv.handle_get_data)(handle).cast::<Borrowed>() };
    let event_loop = Rc::clone(&borrowed.event_loop);
    // JavaScript may end the environment, and with it what is borrowed: nothing of it is used behind the call.
    event_loop.turn(|| {
        let goes_on = borrowed.loan.read();
        // After an error of the socket libuv waits no longer, although what the server had sent before may still stand in it.
        if status != 0 {
            borrowed.loan.give_back();
        }
        if status != 0 || !goes_on {
            borrowed.event_loop.close(handle);
        }
    });
}

unsafe extern "C" fn on_closed(handle: Handle) {
    let Some(uv) = Uv::get() else { return };
    // Safety: the data was made by `Box::into_raw`, and this is the last use of the handle.
    let borrowed = unsafe { Box::from_raw((uv.handle_get_data)(handle).cast::<Borrowed>()) };
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
        if let Some(uv) = Uv::get() {
            // Safety: the handle is open, so its data is there.
            let borrowed = unsafe { &*(uv.handle_get_data)(handle).cast::<Borrowed>() };
            borrowed.loan.give_back();
        }
        event_loop.close(handle);
    }
    event_loop.finish();
}
