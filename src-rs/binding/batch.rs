//! A batch of a consumer's entries as JavaScript gets it: flat, so that it costs little to make.
//!
//! ```text
//! numbers │ channel × room │ process id × room │ totals │
//! values  │ payload  payload  Gap  payload …
//! ```
//!
//! `numbers` is an array that both sides hold. Each entry has two numbers, in two columns: the number of its channel, and the process id
//! of its sender. A channel of [`SPECIAL`] marks an entry that is no notification; its process id then tells its kind.
//! Mirrored in `src-ts/deliver/batch.ts`.

use std::cell::RefCell;
use std::ptr;
use std::time::SystemTime;

use napi::bindgen_prelude::{Env, Function, FunctionRef, ToNapiValue, Uint32Array};
use napi::{JsValue as _, Status, check_status, sys};
use napi_derive::napi;

use super::error::{NativeError, in_facade_words};
use super::wake::{make_string, to_js};
use pglisten_core::base::Moment;
use pglisten_core::base::panic::contained;
use pglisten_core::deliver::buffer::{Drained, End, Entry, Lost, Notification, Subscriber};
use pglisten_core::deliver::gap::{Gap, GapReason};
use pglisten_core::fail_point;

/// So many notifications at once are no flood.
const FEW: u64 = 64;

/// No channel has this number.
const SPECIAL: u32 = u32::MAX;

/// The kind of an entry that is marked as [`SPECIAL`]; each says what its value is.
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

/// The reason of a gap.
#[napi(string_enum = "camelCase")]
#[derive(Debug)]
pub enum NativeGapReason {
    Disconnect,
    Overflow,
    Decode,
}

impl From<GapReason> for NativeGapReason {
    fn from(reason: GapReason) -> Self {
        match reason {
            GapReason::Disconnect => Self::Disconnect,
            GapReason::Overflow => Self::Overflow,
            GapReason::Decode => Self::Decode,
        }
    }
}

/// A break in the stream.
#[napi(object, object_from_js = false)]
pub struct NativeGap {
    /// `disconnect`, `overflow` or `decode`.
    #[napi(ts_type = "`${NativeGapReason}`")]
    pub reason: NativeGapReason,
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
    pub merged: u32,
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
            reason: gap.reason.into(),
            lost_at_ms: milliseconds(gap.lost_at),
            resumed_at_ms: milliseconds(gap.resumed_at),
            dropped: gap.dropped.map(|dropped| dropped as f64),
            sql_state: gap.sql_state,
            message: in_facade_words(&gap.message),
            attempts: gap.attempts,
            server_restarted: gap.server_restarted,
            old_process_id: gap.old_process_id,
            new_process_id: gap.new_process_id,
            merged: gap.merged,
        }
    }
}

/// The numbers of a batch that belong to no entry.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Total {
    /// How many entries there are.
    Count = 0,
    /// How many entries are no notifications.
    Specials = 1,
    /// Whether all notifications have the same channel.
    IsSingle = 2,
    /// Whether the batch left nothing behind.
    IsEmpty = 3,
}

/// How many numbers belong to no entry.
const TOTALS: usize = 4;
/// How many numbers belong to each entry.
const NUMBERS: usize = 2;

/// A batch while it is made.
struct Batch<'drainer> {
    env: sys::napi_env,
    values: &'drainer mut Vec<sys::napi_value>,
    channels: &'drainer mut [u32],
    process_ids: &'drainer mut [u32],
    specials: u32,
    /// The channel of the first notification.
    channel: Option<u32>,
    is_single: bool,
}

impl Batch<'_> {
    fn add(&mut self, entry: Entry, payload: &[u8]) -> napi::Result<()> {
        match entry {
            Entry::Notification(notification) => self.add_notification(&notification, payload),
            Entry::Gap(gap) => {
                let gap = to_js(self.env, NativeGap::from(*gap))?;
                self.add_special(SpecialKind::Gap, gap);
                Ok(())
            }
            Entry::Fence(fence) => {
                let fence = to_js(self.env, fence)?;
                self.add_special(SpecialKind::Fence, fence);
                Ok(())
            }
        }
    }

    fn add_end(&mut self, end: End) -> napi::Result<()> {
        let error = match end {
            End::Shutdown => None,
            End::Failed(error) => Some(NativeError::from(*error)),
        };
        let error = to_js(self.env, error)?;
        self.add_special(SpecialKind::End, error);
        Ok(())
    }

    fn add_notification(
        &mut self,
        notification: &Notification,
        payload: &[u8],
    ) -> napi::Result<()> {
        let channel = notification.channel;
        self.is_single &= *self.channel.get_or_insert(channel) == channel;
        let value = make_string(self.env, payload, notification.is_ascii)?;
        self.push(channel, notification.process_id.cast_unsigned(), value);
        Ok(())
    }

    fn add_special(&mut self, kind: SpecialKind, value: sys::napi_value) {
        self.specials += 1;
        self.push(SPECIAL, kind as u32, value);
    }

    fn push(&mut self, channel: u32, process_id: u32, value: sys::napi_value) {
        let place = self.values.len();
        self.channels[place] = channel;
        self.process_ids[place] = process_id;
        self.values.push(value);
    }
}

/// Where batches come from.
pub(crate) trait Source {
    /// Takes up to `max` entries and shows each.
    fn drain(&mut self, max: usize, show: impl FnMut(Entry, &[u8])) -> Drained;
    /// What was drained could not be handed over.
    fn lose(&mut self, lost: Lost);
}

impl Source for &Subscriber {
    fn drain(&mut self, max: usize, show: impl FnMut(Entry, &[u8])) -> Drained {
        Subscriber::drain(self, max, show)
    }

    fn lose(&mut self, lost: Lost) {
        Subscriber::lose(self, lost);
    }
}

/// Makes a consumer's batches. Owned by a JavaScript closure: calling one costs a fraction of a class method with the same data
/// as arguments, and for a single notification that call is most of the cost.
pub(crate) struct Drainer {
    /// Has room for the numbers of each entry, of the end, and for the totals.
    numbers: RefCell<Uint32Array>,
    /// Makes an array of its arguments: to fill one element by element costs several times as much.
    receive: FunctionRef<(), ()>,
    /// Of the batch that is being made.
    values: RefCell<Vec<sys::napi_value>>,
}

impl Drainer {
    pub(crate) fn new(numbers: Uint32Array, receive: &Function<'_, (), ()>) -> napi::Result<Self> {
        Ok(Self {
            numbers: RefCell::new(numbers),
            receive: receive.create_ref()?,
            values: RefCell::default(),
        })
    }

    /// Drains up to `max` entries of a buffer: gives their values as an array, or the only one as it is. `few` is set to when the first notification
    /// was read, if they are few and nothing is left.
    pub(crate) fn drain(
        &self,
        source: &mut impl Source,
        env: &Env,
        max: u32,
        few: &mut Option<Moment>,
    ) -> napi::Result<Value> {
        let (Ok(mut numbers), Ok(mut values)) =
            (self.numbers.try_borrow_mut(), self.values.try_borrow_mut())
        else {
            return Err(napi::Error::new(
                Status::GenericFailure,
                "a batch is being made",
            ));
        };
        fail_point!("drain");
        // Safety: JavaScript is waiting for this call, and `receive` does not touch the array.
        let Some((numbers, totals)) = unsafe { numbers.as_mut() }.split_last_chunk_mut::<TOTALS>()
        else {
            return Err(napi::Error::new(
                Status::InvalidArg,
                "`numbers` has no room",
            ));
        };
        let room = numbers.len() / NUMBERS;
        let (channels, process_ids) = numbers.split_at_mut(room);
        values.clear();
        let mut batch = Batch {
            env: env.raw(),
            values: &mut values,
            channels,
            process_ids,
            specials: 0,
            channel: None,
            is_single: true,
        };
        // One place is kept for the end of the stream.
        let max = room.saturating_sub(1).min(max as usize);
        let mut shown = Lost::default();
        let mut made = Ok(());
        let drained = source.drain(max, |entry, payload| {
            shown.note(&entry);
            if made.is_ok() {
                // Here, so that what the batch was to hold is counted as lost.
                let added = contained("handing a notification over", || {
                    fail_point!("hand-over");
                    batch.add(entry, payload)
                });
                made = added
                    .unwrap_or_else(|panicked| Err(napi::Error::from_reason(panicked.message)));
            }
        });
        if drained.is_empty && shown.count <= FEW {
            *few = shown.first.map(|first| first.received);
        }
        let handed = made
            .and_then(|()| drained.end.map_or(Ok(()), |end| batch.add_end(end)))
            .and_then(|()| self.hand_over(env, batch.values));
        totals[Total::Count as usize] = u32::try_from(batch.values.len()).unwrap_or(u32::MAX);
        totals[Total::Specials as usize] = batch.specials;
        totals[Total::IsSingle as usize] = u32::from(batch.is_single);
        totals[Total::IsEmpty as usize] = u32::from(drained.is_empty);
        if handed.is_err() {
            source.lose(shown);
        }
        handed
    }

    /// Whether the last batch has no entry.
    pub(crate) fn found_nothing(&self) -> bool {
        self.values.try_borrow().is_ok_and(|it| it.is_empty())
    }

    fn hand_over(&self, env: &Env, values: &[sys::napi_value]) -> napi::Result<Value> {
        let mut made = ptr::null_mut();
        match values {
            [] => made = to_js(env.raw(), ())?,
            [only] => made = *only,
            // Safety: `env` is the environment of the current call, and all values were made in it.
            _ => check_status!(unsafe {
                sys::napi_call_function(
                    env.raw(),
                    to_js(env.raw(), ())?,
                    self.receive.borrow_back(env)?.raw(),
                    values.len(),
                    values.as_ptr(),
                    &raw mut made,
                )
            })?,
        }
        Ok(Value(made))
    }
}

/// A value of the current call.
pub struct Value(sys::napi_value);

impl ToNapiValue for Value {
    unsafe fn to_napi_value(_: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        Ok(value.0)
    }
}
