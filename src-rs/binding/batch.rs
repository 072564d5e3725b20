//! A batch of a consumer's entries as JavaScript gets it: flat, so that it costs little to make.
//!
//! `values[i]` is a payload, and `meta[2i]`, `meta[2i + 1]` are its channel's number and its sender's process
//! id. A `meta[2i]` of [`SPECIAL`] marks what is no notification; `meta[2i + 1]` then tells what it is. The last number
//! of `meta` tells whether the batch left nothing behind.
//! Mirrored in `src-ts/inbox.ts`.

use std::ptr;
use std::time::SystemTime;

use napi::bindgen_prelude::{Env, Function, ToNapiValue, Unknown};
use napi::{check_status, sys};
use napi_derive::napi;

use super::bridge::call;
use super::error::NativeError;
use crate::core::gap::{Gap, GapReason};
use crate::core::subscriber::{End, Entry, Subscriber};

/// No channel has this number.
const SPECIAL: u32 = u32::MAX;

/// What an entry marked as [`SPECIAL`] is, and what its value is.
#[derive(Clone, Copy)]
#[repr(u32)]
enum SpecialKind {
    /// A [`NativeGap`].
    Gap = 0,
    /// The number of a fence.
    Fence = 1,
    /// The end of the stream: a [`NativeError`], or `null` after a shutdown.
    End = 2,
}

/// A break in the stream.
#[napi(object, object_from_js = false)]
pub struct NativeGap {
    /// `disconnect`, `overflow` or `decode`.
    pub reason: &'static str,
    /// Milliseconds since 1970.
    pub lost_at_ms: f64,
    pub resumed_at_ms: f64,
    pub dropped: Option<f64>,
    pub sql_state: Option<String>,
    pub message: String,
    pub attempts: u32,
    pub server_restarted: Option<bool>,
    pub old_process_id: Option<i32>,
    pub new_process_id: Option<i32>,
}

fn milliseconds(moment: SystemTime) -> f64 {
    moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
        * 1000.0
}

impl From<Gap> for NativeGap {
    fn from(gap: Gap) -> Self {
        Self {
            reason: match gap.reason {
                GapReason::Disconnect => "disconnect",
                GapReason::Overflow => "overflow",
                GapReason::Decode => "decode",
            },
            lost_at_ms: milliseconds(gap.lost_at),
            resumed_at_ms: milliseconds(gap.resumed_at),
            dropped: gap.dropped.map(|dropped| dropped as f64),
            sql_state: gap.sql_state,
            message: gap.message,
            attempts: gap.attempts,
            server_restarted: gap.server_restarted,
            old_process_id: gap.old_process_id,
            new_process_id: gap.new_process_id,
        }
    }
}

/// A batch while it is made: the values, and what tells them apart.
struct Batch<'meta> {
    env: sys::napi_env,
    values: Vec<sys::napi_value>,
    meta: &'meta mut [u32],
}

impl Batch<'_> {
    fn add(&mut self, entry: Entry, payload: &[u8]) -> napi::Result<()> {
        let (first, second, value) = match entry {
            Entry::Notification(notification) => (
                notification.channel,
                notification.process_id.cast_unsigned(),
                string(self.env, payload, notification.is_ascii)?,
            ),
            Entry::Gap(gap) => {
                let gap = to_js(self.env, NativeGap::from(*gap))?;
                (SPECIAL, SpecialKind::Gap as u32, gap)
            }
            Entry::Fence(fence) => {
                let fence = to_js(self.env, fence)?;
                (SPECIAL, SpecialKind::Fence as u32, fence)
            }
        };
        self.push(first, second, value);
        Ok(())
    }

    fn add_end(&mut self, end: End) -> napi::Result<()> {
        let error = match end {
            End::Shutdown => None,
            End::Failed(error) => Some(NativeError::from(error)),
        };
        let error = to_js(self.env, error)?;
        self.push(SPECIAL, SpecialKind::End as u32, error);
        Ok(())
    }

    fn hand_over<'env>(
        self,
        env: &'env Env,
        is_empty: bool,
        receive: &Function<'_, Unknown<'_>, Unknown<'_>>,
    ) -> napi::Result<Unknown<'env>> {
        if let Some(last) = self.meta.last_mut() {
            *last = u32::from(is_empty);
        }
        call(env, receive, &self.values)
    }

    fn push(&mut self, first: u32, second: u32, value: sys::napi_value) {
        let place = 2 * self.values.len();
        self.meta[place] = first;
        self.meta[place + 1] = second;
        self.values.push(value);
    }
}

/// Drains up to `max` entries: calls `receive` with their values and gives what that makes of them. Writes `meta`, which
/// must have room for two numbers for each entry, two for the end, and one more.
pub(crate) fn drain<'env>(
    env: &'env Env,
    subscriber: &Subscriber,
    max: usize,
    meta: &mut [u32],
    receive: &Function<'_, Unknown<'_>, Unknown<'_>>,
) -> napi::Result<Unknown<'env>> {
    let raw = env.raw();
    let mut batch = Batch {
        env: raw,
        values: Vec::with_capacity(max + 1),
        meta,
    };
    let mut first = None;
    let mut count = 0;
    let mut made = Ok(());
    let drained = subscriber.drain(max, |entry, payload| {
        if let Entry::Notification(notification) = &entry {
            first.get_or_insert(*notification);
            count += 1;
        }
        if made.is_ok() {
            made = batch.add(entry, payload);
        }
    });
    let is_empty = drained.is_empty;
    let handed = made
        .and_then(|()| drained.end.map_or(Ok(()), |end| batch.add_end(end)))
        .and_then(|()| batch.hand_over(env, is_empty, receive));
    if let (Err(_), Some(first)) = (&handed, first) {
        subscriber.lose(&first, count);
    }
    handed
}

fn to_js<T: ToNapiValue>(env: sys::napi_env, value: T) -> napi::Result<sys::napi_value> {
    // Safety: `env` is the environment of the current call.
    unsafe { T::to_napi_value(env, value) }
}

fn string(env: sys::napi_env, text: &[u8], is_ascii: bool) -> napi::Result<sys::napi_value> {
    let create = if is_ascii {
        sys::napi_create_string_latin1
    } else {
        sys::napi_create_string_utf8
    };
    let mut value = ptr::null_mut();
    // Safety: `env` is the environment of the current call; the text has that length, and is copied.
    check_status!(unsafe {
        create(
            env,
            text.as_ptr().cast(),
            text.len().cast_signed(),
            &raw mut value,
        )
    })?;
    Ok(value)
}
