//! Lists of parameters, which cross flat: to ask Node-API for one value after the other costs several times as much as to read them.
//!
//! `src-ts/query/parameters/lists.ts` writes what is read here.

use std::ops::Range;

use napi::bindgen_prelude::{
    Array, Float64ArraySlice, FromNapiValue, JsObjectValue as _, Object, Uint8ArraySlice, Unknown,
    Utf16String,
};
use napi::sys;

use super::{read, unexpected};
use pglisten_core::query::values::Param;

/// What stands for a value, or for the end of a list. Mirrored in `src-ts/query/parameters/lists.ts`.
mod kind {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    /// The next of the numbers.
    pub(super) const NUMBER: u8 = 3;
    /// A moment: the next of the numbers.
    pub(super) const DATE: u8 = 4;
    /// As many units of the text as the next of the numbers says.
    pub(super) const TEXT: u8 = 5;
    /// The next of the values that cross as they are.
    pub(super) const OTHER: u8 = 6;
    pub(super) const END: u8 = 7;
}

/// Lists of parameters: an object with
///
/// - `kinds`, a byte for each value and for each end of a list, of which `count` are written,
/// - `numbers`: the numbers, the moments, and the lengths of texts,
/// - `text`: the texts, one after the other,
/// - `others`: values as [`NativeParam`](super::NativeParam) reads them.
pub struct NativeLists(Vec<Vec<Param>>);

impl NativeLists {
    pub(crate) fn into_lists(self) -> Vec<Vec<Param>> {
        self.0
    }
}

impl FromNapiValue for NativeLists {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // Safety: the value is one of this call's arguments. Nothing of JavaScript runs before the arrays were read.
        let object = unsafe { Object::from_napi_value(env, value)? };
        let kinds: Uint8ArraySlice<'_> = part(&object, "kinds")?;
        let count: u32 = part(&object, "count")?;
        let numbers: Float64ArraySlice<'_> = part(&object, "numbers")?;
        let text = Text::of(&part::<Utf16String>(&object, "text")?);
        let others: Array<'_> = part(&object, "others")?;
        let kinds = kinds.get(..count as usize);
        Lists {
            numbers: &numbers,
            text: &text,
            start: 0,
            others,
            taken: 0,
        }
        .read(kinds.ok_or_else(|| unexpected("a shorter list than it says"))?)
        .map(Self)
    }
}

fn part<T: FromNapiValue>(object: &Object<'_>, name: &str) -> napi::Result<T> {
    object
        .get(name)?
        .ok_or_else(|| unexpected(format_args!("an object without `{name}`")))
}

/// Lists that are being read, from their beginnings.
struct Lists<'a> {
    numbers: &'a [f64],
    text: &'a Text,
    /// Where the next text begins.
    start: usize,
    others: Array<'a>,
    /// How many of the others were read.
    taken: u32,
}

impl Lists<'_> {
    fn read(mut self, kinds: &[u8]) -> napi::Result<Vec<Vec<Param>>> {
        let mut lists = Vec::new();
        let mut list = Vec::new();
        for kind in kinds {
            if *kind == kind::END {
                // Most lists are as long as the one before.
                let next = Vec::with_capacity(list.len());
                lists.push(std::mem::replace(&mut list, next));
                continue;
            }
            list.push(self.value(*kind)?);
        }
        Ok(lists)
    }

    fn value(&mut self, kind: u8) -> napi::Result<Param> {
        Ok(match kind {
            kind::NULL => Param::Null,
            kind::FALSE => Param::Bool(false),
            kind::TRUE => Param::Bool(true),
            kind::NUMBER => Param::Number(self.number()?),
            kind::DATE => Param::Date(self.number()?),
            kind::TEXT => Param::Text(self.text()?),
            kind::OTHER => {
                let index = self.taken;
                self.taken += 1;
                read(self.others.get_element::<Unknown<'_>>(index)?)?
            }
            other => return Err(unexpected(format_args!("a value of the kind {other}"))),
        })
    }

    fn number(&mut self) -> napi::Result<f64> {
        let (first, rest) = self
            .numbers
            .split_first()
            .ok_or_else(|| unexpected("a number that is not there"))?;
        self.numbers = rest;
        Ok(*first)
    }

    fn text(&mut self) -> napi::Result<String> {
        // A length of JavaScript's is a whole number, and far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let length = self.number()? as usize;
        let start = self.start;
        self.start += length;
        self.text
            .part(start..self.start)
            .ok_or_else(|| unexpected("a text that is not there"))
    }
}

/// Texts one after the other, counted in units of UTF-16.
enum Text {
    /// As many bytes as units.
    Ascii(String),
    Any(Vec<u16>),
}

impl Text {
    fn of(units: &[u16]) -> Self {
        if units.iter().all(|unit| *unit < 0x80) {
            #[allow(clippy::cast_possible_truncation)]
            let bytes: Vec<u8> = units.iter().map(|unit| *unit as u8).collect();
            if let Ok(text) = String::from_utf8(bytes) {
                return Self::Ascii(text);
            }
        }
        Self::Any(units.to_vec())
    }

    /// A part in UTF-8. What is only half of a character is replaced: the facade refuses such text.
    fn part(&self, range: Range<usize>) -> Option<String> {
        match self {
            Self::Ascii(text) => text.get(range).map(ToOwned::to_owned),
            Self::Any(units) => units.get(range).map(String::from_utf16_lossy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_text_is_read_whatever_its_characters_and_those_beside_it() {
        let texts = [
            "plain",
            "",
            "grüße",
            "日本語",
            "🦀 and text",
            "\0\u{7f}\u{80}",
        ];
        for beside in texts {
            for text in texts {
                let units: Vec<u16> = [beside, text, beside].concat().encode_utf16().collect();
                let start = beside.encode_utf16().count();
                let end = start + text.encode_utf16().count();
                assert_eq!(Text::of(&units).part(start..end).as_deref(), Some(text));
                assert_eq!(Text::of(&units).part(start..units.len() + 1), None);
            }
        }
        let halved = [0x61, 0xd800, 0xdc00, 0x62];
        assert_eq!(Text::of(&halved).part(0..2).as_deref(), Some("a\u{fffd}"));
    }
}
