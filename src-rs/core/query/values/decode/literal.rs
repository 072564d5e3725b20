//! Arrays in PostgreSQL's text format
//! (<https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>).

use super::{Decoded, malformed};
use crate::query::values::Tape;
use crate::query::values::tape::PRESENT;

/// The server's own limit on the dimensions of an array.
const MAX_DIMENSIONS: usize = 6;

/// Writes an array of texts as `nested::array` writes one.
pub(super) fn array(text: &str, delimiter: char, tape: &mut Tape) -> Decoded<()> {
    let (bounds, body) = match text.strip_prefix('[') {
        Some(_) => text.split_once('=').ok_or_else(malformed)?,
        None => ("", text),
    };
    let mut parser = Parser {
        rest: body,
        delimiter,
        lengths: Vec::new(),
        elements: Vec::new(),
    };
    parser.level(0)?;
    if !parser.rest.is_empty() {
        return Err(malformed());
    }
    let Parser {
        lengths, elements, ..
    } = parser;
    let is_empty = elements.is_empty();
    let mut lower = lower_bounds(bounds);
    tape.flag(PRESENT);
    tape.length(if is_empty { 0 } else { lengths.len() });
    if is_empty {
        return Ok(());
    }
    let mut count = 1_usize;
    for length in lengths {
        count = count.checked_mul(length).ok_or_else(malformed)?;
        tape.length(length);
        tape.numbers.push(lower.next().unwrap_or(1).into());
    }
    if count != elements.len() {
        return Err(malformed());
    }
    for element in elements {
        match element {
            Some(element) => tape.text(&element),
            None => tape.null(),
        }
    }
    Ok(())
}

/// The lower bounds of a decoration such as `[0:1][-5:-3]`.
fn lower_bounds(text: &str) -> impl Iterator<Item = i32> {
    let dimensions = text.split('[').skip(1);
    dimensions.map(|dimension| {
        let lower = dimension.split(':').next();
        lower.and_then(|lower| lower.parse().ok()).unwrap_or(1)
    })
}

struct Parser<'a> {
    rest: &'a str,
    delimiter: char,
    /// The length of each dimension, as its first part has it.
    lengths: Vec<usize>,
    elements: Vec<Option<String>>,
}

impl Parser<'_> {
    fn take(&mut self, expected: char) -> Decoded<()> {
        self.rest = self.rest.strip_prefix(expected).ok_or_else(malformed)?;
        Ok(())
    }

    fn level(&mut self, depth: usize) -> Decoded<()> {
        if depth >= MAX_DIMENSIONS {
            return Err(malformed());
        }
        self.take('{')?;
        if self.lengths.len() == depth {
            self.lengths.push(0);
        }
        let mut length = 0;
        if !self.rest.starts_with('}') {
            loop {
                if self.rest.starts_with('{') {
                    self.level(depth + 1)?;
                } else {
                    let element = self.element()?;
                    self.elements.push(element);
                }
                length += 1;
                if !self.rest.starts_with(self.delimiter) {
                    break;
                }
                self.take(self.delimiter)?;
            }
        }
        self.take('}')?;
        self.lengths[depth] = length;
        Ok(())
    }

    fn element(&mut self) -> Decoded<Option<String>> {
        let mut element = String::new();
        let is_quoted = self.rest.starts_with('"');
        let mut characters = self.rest.char_indices().skip(usize::from(is_quoted));
        while let Some((at, character)) = characters.next() {
            match character {
                '"' if is_quoted => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Some(element));
                }
                '}' if !is_quoted => {
                    self.rest = &self.rest[at..];
                    return Ok((element != "NULL").then_some(element));
                }
                other if !is_quoted && other == self.delimiter => {
                    self.rest = &self.rest[at..];
                    return Ok((element != "NULL").then_some(element));
                }
                '\\' => element.extend(characters.next().map(|(_, escaped)| escaped)),
                other => element.push(other),
            }
        }
        Err(malformed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Decoded<(Vec<f64>, Vec<u8>, Vec<String>)> {
        let mut tape = Tape::default();
        array(text, ',', &mut tape)?;
        let texts = tape.texts.iter().map(str::to_owned).collect();
        Ok((tape.numbers, tape.flags, texts))
    }

    #[test]
    fn an_array_is_read_as_the_server_writes_it() {
        let (numbers, flags, texts) = read(r#"{a,"b \"c\" \\",NULL,"NULL",""}"#).unwrap();
        assert_eq!(numbers, [1.0, 5.0, 1.0]);
        assert_eq!(flags, [1, 1, 1, 0, 1, 1]);
        assert_eq!(texts, ["a", "b \"c\" \\", "NULL", ""]);
        let (numbers, _, texts) = read("[0:1][-5:-3]={{a,b,c},{d,e,f}}").unwrap();
        assert_eq!(numbers, [2.0, 2.0, 0.0, 3.0, -5.0]);
        assert_eq!(texts.concat(), "abcdef");
        assert_eq!(read("{}").unwrap().0, [0.0]);
    }

    #[test]
    fn what_is_no_array_is_an_error() {
        for text in [
            "",
            "{",
            "{a",
            "a",
            "{a}b",
            "[1:2]",
            "{{a},{b,c}}",
            "{{{{{{{a}}}}}}}",
            "{\"a}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
