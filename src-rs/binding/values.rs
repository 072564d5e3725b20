//! Parameters in, values out.
//!
//! `src-ts/query/parameters/parameters.ts` decides what a JavaScript value means, and gives it one of the forms that [`NativeParam`]
//! reads. What [`NativeQueryOutput`] gives is read by `src-ts/query/values/reader.ts`.

pub(crate) mod lists;
pub(crate) mod output;
pub(crate) mod rest;

use std::ptr;
use std::sync::Arc;

use napi::bindgen_prelude::{
    Array, BigInt, BufferSlice, FromNapiValue, JsObjectValue as _, JsValue as _, Object,
    ToNapiValue, Unknown,
};
use napi::{Env, JsDate, Status, ValueType, check_status, sys};
use napi_derive::napi;

use super::wake::{TOO_LONG, make_string, to_js};
use pglisten_core::query::statements::{Column, Description, Manner, QueryOutput};
use pglisten_core::query::values::{Dates, Param, Tape};
use rest::NativeRest;

/// A parameter: `null`, a boolean, a number, a bigint of 64 bits, a string, a `Date`, a `Uint8Array`, an array of
/// parameters, or an object with one of
///
/// - `json`: JSON text,
/// - `integer`: a larger bigint, in decimal,
/// - `literal`: a text that the server reads, and `json`,
/// - `keys` and `values`, and `json` if there is one,
/// - `bounds`, the lower bound of each dimension, and `values`.
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
            ValueType::Object if value.is_array()? => Param::Array(read_array(&value.cast()?)?),
            ValueType::Object if value.is_buffer()? => {
                Param::Bytes(value.cast::<BufferSlice<'_>>()?.to_vec())
            }
            ValueType::Object if value.is_date()? => {
                Param::Date(value.cast::<JsDate<'_>>()?.value_of()?)
            }
            ValueType::Object => read_holder(&value.cast()?)?,
            other => return Err(unexpected(other)),
        })
    }
}

fn read_array(array: &Array<'_>) -> napi::Result<Vec<Param>> {
    // A hole reads as `undefined`, which is refused.
    (0..array.len())
        .map(|index| read(array.get_element::<Unknown<'_>>(index)?))
        .collect()
}

fn read_holder(holder: &Object<'_>) -> napi::Result<Param> {
    let json: Option<String> = holder.get("json")?;
    if let Some(text) = holder.get("literal")? {
        let json = json.ok_or_else(|| unexpected("a literal without JSON"))?;
        return Ok(Param::Literal { text, json });
    }
    let values = || -> napi::Result<Option<Vec<Param>>> {
        let values: Option<Array<'_>> = holder.get("values")?;
        values.as_ref().map(read_array).transpose()
    };
    if let Some(keys) = holder.get::<Vec<String>>("keys")? {
        let values = values()?.ok_or_else(|| unexpected("keys without values"))?;
        return Ok(Param::Fields {
            fields: keys.into_iter().zip(values).collect(),
            json,
        });
    }
    if let Some(bounds) = holder.get("bounds")? {
        let values = values()?.ok_or_else(|| unexpected("bounds without values"))?;
        return Ok(Param::Bounded(bounds, values));
    }
    if let Some(json) = json {
        Ok(Param::Json(json))
    } else if let Some(integer) = holder.get("integer")? {
        Ok(Param::HugeInt(integer))
    } else {
        Err(unexpected("an object"))
    }
}

fn unexpected(what: impl std::fmt::Display) -> napi::Error {
    napi::Error::new(
        Status::InvalidArg,
        format!("{what} is no form of a parameter"),
    )
}

/// How a statement is run: bits of which the lowest two tell how dates are read (0 milliseconds, 1 text, 2 ISO 8601), and the
/// third one that the statement has no name. Mirrored in `src-ts/options/types.ts`.
pub(crate) fn manner(bits: u32) -> Manner {
    Manner {
        dates: match bits & 3 {
            0 => Dates::Milliseconds,
            1 => Dates::Text,
            _ => Dates::Iso,
        },
        is_unnamed: bits & 4 != 0,
    }
}

/// A column of a result.
#[napi(object, object_from_js = false)]
pub struct NativeColumn {
    pub name: String,
    pub type_name: String,
    pub oid: u32,
    /// How its values are read, as JSON.
    pub shape: String,
}

impl From<&Column> for NativeColumn {
    fn from(column: &Column) -> Self {
        Self {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            oid: column.oid,
            shape: column.shape.clone(),
        }
    }
}

pub(crate) fn native_columns(columns: &[Column]) -> Vec<NativeColumn> {
    columns.iter().map(Into::into).collect()
}

/// The type of a parameter.
#[napi(object, object_from_js = false)]
pub struct NativeParameterType {
    pub type_name: String,
    pub oid: u32,
}

/// What a statement takes and gives.
#[napi(object, object_from_js = false)]
pub struct NativeDescription {
    pub parameters: Vec<NativeParameterType>,
    pub columns: Vec<NativeColumn>,
    /// The oid of the table of each column; 0 for an expression.
    pub table_oids: Vec<u32>,
    /// The number of each column in its table, from 1 on; 0 for an expression.
    pub column_numbers: Vec<i32>,
    pub returns_rows: bool,
}

impl From<Description> for NativeDescription {
    fn from(description: Description) -> Self {
        let params = description.params.into_iter();
        let origins = &description.origins;
        Self {
            parameters: params
                .map(|(type_name, oid)| NativeParameterType { type_name, oid })
                .collect(),
            columns: native_columns(&description.columns),
            table_oids: origins.iter().map(|it| it.table_oid).collect(),
            column_numbers: origins.iter().map(|it| it.column_number.into()).collect(),
            returns_rows: description.returns_rows,
        }
    }
}

/// The result of one statement, which `values/output.rs` makes.
#[napi(
    object,
    object_from_js = false,
    object_to_js = false,
    use_nullable = true
)]
pub struct NativeQueryOutput {
    #[napi(ts_type = "Array<NativeColumn>")]
    pub columns: NativeColumns,
    /// Whether the statement returns rows, of which each may have no column.
    pub returns_rows: bool,
    /// How many rows were returned, or affected.
    pub row_count: f64,
    /// Whether there are more rows.
    pub is_suspended: bool,
    /// The rows that follow, of a large result.
    pub rest: Option<NativeRest>,
    /// One character for each value: code 0 for null, 1 for a value, 2 for a value in another form.
    #[napi(ts_type = "string")]
    pub flags: NativeFlags,
    #[napi(ts_type = "ArrayLike<number>")]
    pub numbers: NativeNumbers,
    #[napi(ts_type = "ArrayLike<bigint>")]
    pub integers: NativeIntegers,
    #[napi(ts_type = "Array<string>")]
    pub texts: NativeTexts,
    #[napi(ts_type = "Uint8Array")]
    pub bytes: NativeBytes,
}

impl From<QueryOutput> for NativeQueryOutput {
    fn from(output: QueryOutput) -> Self {
        Self::part(output, None)
    }
}

impl NativeQueryOutput {
    /// A part of a result, and what follows.
    pub(crate) fn part(output: QueryOutput, rest: Option<NativeRest>) -> Self {
        let tape = Arc::new(output.tape);
        Self {
            columns: NativeColumns(output.columns),
            returns_rows: output.returns_rows,
            row_count: output.row_count as f64,
            is_suspended: output.is_suspended,
            rest,
            flags: NativeFlags(Arc::clone(&tape)),
            numbers: NativeNumbers(Arc::clone(&tape)),
            integers: NativeIntegers(Arc::clone(&tape)),
            texts: NativeTexts(Arc::clone(&tape)),
            bytes: NativeBytes(tape),
        }
    }
}

pub struct NativeColumns(pub(super) Arc<[Column]>);

/// The flags of a tape, as a string: that is made in one step, and read as fast as an array.
pub struct NativeFlags(Arc<Tape>);

impl ToNapiValue for NativeFlags {
    unsafe fn to_napi_value(env: sys::napi_env, Self(tape): Self) -> napi::Result<sys::napi_value> {
        make_string(env, &tape.flags, true)
    }
}

/// Up to so many numbers are given as an array, which costs less to make than a typed one.
const FEW: usize = 8;

pub struct NativeNumbers(Arc<Tape>);

impl ToNapiValue for NativeNumbers {
    unsafe fn to_napi_value(env: sys::napi_env, Self(tape): Self) -> napi::Result<sys::napi_value> {
        if tape.numbers.is_empty() {
            return to_js(env, ());
        }
        // Safety: `env` is valid by contract, and a double has eight bytes.
        unsafe {
            if tape.numbers.len() <= FEW {
                let few = tape.numbers.iter();
                return array(env, few.map(|number| f64::to_napi_value(env, *number)));
            }
            typed_array(env, sys::TypedarrayType::float64_array, &tape.numbers)
        }
    }
}

pub struct NativeIntegers(Arc<Tape>);

impl ToNapiValue for NativeIntegers {
    unsafe fn to_napi_value(env: sys::napi_env, Self(tape): Self) -> napi::Result<sys::napi_value> {
        if tape.integers.is_empty() {
            return to_js(env, ());
        }
        // Safety: `env` is valid by contract, and an integer has eight bytes.
        unsafe {
            if tape.integers.len() <= FEW {
                let few = tape.integers.iter();
                return array(env, few.map(|it| BigInt::to_napi_value(env, (*it).into())));
            }
            typed_array(env, sys::TypedarrayType::bigint64_array, &tape.integers)
        }
    }
}

pub struct NativeBytes(Arc<Tape>);

impl ToNapiValue for NativeBytes {
    unsafe fn to_napi_value(env: sys::napi_env, Self(tape): Self) -> napi::Result<sys::napi_value> {
        if tape.bytes.is_empty() {
            return to_js(env, ());
        }
        Ok(BufferSlice::copy_from(&Env::from_raw(env), &tape.bytes)?.raw())
    }
}

pub struct NativeTexts(Arc<Tape>);

impl ToNapiValue for NativeTexts {
    unsafe fn to_napi_value(env: sys::napi_env, Self(tape): Self) -> napi::Result<sys::napi_value> {
        if tape.texts.is_empty() {
            return to_js(env, ());
        }
        let texts = tape.texts.iter().map(|text| {
            let made = make_string(env, text.as_bytes(), text.is_ascii());
            made.map_err(|_| too_long(text.len()))
        });
        if texts.len() <= FEW {
            // Safety: `env` is valid by contract.
            return unsafe { array(env, texts) };
        }
        let texts = texts.collect::<napi::Result<Vec<_>>>()?;
        output::gathered(env, &texts)
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

unsafe fn array(
    env: sys::napi_env,
    values: impl ExactSizeIterator<Item = napi::Result<sys::napi_value>>,
) -> napi::Result<sys::napi_value> {
    let mut array = ptr::null_mut();
    // Safety: `env` is valid by contract, and what is written lives in its current handle scope.
    unsafe {
        let made = sys::napi_create_array_with_length(env, values.len(), &raw mut array);
        check_status!(made)?;
        for (index, value) in (0_u32..).zip(values) {
            check_status!(sys::napi_set_element(env, array, index, value?))?;
        }
    }
    Ok(array)
}

/// A typed array with a copy of numbers of eight bytes.
unsafe fn typed_array<T: Copy>(
    env: sys::napi_env,
    kind: sys::napi_typedarray_type,
    values: &[T],
) -> napi::Result<sys::napi_value> {
    let mut buffer = ptr::null_mut();
    let mut data = ptr::null_mut();
    let mut array = ptr::null_mut();
    let bytes = size_of_val(values);
    // Safety: `env` is valid by contract, and the engine's memory has room for as many bytes as were asked for.
    unsafe {
        let made = sys::napi_create_arraybuffer(env, bytes, &raw mut data, &raw mut buffer);
        check_status!(made)?;
        ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), data.cast::<u8>(), bytes);
        check_status!(sys::napi_create_typedarray(
            env,
            kind,
            values.len(),
            buffer,
            0,
            &raw mut array
        ))?;
    }
    Ok(array)
}
