//! Writes arrays. They must be rectangular, of up to six dimensions.

use bytes::{BufMut as _, BytesMut};

use super::Mismatch;
use crate::query::values::{Codec, Param};

/// The server's own limit on the dimensions of an array.
const MAX_DIMENSIONS: usize = 6;

/// Writes an array. The error names the place of the element at fault.
pub(super) fn write(
    element: &Codec,
    element_oid: u32,
    param: &Param,
    out: &mut BytesMut,
) -> Result<(), Mismatch> {
    let mut lengths = Vec::new();
    let mut level = param;
    while let Param::Array(values) = level {
        lengths.push(values.len());
        match values.first() {
            Some(first) => level = first,
            None => break,
        }
    }
    if lengths.len() > MAX_DIMENSIONS {
        return Err(Mismatch {
            got: format!("an array of {}", lengths.len()),
            ..Mismatch::new("an array of at most 6 dimensions", param)
        });
    }
    // An empty array has no dimensions, however deep it is written.
    let empty = lengths.contains(&0);
    let dimensions = if empty { 0 } else { lengths.len() };
    out.put_i32(i32::try_from(dimensions).unwrap_or(0));
    let flags = out.len();
    out.put_i32(0);
    out.put_u32(element_oid);
    for length in lengths.iter().take(dimensions) {
        let length = i32::try_from(*length)
            .map_err(|_| Mismatch::new("an array of at most 2^31-1 elements", param))?;
        out.put_i32(length);
        out.put_i32(1);
    }
    let mut walk = Walk {
        element,
        lengths: &lengths,
        at: Vec::new(),
        has_nulls: false,
    };
    if let Err(mut mismatch) = walk.level(param, out) {
        mismatch.at = walk.at;
        return Err(mismatch);
    }
    if walk.has_nulls {
        out[flags + 3] = 1;
    }
    Ok(())
}

struct Walk<'a> {
    element: &'a Codec,
    lengths: &'a [usize],
    /// The indices of the current element, after an error those of the element at fault.
    at: Vec<usize>,
    has_nulls: bool,
}

impl Walk<'_> {
    fn level(&mut self, param: &Param, out: &mut BytesMut) -> Result<(), Mismatch> {
        let Some(&length) = self.lengths.get(self.at.len()) else {
            return self.leaf(param, out);
        };
        match param {
            Param::Array(values) if values.len() == length => {
                for (index, value) in values.iter().enumerate() {
                    self.at.push(index);
                    self.level(value, out)?;
                    self.at.pop();
                }
                Ok(())
            }
            Param::Array(values) => Err(Mismatch {
                got: format!("one of {}", values.len()),
                ..Mismatch::new(
                    format!("an array of {length}, as long as the ones before it"),
                    param,
                )
            }),
            _ => Err(Mismatch::new(
                format!("an array of {length}, like the ones before it"),
                param,
            )),
        }
    }

    fn leaf(&mut self, param: &Param, out: &mut BytesMut) -> Result<(), Mismatch> {
        if *param == Param::Null {
            self.has_nulls = true;
            out.put_i32(-1);
            return Ok(());
        }
        // For json too an array within an array is a dimension, or the same value would be read in two ways.
        if matches!(param, Param::Array(_)) && matches!(self.element, Codec::Json | Codec::Jsonb) {
            return Err(Mismatch::new(
                "no array, like the ones before it (to give a JSON array, write it as JSON text)",
                param,
            ));
        }
        let start = out.len();
        out.put_i32(0);
        self.element.encode(param, out)?;
        let size = i32::try_from(out.len() - start - 4)
            .map_err(|_| Mismatch::new("smaller than 2 GiB", param))?;
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
        Ok(())
    }
}
