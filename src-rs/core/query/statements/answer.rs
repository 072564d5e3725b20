//! Reads the server's answer to executed statements.

use std::sync::Arc;

use tokio_postgres::types::Type;

use super::prepared::{Column, Layout, Prepared};
use super::{Manner, Parts, QueryOutput};
use crate::base::error::{Again, Error, ErrorKind, Result, ServerMessage, Stage};
use crate::protocol::{DataRow, Field, Message, Responses, copy_refused, malformed};
use crate::query::backend::{Backend, Statement};
use crate::query::fields::{Asked, Fields};
use crate::query::values::{Choice, MOST_BYTES, Tape, Unread};

/// What an answer consists of, for whoever takes it.
pub(super) enum Part {
    /// The columns as they are now, of a statement without a name.
    Columns(Vec<Field>),
    Row(DataRow),
    /// The statement is complete, and has affected so many rows. `None`: it is none that counts rows.
    Complete(Option<u64>),
    /// There are more rows.
    Suspended,
}

/// Hands the parts of an answer to so many statements on. The first failure stays, and the answer is read to its end. An error tells
/// whether something may have taken effect for good. Statements that count rows do not end a transaction; before its parameters are bound a
/// statement does nothing; behind the last statement the server commits what it has begun by itself.
pub(super) async fn read(
    backend: &Backend,
    mut responses: Responses,
    statements: usize,
    mut take: impl FnMut(Part) -> Result<()>,
) -> Result<()> {
    let mut refused: Option<Box<ServerMessage>> = None;
    let mut failed = None;
    let mut is_bound = false;
    let mut has_rows = false;
    let mut left = statements;
    let mut stage = Stage::default();
    let mut may_harm = false;
    loop {
        let part = match responses.next().await {
            None => return Err(failed.unwrap_or_else(|| responses.lost(refused))),
            Some(Message::DataRow(row)) => {
                has_rows = true;
                Part::Row(row)
            }
            Some(Message::RowDescription(columns)) => Part::Columns(columns),
            Some(Message::BindComplete) => {
                is_bound = true;
                has_rows = false;
                continue;
            }
            Some(Message::CommandComplete(tag)) => {
                is_bound = false;
                left = left.saturating_sub(1);
                let affected = rows_affected(&tag);
                may_harm |= affected.is_none();
                Part::Complete(affected)
            }
            Some(Message::EmptyQueryResponse) => {
                is_bound = false;
                left = left.saturating_sub(1);
                Part::Complete(Some(0))
            }
            Some(Message::PortalSuspended) => Part::Suspended,
            Some(Message::ErrorResponse(error)) => {
                may_harm |= is_bound && (has_rows || !super::fails_to_begin(&error));
                if refused.is_none() {
                    stage = match (left, is_bound) {
                        (0, _) => Stage::Committing,
                        (_, true) => Stage::Running,
                        (_, false) => Stage::Unbound,
                    };
                    refused = Some(error);
                }
                continue;
            }
            Some(Message::CopyIn | Message::CopyOut) => {
                failed = Some(copy_refused());
                continue;
            }
            Some(Message::ReadyForQuery(_)) => break,
            Some(_) => continue,
        };
        if failed.is_none() {
            failed = take(part).err();
        }
    }
    if failed.as_ref().is_some_and(Error::ends_session) {
        // What cannot be read says that the stream is not to be trusted any more.
        backend.abandon();
    }
    match (failed, refused) {
        // What cannot be read was executed.
        (Some(error), _) => Err(Error {
            again: Again {
                may_harm: true,
                ..error.again
            },
            ..error
        }),
        (None, Some(error)) => Err(Error {
            again: Again {
                may_harm,
                stage,
                ..Again::default()
            },
            ..Error::database(*error)
        }),
        (None, None) => Ok(()),
    }
}

/// Waits for the fields that were asked for. `None`: the server has not told them.
pub(super) async fn told(asked: Option<Asked>) -> Option<Fields> {
    asked?.told().await.ok()
}

/// The number at the end of a tag such as `INSERT 0 1`.
fn rows_affected(tag: &str) -> Option<u64> {
    tag.rsplit(' ').next()?.parse().ok()
}

/// Collects the rows of one statement.
pub(super) struct Rows {
    layout: Arc<Layout>,
    tape: Tape,
    returned: u64,
    affected: u64,
    is_suspended: bool,
    /// The rows, while it is not certain how they are to be read.
    raw: Option<Vec<DataRow>>,
    /// The columns as they are now, if they are others than the layout has.
    changed: Option<Vec<Field>>,
    /// Takes rows before the last one has come.
    parts: Option<Parts>,
}

/// So many values are a part.
const PART_VALUES: usize = 16_384;
/// So many bytes are a part.
const PART_BYTES: usize = 512 * 1024;

impl Rows {
    pub(super) fn new(prepared: &Prepared) -> Self {
        let layout = Arc::clone(&prepared.plan.result);
        Self {
            // Fields may have been added to a type, or removed from it, since the server was asked.
            raw: layout.has_fields().then(Vec::new),
            layout,
            tape: Tape::default(),
            returned: 0,
            affected: 0,
            is_suspended: false,
            changed: None,
            parts: None,
        }
    }

    /// Hands rows on before the last one has come, if there are many.
    pub(super) fn in_parts(self, parts: Option<Parts>) -> Self {
        Self { parts, ..self }
    }

    /// Hands on what there is, once it is a part. Parts that wait do not grow: of a large one the engine's collector of garbage sees
    /// every value again and again while it crosses.
    fn hand_on(&mut self) {
        let Some(parts) = &mut self.parts else { return };
        if self.tape.len() < PART_VALUES && self.tape.bytes_len() < PART_BYTES {
            return;
        }
        let part = QueryOutput {
            columns: Arc::clone(&self.layout.columns),
            returns_rows: true,
            tape: std::mem::take(&mut self.tape),
            row_count: self.returned,
            is_suspended: false,
        };
        self.returned = 0;
        // Whoever took them may be gone; then nobody takes the last one either.
        let _ = parts.unbounded_send(part);
    }

    pub(super) fn take(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Columns(fields) => {
                let columns = self.layout.columns.iter();
                let known = columns.map(|it| (&*it.name, it.oid));
                if !fields.iter().map(|it| (&*it.name, it.type_oid)).eq(known) {
                    self.changed = Some(fields);
                    self.raw = Some(Vec::new());
                }
            }
            Part::Row(row) => {
                if let Some(raw) = &mut self.raw {
                    self.returned += 1;
                    raw.push(row);
                } else {
                    // Now that another row has come, so that a part with others behind it is never the only row.
                    self.hand_on();
                    read_row(&row, &self.layout, &mut self.tape)?;
                    self.returned += 1;
                }
            }
            Part::Complete(affected) => self.affected += affected.unwrap_or(0),
            Part::Suspended => self.is_suspended = true,
        }
        Ok(())
    }

    /// Reads what could not be read yet, and gives all. `told`: the fields as they are now, if the server could be asked.
    pub(super) async fn finish(
        mut self,
        backend: &Backend,
        statement: &Statement,
        manner: Manner,
        told: Option<&Fields>,
    ) -> Result<QueryOutput> {
        if let Some(raw) = self.raw.take() {
            let is_known = told.is_some_and(|told| statement.column_fields.are_as(told));
            let read = match &self.changed {
                None if is_known => self.read_all(&raw),
                _ => Err(Failure::Stale),
            };
            match read {
                Err(Failure::Stale) => {
                    statement.outdate();
                    self.adapt(backend, manner).await?;
                    self.read_all(&raw)?;
                }
                read => read?,
            }
        }
        Ok(QueryOutput {
            row_count: if self.layout.returns_rows {
                self.returned
            } else {
                self.affected
            },
            returns_rows: self.layout.returns_rows,
            columns: Arc::clone(&self.layout.columns),
            tape: self.tape,
            is_suspended: self.is_suspended,
        })
    }

    fn read_all(&mut self, rows: &[DataRow]) -> std::result::Result<(), Failure> {
        self.tape = Tape::default();
        rows.iter()
            .try_for_each(|row| read_row(row, &self.layout, &mut self.tape))
    }

    /// Takes the columns and types as they are now.
    async fn adapt(&mut self, backend: &Backend, manner: Manner) -> Result<()> {
        let known = self.layout.columns.iter();
        let columns: Vec<(String, u32)> = self.changed.take().map_or_else(
            || known.map(|it| (it.name.clone(), it.oid)).collect(),
            |fields| {
                fields
                    .into_iter()
                    .map(|it| (it.name, it.type_oid))
                    .collect()
            },
        );
        backend.forget_types();
        let found = backend.look_up(columns.iter().map(|(_, oid)| *oid)).await;
        // The statement was executed.
        let found = found.map_err(|error| Error {
            again: Again {
                may_harm: true,
                ..Again::default()
            },
            ..error
        })?;
        let typed: Vec<(String, Type)> = columns
            .into_iter()
            .map(|(name, oid)| Ok((name, found.get(oid)?)))
            .collect::<Result<_>>()?;
        let choice = Choice {
            dates: manner.dates,
            delimiters: Some(found.delimiters()),
        };
        let layout = Layout::of(Some(&typed), choice);
        let now = layout.codecs.iter().zip(&*layout.columns);
        for (index, (codec, column)) in now.enumerate() {
            let is_binary = match &*self.layout.formats {
                [] => false,
                [all] => *all,
                each => each.get(index).copied().unwrap_or_default(),
            };
            if is_binary != codec.is_binary() {
                let Column {
                    name, type_name, ..
                } = column;
                let message = if self.layout.returns_rows {
                    format!(
                        "The statement was executed, but column `{name}` has another type now, {type_name}, and its values cannot be \
                         read: run the statement again"
                    )
                } else {
                    format!(
                        "The statement was executed, but it returned no rows when its columns were asked for, and values of type \
                         {type_name} (column `{name}`) cannot be read then: run it again, and not in one pipeline with what makes its rows"
                    )
                };
                return Err(Error::new(ErrorKind::Execute, message));
            }
        }
        self.layout = Arc::new(layout);
        Ok(())
    }
}

/// Why a row cannot be read.
enum Failure {
    /// A type has other fields now.
    Stale,
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stale => Self::new(
                ErrorKind::Execute,
                "a composite arrived with other fields than the server tells that it has",
            ),
            Failure::Other(error) => error,
        }
    }
}

fn read_row(row: &DataRow, layout: &Layout, tape: &mut Tape) -> std::result::Result<(), Failure> {
    let mut values = row.values();
    if values.len() != layout.codecs.len() {
        return Err(Failure::Other(Error::new(
            ErrorKind::Closed,
            format!(
                "the server sent a row of {} values for a result of {} columns",
                values.len(),
                layout.codecs.len()
            ),
        )));
    }
    let broken = |error| Failure::Other(malformed(&error));
    let start = tape.bytes_len();
    for (codec, column) in layout.codecs.iter().zip(&*layout.columns) {
        let raw = values.next().map_err(broken)?;
        codec.decode(raw, tape).map_err(|unread| match unread {
            Unread::Stale => Failure::Stale,
            Unread::Why(why) => Failure::Other(Error::new(
                ErrorKind::Execute,
                format!("Column `{}` ({}) {why}", column.name, column.type_name),
            )),
        })?;
        // Some values have a text that is thousands of times as long as what the server sends of them.
        if tape.bytes_len() - start > MOST_BYTES {
            return Err(Failure::Other(Error::new(
                ErrorKind::Execute,
                format!(
                    "A row holds more than 1 GiB of text, up to column `{}` ({})",
                    column.name, column.type_name
                ),
            )));
        }
    }
    values.end().map_err(broken)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn a_row_with_another_number_of_values_than_columns_is_an_error() {
        let columns = ["a", "b"].map(|name| (name.to_owned(), Type::TEXT));
        let layout = Layout::of(Some(&columns), Choice::default());
        for count in 0..4_u8 {
            let values = vec![[0, 0, 0, 1, b'x']; count.into()].concat();
            let body = [&[0, count][..], &values].concat();
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let mut message = BytesMut::from(&[b"D", &length[..], &body].concat()[..]);
            let Ok(Some(Message::DataRow(row))) = Message::split_off(&mut message) else {
                panic!("no row");
            };
            let mut tape = Tape::default();
            match read_row(&row, &layout, &mut tape).map_err(Error::from) {
                Ok(()) => assert_eq!(count, 2),
                Err(error) => assert_eq!(
                    error.message,
                    format!("the server sent a row of {count} values for a result of 2 columns")
                ),
            }
            assert_eq!(tape.texts.len(), if count == 2 { 2 } else { 0 });
        }
    }
}
