//! The names of parameters in a statement's text.

use napi_derive::napi;

use pglisten_core::query::sql_text::named_parameters::{NumberedText, number_names};

/// A statement's text with a number for each name.
#[napi(object, object_from_js = false)]
pub struct NativeNumberedText {
    pub text: String,
    /// The name of `$1`, of `$2`, and so on.
    pub names: Vec<String>,
    /// Whether the text has parameters with numbers beside those with names.
    pub is_mixed: bool,
}

impl From<NumberedText> for NativeNumberedText {
    fn from(numbered: NumberedText) -> Self {
        Self {
            text: numbered.text,
            names: numbered.names,
            is_mixed: numbered.is_mixed,
        }
    }
}

/// Gives each `$(name)p` in a statement's text a number.
#[napi(catch_unwind)]
pub fn number_names_of(sql: String) -> NativeNumberedText {
    number_names(&sql).into()
}
