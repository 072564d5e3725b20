//! Makes the JavaScript objects of results.
//!
//! Functions of the facade's make them: to call one once costs less than to set ten properties by their names, or the elements of an
//! array one by one. The columns of a statement are made once for all of its results.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Weak};

use napi::bindgen_prelude::ToNapiValue;
use napi::{check_status, sys};
use pglisten_core::query::statements::Column;

use super::{NativeColumns, NativeQueryOutput, native_columns};
use crate::binding::wake::to_js;

/// So many values are arguments of one call. They lie on the stack, which has room for some 100,000.
const MOST_ARGUMENTS: usize = 4096;

/// So many columns of statements are kept.
const MOST_KEPT: usize = 512;

thread_local! {
    /// The makers of this thread's environments, by the address of each.
    static MAKERS: RefCell<HashMap<usize, Maker>> = RefCell::default();
}

struct Maker {
    /// The function of the facade's that makes a result.
    make: sys::napi_ref,
    /// The function of the facade's that makes an array of its arguments.
    gather: sys::napi_ref,
    /// The columns that were made, by the address of those in Rust.
    columns: HashMap<usize, Kept>,
}

struct Kept {
    /// Whose address it is, unless they are gone and others came there.
    of: Weak<[Column]>,
    made: sys::napi_ref,
}

/// Has `make` make the results of an environment, and `gather` the arrays in them.
pub(crate) fn register(
    env: sys::napi_env,
    make: sys::napi_value,
    gather: sys::napi_value,
) -> napi::Result<()> {
    let maker = Maker {
        make: reference_to(env, make)?,
        gather: reference_to(env, gather)?,
        columns: HashMap::new(),
    };
    MAKERS.with_borrow_mut(|makers| makers.insert(env.addr(), maker));
    Ok(())
}

/// Forgets an environment that ends. Its references end with it.
pub(crate) fn forget(env: sys::napi_env) {
    MAKERS.with_borrow_mut(|makers| makers.remove(&env.addr()));
}

impl ToNapiValue for NativeColumns {
    unsafe fn to_napi_value(
        env: sys::napi_env,
        Self(columns): Self,
    ) -> napi::Result<sys::napi_value> {
        let key = columns.as_ptr().addr();
        MAKERS.with_borrow_mut(|makers| {
            let Some(maker) = makers.get_mut(&env.addr()) else {
                return to_js(env, native_columns(&columns));
            };
            let kept = maker.columns.get(&key);
            if let Some(kept) = kept.filter(|kept| {
                ptr::addr_eq(kept.of.as_ptr(), Arc::as_ptr(&columns)) && kept.of.strong_count() > 0
            }) {
                return value_of(env, kept.made);
            }
            let made = to_js(env, native_columns(&columns))?;
            // Safety: the environment is that of the present call, and the references are its own.
            unsafe {
                if maker.columns.len() >= MOST_KEPT {
                    for (_, kept) in maker.columns.drain() {
                        sys::napi_delete_reference(env, kept.made);
                    }
                }
                let kept = Kept {
                    of: Arc::downgrade(&columns),
                    made: reference_to(env, made)?,
                };
                if let Some(before) = maker.columns.insert(key, kept) {
                    sys::napi_delete_reference(env, before.made);
                }
            }
            Ok(made)
        })
    }
}

impl ToNapiValue for NativeQueryOutput {
    unsafe fn to_napi_value(env: sys::napi_env, output: Self) -> napi::Result<sys::napi_value> {
        let maker = MAKERS.with_borrow(|makers| makers.get(&env.addr()).map(|maker| maker.make));
        let arguments = [
            to_js(env, output.columns)?,
            to_js(env, output.returns_rows)?,
            to_js(env, output.row_count)?,
            to_js(env, output.is_suspended)?,
            to_js(env, output.rest)?,
            to_js(env, output.flags)?,
            to_js(env, output.numbers)?,
            to_js(env, output.integers)?,
            to_js(env, output.texts)?,
            to_js(env, output.bytes)?,
        ];
        call(env, maker, &arguments)
    }
}

/// An array of values. Of many values it is an array of arrays of values, which the facade puts together.
pub(super) fn gathered(
    env: sys::napi_env,
    values: &[sys::napi_value],
) -> napi::Result<sys::napi_value> {
    let gather = MAKERS.with_borrow(|makers| makers.get(&env.addr()).map(|maker| maker.gather));
    if values.len() <= MOST_ARGUMENTS {
        return call(env, gather, values);
    }
    let parts = values.chunks(MOST_ARGUMENTS);
    let parts = parts
        .map(|part| call(env, gather, part))
        .collect::<napi::Result<Vec<_>>>()?;
    gathered(env, &parts)
}

/// Calls a function of the facade's.
fn call(
    env: sys::napi_env,
    function: Option<sys::napi_ref>,
    arguments: &[sys::napi_value],
) -> napi::Result<sys::napi_value> {
    let function = value_of(env, function.unwrap_or(ptr::null_mut()))?;
    let this = to_js(env, ())?;
    let mut made = ptr::null_mut();
    // Safety: the environment is that of the present call, in whose scope the values live.
    check_status!(unsafe {
        sys::napi_call_function(
            env,
            this,
            function,
            arguments.len(),
            arguments.as_ptr(),
            &raw mut made,
        )
    })?;
    Ok(made)
}

fn reference_to(env: sys::napi_env, value: sys::napi_value) -> napi::Result<sys::napi_ref> {
    let mut reference = ptr::null_mut();
    // Safety: the environment is that of the present call, in whose scope the value lives.
    check_status!(unsafe { sys::napi_create_reference(env, value, 1, &raw mut reference) })?;
    Ok(reference)
}

fn value_of(env: sys::napi_env, reference: sys::napi_ref) -> napi::Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    // Safety: the reference is of this environment; a null one is an error.
    check_status!(unsafe { sys::napi_get_reference_value(env, reference, &raw mut value) })?;
    Ok(value)
}
