//! Records for `COPY FROM STDIN`: in its binary format where every column has one for all that is given, and otherwise in its text
//! format (<https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9>).

use bytes::{BufMut as _, BytesMut};

use super::{Mismatch, text};
use crate::base::error::{Error, ErrorKind};
use crate::query::values::{Codec, Param};

/// The signature of the binary format, flags, and the length of a header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of the binary format.
const TRAILER: i16 = -1;

/// A column that records are written for.
#[derive(Debug)]
pub struct RecordColumn {
    /// Its name.
    pub name: String,
    /// The name of its type.
    pub type_name: String,
    /// How its values cross.
    pub codec: Codec,
}

/// Why records were not written.
#[derive(Debug)]
pub enum Unwritten {
    /// A value has no binary form of ours: the records can be written in the text format.
    NeedsText,
    /// A value fits in no format.
    Refused(Error),
}

/// Writes records.
#[derive(Debug)]
pub struct RecordEncoder {
    columns: Vec<RecordColumn>,
    is_binary: bool,
    has_begun: bool,
    /// How many records were written.
    written: usize,
}

impl RecordEncoder {
    /// Writes records of these columns, in the binary format if each has one.
    #[must_use]
    pub fn new(columns: Vec<RecordColumn>) -> Self {
        Self {
            is_binary: columns
                .iter()
                .all(|column| column.codec.has_binary_writer()),
            columns,
            has_begun: false,
            written: 0,
        }
    }

    /// Whether records are written in the binary format.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.is_binary
    }

    /// The names of the types of the columns.
    #[must_use]
    pub fn column_types(&self) -> Vec<String> {
        let columns = self.columns.iter();
        columns.map(|column| column.type_name.clone()).collect()
    }

    /// Writes in the text format from now on.
    pub fn switch_to_text(&mut self) {
        self.is_binary = false;
    }

    /// Writes records: all of them or, with an error, none.
    pub fn encode(&mut self, records: &[Vec<Param>]) -> Result<BytesMut, Unwritten> {
        let mut out = BytesMut::with_capacity(64 * 1024);
        if self.is_binary && !self.has_begun {
            out.put_slice(HEADER);
        }
        for (index, record) in records.iter().enumerate() {
            if record.len() != self.columns.len() {
                return Err(Unwritten::Refused(self.wrong_length(index, record.len())));
            }
            if self.is_binary {
                self.binary(record, &mut out)?;
            } else {
                let written = self.text(record, &mut out);
                written.map_err(|(column, mismatch)| {
                    Unwritten::Refused(self.misfit(index, column, mismatch))
                })?;
            }
        }
        self.has_begun = true;
        self.written += records.len();
        Ok(out)
    }

    /// What stands behind the last record.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        match (self.is_binary, self.has_begun) {
            (false, _) => Vec::new(),
            (true, true) => TRAILER.to_be_bytes().to_vec(),
            (true, false) => [HEADER, &TRAILER.to_be_bytes()].concat(),
        }
    }

    fn binary(&self, record: &[Param], out: &mut BytesMut) -> Result<(), Unwritten> {
        // No table has more than 1,600 columns.
        out.put_i16(i16::try_from(record.len()).unwrap_or(i16::MAX));
        for (param, column) in record.iter().zip(&self.columns) {
            if *param == Param::Null {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            let written = column.codec.encode(param, out);
            let size = i32::try_from(out.len() - start - 4);
            let (Ok(()), Ok(size)) = (written, size) else {
                return Err(Unwritten::NeedsText);
            };
            out[start..start + 4].copy_from_slice(&size.to_be_bytes());
        }
        Ok(())
    }

    fn text(&self, record: &[Param], out: &mut BytesMut) -> Result<(), (usize, Mismatch)> {
        let mut value = String::new();
        for (index, (param, column)) in record.iter().zip(&self.columns).enumerate() {
            if index > 0 {
                out.put_u8(b'\t');
            }
            if *param == Param::Null {
                out.put_slice(b"\\N");
                continue;
            }
            value.clear();
            text::write(&column.codec, param, &mut value).map_err(|why| (index, why))?;
            escape(&value, out);
        }
        out.put_u8(b'\n');
        Ok(())
    }

    fn wrong_length(&self, index: usize, got: usize) -> Error {
        let expected = self.columns.len();
        let plural = if expected == 1 { "" } else { "s" };
        Error::new(
            ErrorKind::Execute,
            format!(
                "Expected record {} to have {expected} value{plural}, one for each column, got {got}",
                self.written + index
            ),
        )
    }

    fn misfit(&self, index: usize, column: usize, mismatch: Mismatch) -> Error {
        let RecordColumn {
            name, type_name, ..
        } = &self.columns[column];
        let what = format!(
            "column `{name}` ({type_name}) of record {}",
            self.written + index
        );
        mismatch.into_error(&what)
    }
}

/// Writes a value, with a backslash before what means something between values.
fn escape(value: &str, out: &mut BytesMut) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            byte => out.put_u8(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(codecs: Vec<Codec>) -> RecordEncoder {
        RecordEncoder::new(
            codecs
                .into_iter()
                .map(|codec| RecordColumn {
                    name: "a".into(),
                    type_name: "t".into(),
                    codec,
                })
                .collect(),
        )
    }

    #[test]
    fn the_binary_format_is_left_when_a_value_has_none() {
        let mut records = encoder(vec![Codec::Int4, Codec::Float8]);
        assert!(records.is_binary());
        let one = vec![Param::Number(1.0), Param::Null];
        let first = records.encode(std::slice::from_ref(&one)).unwrap();
        assert_eq!(&first[..HEADER.len()], HEADER);
        assert_eq!(
            &first[HEADER.len()..],
            [0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 255, 255, 255, 255]
        );
        let two = vec![Param::Number(2.0), Param::Text("1.5".into())];
        let both = [one, two];
        assert!(matches!(records.encode(&both), Err(Unwritten::NeedsText)));
        assert_eq!(records.finish(), [255, 255]);
        records.switch_to_text();
        assert_eq!(&records.encode(&both).unwrap()[..], b"1\t\\N\n2\t1.5\n");
        assert!(records.finish().is_empty());
    }

    #[test]
    fn text_is_escaped_and_errors_tell_the_record() {
        let mut records = encoder(vec![Codec::Interval, Codec::Text]);
        assert!(!records.is_binary());
        let row = |text: &str| vec![Param::Null, Param::Text(text.to_owned())];
        let written = records.encode(&[row("a\tb\\N\r\n")]).unwrap();
        assert_eq!(&written[..], b"\\N\ta\\tb\\\\N\\r\\n\n");
        let error = |unwritten| match unwritten {
            Err(Unwritten::Refused(error)) => error.message,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            error(records.encode(&[row(""), vec![Param::Null]])),
            "Expected record 2 to have 2 values, one for each column, got 1"
        );
        assert_eq!(
            error(records.encode(&[vec![Param::Null, Param::Date(0.0)]])),
            "Expected column `a` (t) of record 1 to be a string, a number, a bigint or a boolean, got a Date"
        );
        assert_eq!(encoder(vec![Codec::Bool]).finish().len(), HEADER.len() + 2);
    }
}
