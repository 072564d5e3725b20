//! The messages of a server, read with a check at every step.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::base::error::ServerMessage;

/// The longest message that a PostgreSQL server can build: `MaxAllocSize` in src/include/utils/memutils.h, and the length.
const LONGEST: usize = 0x3fff_ffff + 4;
/// The longest message of a kind that is short by its nature. A longer one means that the stream is out of step; libpq has
/// the same bound (`VALID_LONG_MESSAGE_TYPE` in src/interfaces/libpq/fe-protocol3.c).
const LONGEST_SHORT: usize = 30_000;
/// The kind and the length of a message.
const HEADER: usize = 5;

/// Why bytes are no message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl Malformed {
    /// A message with a length, in bytes, that none of its kind has.
    pub(super) fn of_length(kind: u8, total: usize) -> Self {
        let length = total - 1;
        Self(format!(
            "a message of kind {} and length {length}",
            shown(kind)
        ))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server sent {}", self.0)
    }
}

/// Whether a transaction block is open, as the server tells with each `ReadyForQuery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No block is open.
    Idle,
    /// A block is open.
    Active,
    /// A block is open, and a statement in it has failed: it can only be rolled back.
    Failed,
}

/// A column of a result, as `RowDescription` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// The oid of its type.
    pub type_oid: u32,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a column comes from: the oid of a table, and the number of the column in it. Both are 0 for an expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The oid of the table.
    pub table_oid: u32,
    /// The number of the column in the table, from 1 on.
    pub column_number: i16,
}

/// The values of a row, not read yet.
#[derive(Debug, Clone)]
pub(crate) struct DataRow(Bytes);

impl DataRow {
    /// The values, in the order of the columns.
    pub(crate) fn values(&self) -> RowValues<'_> {
        let mut reader = Reader {
            rest: &self.0,
            what: "a row",
        };
        let count = reader.count();
        RowValues {
            count: *count.as_ref().unwrap_or(&0),
            reader: count.map(|_| reader),
        }
    }
}

/// Reads the values of a row.
pub(crate) struct RowValues<'a> {
    /// How many values the row announces. It may hold fewer, which is malformed.
    count: usize,
    reader: Result<Reader<'a>, Malformed>,
}

impl<'a> RowValues<'a> {
    /// How many values the row announces.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The next value; `None` is null.
    pub(crate) fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let reader = self.reader.as_mut().map_err(|error| error.clone())?;
        match reader.int()? {
            -1 => Ok(None),
            length => reader.bytes(length).map(Some),
        }
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        self.reader?.end()
    }

    /// All of them.
    pub(crate) fn all(mut self) -> Result<Vec<Option<&'a [u8]>>, Malformed> {
        let values = (0..self.count).map(|_| self.next());
        let values = values.collect::<Result<_, _>>()?;
        self.end()?;
        Ok(values)
    }
}

/// A message of the server.
#[derive(Debug)]
pub(crate) enum Message {
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    PortalSuspended,
    EmptyQueryResponse,
    ParameterDescription(Vec<u32>),
    RowDescription(Vec<Field>),
    DataRow(DataRow),
    /// With its tag, such as `INSERT 0 1`.
    CommandComplete(String),
    ReadyForQuery(TransactionStatus),
    ErrorResponse(Box<ServerMessage>),
    NoticeResponse(Box<ServerMessage>),
    /// The name of a parameter, and its value.
    ParameterStatus(String, String),
    /// A notification that was left in the stream: nobody listens, or it is beyond any size.
    Notification,
    /// The server waits for data, as `COPY FROM STDIN` has it.
    CopyIn,
    CopyOut,
    /// Data of a `COPY TO STDOUT`.
    CopyData(Bytes),
    CopyDone,
    /// `FunctionCallResponse`, `NegotiateProtocolVersion`, a late `BackendKeyData`: nothing that we asked for.
    Other,
}

impl Message {
    /// Takes the first message off `buffer`; `None` until all of it is there.
    pub(crate) fn split_off(buffer: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let Some(total) = Self::first_length(buffer)? else {
            return Ok(None);
        };
        if buffer.len() < total {
            return Ok(None);
        }
        let mut body = buffer.split_to(total);
        let kind = body[0];
        body.advance(HEADER);
        Self::read(kind, body.freeze()).map(Some)
    }

    /// The memory that the message takes, more or less, in bytes.
    pub(super) fn weight(&self) -> usize {
        const EACH: usize = 64;
        match self {
            Self::DataRow(DataRow(body)) | Self::CopyData(body) => EACH + body.len(),
            _ => EACH,
        }
    }

    /// How many bytes the first message of `buffer` has; `None` until its header is there.
    pub(super) fn first_length(buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(&[kind, a, b, c, d]) = buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let longest = match kind {
            b'D' | b'd' | b'E' | b'N' | b'T' | b't' | b'V' | b'A' => LONGEST,
            _ => LONGEST_SHORT,
        };
        let total = 1 + length;
        if length < 4 || length > longest {
            return Err(Malformed::of_length(kind, total));
        }
        Ok(Some(total))
    }

    fn read(kind: u8, body: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader {
            rest: &body,
            what: "a message",
        };
        let message = match kind {
            // Read by whoever asked for it, so the body is only passed on.
            b'D' => return Ok(Self::DataRow(DataRow(body))),
            b'd' => return Ok(Self::CopyData(body)),
            b'A' => return Ok(Self::Notification),
            b'G' | b'W' => return Ok(Self::CopyIn),
            b'H' => return Ok(Self::CopyOut),
            b'V' | b'v' | b'K' => return Ok(Self::Other),
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'n' => Self::NoData,
            b's' => Self::PortalSuspended,
            b'I' => Self::EmptyQueryResponse,
            b'c' => Self::CopyDone,
            b'S' => {
                let (name, value) = reader.parameter()?;
                Self::ParameterStatus(name, value)
            }
            b't' => Self::ParameterDescription(reader.parameters()?),
            b'T' => Self::RowDescription(reader.fields()?),
            b'C' => Self::CommandComplete(reader.text()?.into_owned()),
            b'Z' => Self::ReadyForQuery(match reader.byte()? {
                b'I' => TransactionStatus::Idle,
                b'T' => TransactionStatus::Active,
                b'E' => TransactionStatus::Failed,
                other => {
                    return Err(Malformed(format!(
                        "an unknown transaction status {}",
                        shown(other)
                    )));
                }
            }),
            b'E' => Self::ErrorResponse(Box::new(reader.server_message()?)),
            b'N' => Self::NoticeResponse(Box::new(reader.server_message()?)),
            other => {
                return Err(Malformed(format!(
                    "a message of the unknown kind {}",
                    shown(other)
                )));
            }
        };
        reader.end()?;
        Ok(message)
    }
}

/// A byte as a person reads it.
fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("`{}`", char::from(byte))
    } else {
        format!("{byte:#04x}")
    }
}

/// Reads a body from its front.
struct Reader<'a> {
    rest: &'a [u8],
    /// The thing that is read, for errors.
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Malformed(format!("{} that is cut short", self.what))),
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn int(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    fn oid(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of things, of two bytes: up to 65,535, as parameters have it.
    fn count(&mut self) -> Result<usize, Malformed> {
        self.array().map(|it| usize::from(u16::from_be_bytes(it)))
    }

    fn bytes(&mut self, length: i32) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length)
            .map_err(|_| Malformed(format!("{} with a length of {length}", self.what)))?;
        self.take(length)
    }

    /// Text up to a NUL, which is taken too.
    fn text(&mut self) -> Result<std::borrow::Cow<'a, str>, Malformed> {
        let length = memchr::memchr(0, self.rest)
            .ok_or_else(|| Malformed(format!("{} with text that has no end", self.what)))?;
        let text = self.take(length)?;
        self.take(1)?;
        // Before it knows the client's encoding, a server may speak its own.
        Ok(String::from_utf8_lossy(text))
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed(format!("{} that goes on too long", self.what)))
        }
    }

    /// The name of a parameter of the session, and its value.
    fn parameter(&mut self) -> Result<(String, String), Malformed> {
        self.what = "a parameter of the session";
        Ok((self.text()?.into_owned(), self.text()?.into_owned()))
    }

    fn parameters(&mut self) -> Result<Vec<u32>, Malformed> {
        self.what = "a description of parameters";
        let counted = self.count()?;
        // A statement may have more parameters than two bytes can count, which hold the rest of 65,536 then.
        let described = self.rest.len() / 4;
        let count = if described % 65_536 == counted {
            described
        } else {
            counted
        };
        (0..count).map(|_| self.oid()).collect()
    }

    fn fields(&mut self) -> Result<Vec<Field>, Malformed> {
        self.what = "a description of columns";
        (0..self.count()?)
            .map(|_| {
                let name = self.text()?.into_owned();
                let origin = Origin {
                    table_oid: self.oid()?,
                    column_number: self.array().map(i16::from_be_bytes)?,
                };
                let type_oid = self.oid()?;
                // The type's size, its modifier, and the format.
                self.take(8)?;
                Ok(Field {
                    name,
                    type_oid,
                    origin,
                })
            })
            .collect()
    }

    /// The fields of an error or a notice
    /// (<https://www.postgresql.org/docs/current/protocol-error-fields.html>).
    fn server_message(&mut self) -> Result<ServerMessage, Malformed> {
        self.what = "an error or a notice";
        let mut read = ServerMessage::default();
        let mut localized = String::new();
        loop {
            let kind = self.byte()?;
            if kind == 0 {
                break;
            }
            let text = self.text()?.into_owned();
            match kind {
                b'S' => localized = text,
                b'V' => read.severity = text,
                b'C' => read.sql_state = text,
                b'M' => read.message = text,
                b'D' => read.detail = Some(text),
                b'H' => read.hint = Some(text),
                b'P' => read.position = text.parse().ok(),
                b'p' => read.position = read.position.or_else(|| text.parse().ok()),
                b'W' => read.context = Some(text),
                b's' => read.schema = Some(text),
                b't' => read.table = Some(text),
                b'c' => read.column = Some(text),
                b'd' => read.data_type = Some(text),
                b'n' => read.constraint = Some(text),
                b'R' => read.routine = Some(text),
                // The file and line in the server's source, and what later versions add.
                _ => {}
            }
        }
        if read.severity.is_empty() {
            // Poolers leave the field out that is never localized.
            read.severity = localized;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> BytesMut {
        let length = u32::try_from(body.len() + 4).unwrap();
        BytesMut::from(&[&[kind], &length.to_be_bytes()[..], body].concat()[..])
    }

    fn read(kind: u8, body: &[u8]) -> Result<Option<Message>, Malformed> {
        Message::split_off(&mut message(kind, body))
    }

    #[test]
    fn a_message_is_read_once_all_of_it_is_there() {
        let whole = message(b'C', b"INSERT 0 1\0");
        for length in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..length]);
            assert!(matches!(Message::split_off(&mut part), Ok(None)));
            assert_eq!(part.len(), length);
        }
        let mut two = BytesMut::from(&[&whole[..], b"Z"].concat()[..]);
        let first = Message::split_off(&mut two).unwrap();
        assert!(matches!(first, Some(Message::CommandComplete(tag)) if tag == "INSERT 0 1"));
        assert_eq!(&two[..], b"Z");
    }

    #[test]
    fn a_row_gives_its_values_and_nothing_more() {
        let row = |body: &[u8]| match read(b'D', body) {
            Ok(Some(Message::DataRow(row))) => row.values().all().map(|values| {
                values
                    .into_iter()
                    .map(|it| it.map(<[u8]>::to_vec))
                    .collect()
            }),
            other => panic!("{other:?}"),
        };
        let body = [&[0, 2][..], &(-1_i32).to_be_bytes(), &[0, 0, 0, 1, b'x']].concat();
        assert_eq!(row(&body), Ok(vec![None, Some(b"x".to_vec())]));
        let said = |body: &[u8]| row(body).unwrap_err().to_string();
        assert_eq!(
            said(&body[..body.len() - 1]),
            "the server sent a row that is cut short"
        );
        assert_eq!(
            said(&[&body[..], b"y"].concat()),
            "the server sent a row that goes on too long"
        );
        assert_eq!(
            said(&[&[0, 1][..], &(-2_i32).to_be_bytes()].concat()),
            "the server sent a row with a length of -2"
        );
        // A count that promises 65,535 values takes no memory for them.
        assert_eq!(
            said(&[0xff, 0xff]),
            "the server sent a row that is cut short"
        );
    }

    #[test]
    fn lengths_that_no_message_has_are_refused_before_anything_is_waited_for() {
        for (kind, length) in [
            (b'D', 3),
            (b'Z', 0),
            (b'D', u32::MAX),
            (b'Z', 30_001),
            (b'C', 1 << 20),
        ] {
            let mut header = BytesMut::from(&[&[kind], &u32::to_be_bytes(length)[..]].concat()[..]);
            let refused = Message::split_off(&mut header).unwrap_err().to_string();
            assert!(refused.ends_with(&format!("length {length}")), "{refused}");
            assert!(header.capacity() < 100);
        }
        let mut header = BytesMut::from(&b"D\x3f\xff\xff\xff"[..]);
        assert!(matches!(Message::split_off(&mut header), Ok(None)));
        assert!(
            header.capacity() < 100,
            "nothing is reserved for bytes that have not come"
        );
    }

    #[test]
    fn an_error_tells_its_fields() {
        let body = b"SFEHLER\0VERROR\0C42P01\0Mno such table\0P15\0Rparse\0XUnknown\0\0";
        let Ok(Some(Message::ErrorResponse(error))) = read(b'E', body) else {
            panic!("no error");
        };
        assert_eq!((&*error.severity, &*error.sql_state), ("ERROR", "42P01"));
        assert_eq!(
            (error.position, error.routine.as_deref()),
            (Some(15), Some("parse"))
        );
        let Ok(Some(Message::NoticeResponse(notice))) = read(b'N', b"SWARNING\0\0") else {
            panic!("no notice");
        };
        assert_eq!(notice.severity, "WARNING");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind: u8, body: Vec<u8>) {
            if let Ok(Some(Message::DataRow(row))) = read(kind, &body) {
                let _ = row.values();
            }
        }

        #[test]
        fn no_bytes_that_look_like_a_message_panic(
            kind in prop::sample::select(b"DTtECNZS".to_vec()),
            count in 0_u16..5,
            body: Vec<u8>,
        ) {
            let body = [&count.to_be_bytes()[..], &body].concat();
            if let Ok(Some(Message::DataRow(row))) = read(kind, &body) {
                let _ = row.values();
            }
        }
    }
}
