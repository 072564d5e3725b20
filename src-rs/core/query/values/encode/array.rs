//! Writes arrays. They must be rectangular, of up to six dimensions.

use bytes::{BufMut as _, BytesMut};

use super::{Mismatch, fields};
use crate::query::values::{Codec, Geometry, Param, Part};

/// The server's own limit on the dimensions of an array.
const MAX_DIMENSIONS: usize = 6;

/// Writes an array. The error names the place of the element at fault. Lower bounds that are not given are 1.
pub(super) fn write(
    part: &Part,
    bounds: Option<&[i32]>,
    values: &[Param],
    out: &mut BytesMut,
) -> Result<(), Mismatch> {
    let lengths = dimensions(&part.codec, bounds, values)?;
    // An empty array has no dimensions, however deep it is written.
    let empty = lengths.contains(&0);
    let dimensions = if empty { 0 } else { lengths.len() };
    out.put_i32(i32::try_from(dimensions).unwrap_or(0));
    let flags = out.len();
    out.put_i32(0);
    out.put_u32(part.oid);
    for (index, length) in lengths.iter().take(dimensions).enumerate() {
        let length = i32::try_from(*length).map_err(|_| {
            Mismatch::new(
                "an array of at most 2^31-1 elements",
                &Param::Array(Vec::new()),
            )
        })?;
        out.put_i32(length);
        out.put_i32(bounds.map_or(1, |bounds| bounds[index]));
    }
    let mut has_nulls = false;
    walk(&lengths, values, &mut |step| {
        if let Step::Element(param) = step {
            has_nulls |= *param == Param::Null;
            leaf(&part.codec, param, out)?;
        }
        Ok(())
    })?;
    if has_nulls {
        out[flags + 3] = 1;
    }
    Ok(())
}

/// The lengths of the dimensions, as the first element of each tells them. If there are elements, each has a lower bound, or none has.
pub(super) fn dimensions(
    element: &Codec,
    bounds: Option<&[i32]>,
    values: &[Param],
) -> Result<Vec<usize>, Mismatch> {
    let mut lengths = vec![values.len()];
    let mut level = values.first();
    while let Some(Param::Array(values)) = level {
        lengths.push(values.len());
        level = values.first();
    }
    let dimensions = match element {
        // An array can be JSON itself: the bounds tell how many are none.
        Codec::Json | Codec::Jsonb => bounds.map_or(1, <[i32]>::len),
        _ => {
            let (depth, leaf) = first_leaf(values, 1).unwrap_or((lengths.len(), None));
            let length = lengths.get(depth - 1).copied().unwrap_or(0);
            let inner = Inner {
                values,
                leaf,
                depth,
                length,
            };
            depth.saturating_sub(inner.within(element))
        }
    };
    lengths.truncate(dimensions.max(1));
    if lengths.len() > MAX_DIMENSIONS {
        return Err(Mismatch {
            got: format!("an array of {}", lengths.len()),
            ..Mismatch::new("an array of at most 6 dimensions", &Param::Null)
        });
    }
    match bounds {
        Some(bounds) if bounds.len() != lengths.len() && !lengths.contains(&0) => Err(Mismatch {
            got: format!("one of {}", bounds.len()),
            ..Mismatch::new(
                format!(
                    "an array of {} with a lower bound for each dimension",
                    lengths.len()
                ),
                &Param::Null,
            )
        }),
        _ => Ok(lengths),
    }
}

/// How deep in the arrays something lies that is no array, and what it is: a null if there is nothing else.
fn first_leaf(values: &[Param], depth: usize) -> Option<(usize, Option<&Param>)> {
    let mut null = None;
    for value in values {
        let found = match value {
            Param::Array(values) => first_leaf(values, depth + 1),
            value => Some((depth, Some(value))),
        };
        match found {
            Some((_, Some(Param::Null))) => null = null.or(found),
            None => {}
            found => return found,
        }
    }
    null
}

/// An array, and what lies deepest in it.
struct Inner<'a> {
    values: &'a [Param],
    /// What is no array: a null if there is nothing else.
    leaf: Option<&'a Param>,
    /// How many arrays it lies in.
    depth: usize,
    /// How many values the array has in which it lies.
    length: usize,
}

impl Inner<'_> {
    /// How many of the arrays are no dimensions, but parts of an element.
    fn within(&self, element: &Codec) -> usize {
        match (element, self.leaf) {
            (Codec::Composite(parts), _) if !self.holds_composites(parts) => self.depth - 1,
            // An array with bounds within an array is an element.
            (_, Some(Param::Bounded(..))) => 0,
            _ if is_array(element) => self.depth - 1,
            // The element is a text, or is not there.
            (_, Some(Param::Text(_) | Param::Null)) => 0,
            (
                Codec::Multirange(_)
                | Codec::Vector
                | Codec::IdVector(_)
                | Codec::Geometry(Geometry::Segment | Geometry::Box | Geometry::Polygon),
                _,
            ) => 1,
            _ => 0,
        }
    }

    /// Whether the arrays within the array hold composites, as they do when they were read, and are not composites themselves, given as
    /// the values of their fields. Texts that are as many as the fields could be either, and are taken as the fields.
    fn holds_composites(&self, parts: &[Part]) -> bool {
        let are_fields = matches!(self.leaf, Some(Param::Text(_))) && self.length == parts.len();
        !are_fields && are_composites(parts, self.values)
    }
}

/// Whether all that lies in arrays can be a composite: an object with its fields, its text, or nothing.
fn are_composites(parts: &[Part], values: &[Param]) -> bool {
    values.iter().all(|value| match value {
        Param::Null => true,
        Param::Array(values) => are_composites(parts, values),
        Param::Text(text) => text.starts_with('('),
        value => fields::names(value).is_some_and(|names| {
            let is_known = |name: &String| parts.iter().any(|part| part.name == *name);
            !names.is_empty() && names.iter().all(is_known)
        }),
    })
}

/// Whether an element is an array itself, such as one of a domain over an array.
fn is_array(element: &Codec) -> bool {
    matches!(element, Codec::Array(_) | Codec::PlainArray(..))
}

/// A step of a walk through an array.
pub(super) enum Step<'a> {
    /// A level begins.
    Open,
    /// Another part of the level follows.
    Next,
    /// The level ends.
    Close,
    /// An element.
    Element(&'a Param),
}

/// Walks through an array. An error of `take` gets the place of the element at fault.
pub(super) fn walk(
    lengths: &[usize],
    values: &[Param],
    take: &mut dyn FnMut(Step<'_>) -> Result<(), Mismatch>,
) -> Result<(), Mismatch> {
    let mut walk = Walk {
        lengths,
        at: Vec::new(),
        take,
    };
    let walked = walk.level(values);
    walked.map_err(|mismatch| {
        let mut at = walk.at;
        at.extend(&mismatch.at);
        Mismatch { at, ..mismatch }
    })
}

struct Walk<'a> {
    lengths: &'a [usize],
    /// The indices of the current element, after an error those of the element at fault.
    at: Vec<usize>,
    take: &'a mut dyn FnMut(Step<'_>) -> Result<(), Mismatch>,
}

impl Walk<'_> {
    fn level(&mut self, values: &[Param]) -> Result<(), Mismatch> {
        (self.take)(Step::Open)?;
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                (self.take)(Step::Next)?;
            }
            self.at.push(index);
            match self.lengths.get(self.at.len()) {
                None => (self.take)(Step::Element(value))?,
                Some(length) => self.inner(*length, value)?,
            }
            self.at.pop();
        }
        (self.take)(Step::Close)
    }

    fn inner(&mut self, length: usize, value: &Param) -> Result<(), Mismatch> {
        match value {
            Param::Array(values) if values.len() == length => self.level(values),
            Param::Array(values) => Err(Mismatch {
                got: format!("one of {}", values.len()),
                ..Mismatch::new(
                    format!("an array of {length}, as long as the ones before it"),
                    value,
                )
            }),
            _ => Err(Mismatch::new(
                format!("an array of {length}, like the ones before it"),
                value,
            )),
        }
    }
}

fn leaf(element: &Codec, param: &Param, out: &mut BytesMut) -> Result<(), Mismatch> {
    if *param == Param::Null {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    element.encode(param, out)?;
    let size = i32::try_from(out.len() - start - 4)
        .map_err(|_| Mismatch::new("smaller than 2 GiB", param))?;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}
