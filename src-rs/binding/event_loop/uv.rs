//! The functions of libuv that are needed, and where its handles are kept.
//!
//! Node.js exports the functions (<https://docs.libuv.org/en/v1.x/api.html>); other engines have none, or not all of them.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

/// `UV_POLL` of `uv_handle_type`.
pub(super) const UV_POLL: c_int = 8;
/// `UV_TIMER` of `uv_handle_type`.
pub(super) const UV_TIMER: c_int = 13;
/// `UV_READABLE` of `uv_poll_event`.
pub(super) const UV_READABLE: c_int = 1;

/// A handle of libuv.
pub(super) type Handle = *mut c_void;
type OnPoll = unsafe extern "C" fn(Handle, c_int, c_int);
type OnClose = unsafe extern "C" fn(Handle);
type OnTimer = unsafe extern "C" fn(Handle);

type HandleSize = unsafe extern "C" fn(c_int) -> usize;
type SetData = unsafe extern "C" fn(Handle, *mut c_void);
type GetData = unsafe extern "C" fn(Handle) -> *mut c_void;
type PollInit = unsafe extern "C" fn(*mut c_void, Handle, c_int) -> c_int;
type PollStart = unsafe extern "C" fn(Handle, c_int, OnPoll) -> c_int;
type PollStop = unsafe extern "C" fn(Handle) -> c_int;
type TimerInit = unsafe extern "C" fn(*mut c_void, Handle) -> c_int;
type TimerStart = unsafe extern "C" fn(Handle, OnTimer, u64, u64) -> c_int;
type Now = unsafe extern "C" fn(*mut c_void) -> u64;
type Unref = unsafe extern "C" fn(Handle);
type Close = unsafe extern "C" fn(Handle, OnClose);

/// The functions of libuv that are needed.
pub(super) struct Uv {
    pub(super) handle_size: HandleSize,
    pub(super) handle_set_data: SetData,
    pub(super) handle_get_data: GetData,
    pub(super) poll_init: PollInit,
    pub(super) poll_start: PollStart,
    pub(super) poll_stop: PollStop,
    pub(super) timer_init: TimerInit,
    pub(super) timer_start: TimerStart,
    pub(super) now: Now,
    pub(super) unref: Unref,
    pub(super) close: Close,
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
    pub(super) fn get() -> Option<&'static Self> {
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
            poll_stop: function!(c"uv_poll_stop", PollStop),
            timer_init: function!(c"uv_timer_init", TimerInit),
            timer_start: function!(c"uv_timer_start", TimerStart),
            now: function!(c"uv_now", Now),
            unref: function!(c"uv_unref", Unref),
            close: function!(c"uv_close", Close),
        })
    }
}

/// Where libuv keeps a handle: aligned for pointers, and there until the handle is closed.
pub(super) struct Storage(UnsafeCell<Box<[u64]>>);

impl Storage {
    pub(super) fn new(uv: &Uv, kind: c_int) -> Self {
        // Safety: the function only looks the size up.
        let size = unsafe { (uv.handle_size)(kind) };
        Self(UnsafeCell::new(
            vec![0; size.div_ceil(size_of::<u64>())].into_boxed_slice(),
        ))
    }

    pub(super) fn handle(&self) -> Handle {
        // Safety: nobody but libuv has a reference into the box, which is not moved or dropped by this.
        unsafe { (*self.0.get()).as_mut_ptr().cast() }
    }
}
