//! Parameters in, values out.
//!
//! `src-ts/query/parameters.ts` decides what a JavaScript value means, and gives it one of the forms that [`NativeParam`]
//! reads.

use std::ptr;

use napi::bindgen_prelude::{
    Array, BigInt, BufferSlice, FromNapiValue, JsObjectValue as _, JsValue as _, Null, Object,
    ToNapiValue, Unknown, i64n,
};
use napi::{Env, JsDate, Status, ValueType, check_status, sys};
use napi_derive::napi;

use super::wake::TOO_LONG;
use pglisten_core::query::statements::{Column, Form, QueryOutput};
use pglisten_core::query::values::{Param, Value};

/// A parameter: `null`, a boolean, a number, a bigint of 64 bits, a string, a `Date`, a `Uint8Array`, an array of
/// parameters, or an object with either `json` (JSON text) or `integer` (a larger bigint, in decimal).
pub struct NativeParam(pub(crate) Param);

impl NativeParam {
    pub(crate) fn into_params(params: Vec<Self>) -> Vec<Param> {
        params.into_iter().map(|param| param.0).collect()
    }
}

impl FromNapiValue for NativeParam {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // Safety: the value is one of this call's arguments, or a part of one.
        read(unsafe { Unknown::from_napi_value(env, value)? }).map(Self)
    }
}

fn read(value: Unknown<'_>) -> napi::Result<Param> {
    // Safety: each conversion is to the type that was just asked for.
    unsafe {
        Ok(match value.get_type()? {
            ValueType::Null => Param::Null,
            ValueType::Boolean => Param::Bool(value.cast()?),
            ValueType::Number => Param::Number(value.cast()?),
            ValueType::BigInt => match value.cast::<BigInt>()?.get_i64() {
                (integer, true) => Param::BigInt(integer),
                _ => return Err(unexpected("a bigint beyond 64 bits")),
            },
            ValueType::String => Param::Text(value.cast()?),
            ValueType::Object if value.is_array()? => {
                let array: Array<'_> = value.cast()?;
                let mut params = Vec::with_capacity(array.len() as usize);
                for index in 0..array.len() {
                    // A hole reads as `undefined`, which is refused below.
                    let element = array.get_element::<Unknown<'_>>(index)?;
                    params.push(read(element)?);
                }
                Param::Array(params)
            }
            ValueType::Object if value.is_buffer()? => {
                Param::Bytes(value.cast::<BufferSlice<'_>>()?.to_vec())
            }
            ValueType::Object if value.is_date()? => {
                Param::Date(value.cast::<JsDate<'_>>()?.value_of()?)
            }
            ValueType::Object => {
                let holder: Object<'_> = value.cast()?;
                if let Some(json) = holder.get("json")? {
                    Param::Json(json)
                } else if let Some(integer) = holder.get("integer")? {
                    Param::HugeInt(integer)
                } else {
                    return Err(unexpected("an object"));
                }
            }
            other => return Err(unexpected(other)),
        })
    }
}

/// A string fails to be made by its length alone. The limit is the engine's.
fn too_long(length: usize) -> napi::Error {
    napi::Error::new(
        TOO_LONG,
        format!(
            "A text of {length} bytes is longer than a string of JavaScript can be (536870888 on Node.js): read it in parts, with \
             `substr()`"
        ),
    )
}

fn unexpected(what: impl std::fmt::Display) -> napi::Error {
    napi::Error::new(
        Status::InvalidArg,
        format!("{what} is no form of a parameter"),
    )
}

/// A column of a result.
#[napi(object, object_from_js = false)]
pub struct NativeColumn {
    pub name: String,
    pub type_name: String,
    pub oid: u32,
    /// What its values, or the elements of its arrays, stand for. JavaScript makes the final objects, because those that
    /// are made here belong to the main context, which is not that of code in a `vm` context.
    #[napi(ts_type = "`${NativeForm}`")]
    pub form: NativeForm,
    /// Whether its values are arrays.
    pub is_array: bool,
}

/// What a value stands for.
#[napi(string_enum = "camelCase")]
pub enum NativeForm {
    /// The value itself.
    Plain,
    /// A string is JSON text.
    Json,
    /// A number is a moment, in milliseconds from 1970-01-01 UTC.
    Date,
}

impl From<Form> for NativeForm {
    fn from(form: Form) -> Self {
        match form {
            Form::Plain => Self::Plain,
            Form::Json => Self::Json,
            Form::Date => Self::Date,
        }
    }
}

impl From<Column> for NativeColumn {
    fn from(column: Column) -> Self {
        Self {
            name: column.name,
            type_name: column.type_name,
            oid: column.oid,
            form: column.form.into(),
            is_array: column.is_array,
        }
    }
}

/// The result of one statement.
#[napi(object, object_from_js = false)]
pub struct NativeQueryOutput {
    pub columns: Vec<NativeColumn>,
    /// The values of all rows, row after row.
    #[napi(ts_type = "Array<unknown>")]
    pub values: NativeValues,
    pub row_count: f64,
}

impl From<QueryOutput> for NativeQueryOutput {
    fn from(output: QueryOutput) -> Self {
        Self {
            columns: output.columns.into_iter().map(Into::into).collect(),
            values: NativeValues(output.values),
            row_count: output.row_count as f64,
        }
    }
}

/// Values, converted when they reach the JavaScript thread.
pub struct NativeValues(Vec<Value>);

impl ToNapiValue for NativeValues {
    unsafe fn to_napi_value(env: sys::napi_env, values: Self) -> napi::Result<sys::napi_value> {
        // Safety: the environment is that of the running call.
        unsafe { write_array(env, values.0) }
    }
}

unsafe fn write_array(env: sys::napi_env, values: Vec<Value>) -> napi::Result<sys::napi_value> {
    let mut array = ptr::null_mut();
    // Safety: `env` is valid by contract, and what is written lives in its current handle scope.
    unsafe {
        check_status!(sys::napi_create_array_with_length(
            env,
            values.len(),
            &raw mut array
        ))?;
        for (index, value) in (0_u32..).zip(values) {
            let value = write(env, value)?;
            check_status!(sys::napi_set_element(env, array, index, value))?;
        }
    }
    Ok(array)
}

unsafe fn write(env: sys::napi_env, value: Value) -> napi::Result<sys::napi_value> {
    // Safety: `env` is valid by contract, and what is written lives in its current handle scope.
    unsafe {
        match value {
            Value::Null => Null::to_napi_value(env, Null),
            Value::Bool(value) => bool::to_napi_value(env, value),
            Value::Int(value) => i32::to_napi_value(env, value),
            Value::BigInt(value) => i64n::to_napi_value(env, i64n(value)),
            // A date as its milliseconds.
            Value::Float(value) | Value::Date(value) => f64::to_napi_value(env, value),
            Value::Text(value) => {
                let length = value.len();
                String::to_napi_value(env, value).map_err(|_| too_long(length))
            }
            Value::Bytes(value) => Ok(BufferSlice::copy_from(&Env::from_raw(env), value)?.raw()),
            Value::Array(values) => write_array(env, values),
        }
    }
}
