//! What a wake brings to JavaScript: the values as the arguments of one call, and the numbers in an array that both sides hold.
//!
//! Made on the JavaScript thread. If JavaScript had to call back for a lone notification, that would cost as much as the wake.

use std::ptr;
use std::sync::Weak;

use napi::bindgen_prelude::{JsValuesTupleIntoVec, ToNapiValue};
use napi::{Status, check_status, sys};

use super::error::NativeError;
use pglisten_core::base::error::{Error, ErrorKind, Result};
use pglisten_core::base::panic::contained;
use pglisten_core::fail_point;

/// The numbers of an entry: its kind, its id, and two that tell what is handed over.
const NUMBERS: usize = 4;

/// The status of a result that no value of JavaScript can hold, whose reason says so.
pub(crate) const TOO_LONG: Status = Status::StringExpected;

/// A value on its way to JavaScript. Converted on the JavaScript thread.
pub(crate) trait IntoJs: Send {
    /// Makes the JavaScript value.
    fn into_js(self: Box<Self>, env: sys::napi_env) -> napi::Result<sys::napi_value>;
}

impl<T: ToNapiValue + Send> IntoJs for T {
    fn into_js(self: Box<Self>, env: sys::napi_env) -> napi::Result<sys::napi_value> {
        // Safety: called from ``Arguments::of``, with the environment that is being called.
        unsafe { T::to_napi_value(env, *self) }
    }
}

/// What a promise is settled with.
pub(crate) type Outcome = std::result::Result<Box<dyn IntoJs>, Box<Error>>;

/// What is ready for JavaScript.
pub(crate) enum Ready {
    /// A promise can be settled.
    Settled {
        id: u32,
        /// The error is boxed, since all entries are as large as the largest, and there may be thousands.
        outcome: Outcome,
    },
    /// Somebody has something to take.
    Signal(u32),
    /// A consumer has something to drain, or to be handed.
    Notified {
        id: u32,
        receiver: Weak<dyn Receiver>,
    },
}

/// A consumer whose lone notification can come with its signal.
pub(crate) trait Receiver: Send + Sync {
    /// The notification, if it is the only one and the consumer waits for it. `None`: the consumer has to drain.
    fn hand_over(&self, env: sys::napi_env, payloads: &mut Payloads) -> Option<Handed>;
}

/// A notification that is handed over.
pub(crate) struct Handed {
    /// The number that the facade gave the channel.
    pub(crate) channel: u32,
    pub(crate) process_id: i32,
    pub(crate) payload: sys::napi_value,
}

/// Makes the strings of payloads: of equal ones in a row only one, since many consumers may be handed the same notification.
#[derive(Default)]
pub(crate) struct Payloads {
    last: Option<(Vec<u8>, sys::napi_value)>,
}

impl Payloads {
    pub(crate) fn string(
        &mut self,
        env: sys::napi_env,
        payload: &[u8],
        is_ascii: bool,
    ) -> napi::Result<sys::napi_value> {
        match &mut self.last {
            Some((bytes, string)) if bytes == payload => Ok(*string),
            Some((bytes, string)) => {
                *string = make_string(env, payload, is_ascii)?;
                bytes.clear();
                bytes.extend_from_slice(payload);
                Ok(*string)
            }
            none => {
                let string = make_string(env, payload, is_ascii)?;
                *none = Some((payload.to_vec(), string));
                Ok(string)
            }
        }
    }
}

/// How an entry is to be read. Mirrored in `src-ts/native/bridge.ts`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum ReadyKind {
    Resolved = 0,
    Rejected = 1,
    Signal = 2,
    Handed = 3,
}

/// The values of a wake.
pub(crate) struct Arguments(Vec<sys::napi_value>);

impl JsValuesTupleIntoVec for Arguments {
    fn into_vec(self, _: sys::napi_env) -> napi::Result<Vec<sys::napi_value>> {
        Ok(self.0)
    }
}

impl Arguments {
    /// An error here would be an uncaught exception, and a panic would end the process. So a promise whose outcome cannot be
    /// converted is rejected, and what cannot even be told is left out.
    pub(crate) fn of(taken: Vec<Ready>, env: sys::napi_env, numbers: &mut [u32]) -> Self {
        let mut values = Vec::with_capacity(taken.len());
        let mut places = numbers.chunks_exact_mut(NUMBERS);
        let mut payloads = Payloads::default();
        for entry in taken {
            let promise = entry.promise();
            let told = contained("an entry of a wake", || {
                fail_point!("entry");
                entry.into_js(env, &mut payloads)
            });
            let why = match told {
                Ok(Ok(entry)) => {
                    entry.add(&mut values, places.next());
                    continue;
                }
                Ok(Err(error)) => unconverted(&error),
                Err(panicked) => panicked,
            };
            let rejected =
                promise.map(|id| contained("an entry of a wake", || Entry::rejected(env, id, why)));
            if let Some(Ok(Ok(entry))) = rejected {
                entry.add(&mut values, places.next());
            }
        }
        Self(values)
    }
}

/// An entry as JavaScript gets it.
struct Entry {
    numbers: [u32; NUMBERS],
    value: sys::napi_value,
}

impl Entry {
    fn rejected(env: sys::napi_env, id: u32, why: Error) -> napi::Result<Self> {
        Ok(Self {
            numbers: [ReadyKind::Rejected as u32, id, 0, 0],
            value: to_js(env, NativeError::from(why))?,
        })
    }

    fn add(self, values: &mut Vec<sys::napi_value>, place: Option<&mut [u32]>) {
        // There is a place for each: no more are taken at once.
        if let Some(place) = place {
            place.copy_from_slice(&self.numbers);
            values.push(self.value);
        }
    }
}

impl Ready {
    /// The promise that it settles.
    fn promise(&self) -> Option<u32> {
        match self {
            Self::Settled { id, .. } => Some(*id),
            Self::Signal(_) | Self::Notified { .. } => None,
        }
    }

    fn into_js(self, env: sys::napi_env, payloads: &mut Payloads) -> napi::Result<Entry> {
        let (id, receiver) = match self {
            Self::Settled { id, outcome } => {
                return match convert(env, outcome) {
                    Ok(value) => Ok(Entry {
                        numbers: [ReadyKind::Resolved as u32, id, 0, 0],
                        value,
                    }),
                    Err(error) => Entry::rejected(env, id, error),
                };
            }
            Self::Signal(id) => (id, None),
            Self::Notified { id, receiver } => (id, receiver.upgrade()),
        };
        match receiver.and_then(|it| it.hand_over(env, payloads)) {
            Some(Handed {
                channel,
                process_id,
                payload,
            }) => Ok(Entry {
                numbers: [
                    ReadyKind::Handed as u32,
                    id,
                    channel,
                    process_id.cast_unsigned(),
                ],
                value: payload,
            }),
            None => Ok(Entry {
                numbers: [ReadyKind::Signal as u32, id, 0, 0],
                value: to_js(env, ())?,
            }),
        }
    }
}

fn convert(env: sys::napi_env, outcome: Outcome) -> Result<sys::napi_value> {
    let value = outcome.map_err(|error| *error)?;
    let converted = contained("converting a result", || {
        fail_point!("result");
        value.into_js(env)
    })?;
    converted.map_err(|error| unconverted(&error))
}

fn unconverted(error: &napi::Error) -> Error {
    if error.status == TOO_LONG {
        return Error::new(ErrorKind::Execute, error.reason.clone());
    }
    Error::new(
        ErrorKind::Internal,
        format!("a result could not be converted: {error}"),
    )
}

/// Makes the string of a payload.
pub(crate) fn make_string(
    env: sys::napi_env,
    text: &[u8],
    is_ascii: bool,
) -> napi::Result<sys::napi_value> {
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

/// A value in the current call of the environment.
pub(crate) fn to_js<T: ToNapiValue>(env: sys::napi_env, value: T) -> napi::Result<sys::napi_value> {
    // Safety: `env` is the environment of the current call.
    unsafe { T::to_napi_value(env, value) }
}
