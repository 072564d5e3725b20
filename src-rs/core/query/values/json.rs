//! JSON text of parameters that are arrays, as `JSON.stringify` would write it.
//!
//! TypeScript cannot write it, because it does not know whether the server expects JSON or an array of its own.

use std::fmt::Write as _;

use super::encode::iso;
use super::{Param, number};

/// Writes a parameter as JSON. The error names the kind of value that JSON cannot hold.
pub(super) fn write(param: &Param, out: &mut String) -> Result<(), &'static str> {
    match param {
        Param::Null => out.push_str("null"),
        Param::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Param::Number(value) => write_number(*value, out),
        Param::Text(text) => string(text, out),
        Param::Json(json)
        | Param::Literal { json, .. }
        | Param::Fields {
            json: Some(json), ..
        } => out.push_str(json),
        Param::Array(values) | Param::Bounded(_, values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(value, out)?;
            }
            out.push(']');
        }
        Param::Fields { fields, json: None } => {
            out.push('{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
        Param::BigInt(_) | Param::HugeInt(_) => return Err("a bigint"),
        Param::Bytes(_) => return Err("bytes"),
        Param::Date(ms) => string(&iso(*ms), out),
    }
    Ok(())
}

fn write_number(value: f64, out: &mut String) {
    if !value.is_finite() {
        out.push_str("null");
    } else if value == 0.0 {
        // Without a sign.
        out.push('0');
    } else {
        out.push_str(&number::text(value));
    }
}

pub(super) fn string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_json() {
        let mut out = String::new();
        let param = Param::Array(vec![
            Param::Null,
            Param::Bool(true),
            Param::Number(1.0),
            Param::Number(-0.0),
            Param::Number(0.1),
            Param::Number(1e300),
            Param::Number(1_764_504_000_000_000.0),
            Param::Number(-1.23e20),
            Param::Number(1.5e-7),
            Param::Number(f64::NAN),
            Param::Text("a\"\\\n\u{1}é😀".into()),
            Param::Json("{\"k\":[1]}".into()),
            Param::Array(vec![]),
            Param::Date(-1.0),
        ]);
        write(&param, &mut out).unwrap();
        assert_eq!(
            out,
            "[null,true,1,0,0.1,1e+300,1764504000000000,-123000000000000000000,1.5e-7,null,\"a\\\"\\\\\\n\\u0001é😀\",{\"k\":[1]},[],\"1969-12-31T23:59:59.999Z\"]"
        );
        assert_eq!(
            write(&Param::Array(vec![Param::BigInt(1)]), &mut out),
            Err("a bigint")
        );
    }
}
