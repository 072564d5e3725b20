//! Prepared statements, with how their parameters and columns cross.

use std::sync::Arc;

use tokio_postgres::types::Type;

use super::Manner;
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::{Origin, copy_refused};
use crate::query::backend::{Backend, Statement};
use crate::query::fields::Asked;
use crate::query::sql_text::{runs_by_name, streams_a_copy};
use crate::query::values::{
    Choice, Codec, Dates, Encoded, Param, RecordColumn, RecordEncoder, base_name, encode_params,
    type_name,
};

/// How many parameters a statement may be sent with: the protocol counts them in two bytes.
const MOST_PARAMETERS: usize = 65_535;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// The name of its type as one writes it: `int4[]`, not `_int4`. A domain is its base type.
    pub type_name: String,
    /// The oid of its type.
    pub oid: u32,
    /// How its values are read from a tape: [`Codec::shape`].
    pub shape: String,
}

/// What a statement takes and gives.
#[derive(Debug, Clone)]
pub struct Description {
    /// The name and the oid of the type of each parameter.
    pub params: Vec<(String, u32)>,
    /// The columns of the rows.
    pub columns: Arc<[Column]>,
    /// Where each column comes from.
    pub origins: Vec<Origin>,
    /// Whether there are rows at all.
    pub returns_rows: bool,
}

/// How the values of a statement cross.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) params: Vec<(Codec, Type)>,
    pub(super) result: Arc<Layout>,
}

/// The columns of a result, and how they are read.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(super) codecs: Vec<Codec>,
    /// The formats in which the columns are asked for, whether binary. A single one counts for all columns, and none is text for all.
    pub(super) formats: Vec<bool>,
    pub(super) columns: Arc<[Column]>,
    /// Whether there are rows at all, of which each may have no column.
    pub(super) returns_rows: bool,
}

impl Plan {
    pub(crate) fn of(statement: &Statement, dates: Dates) -> Self {
        let choice = Choice {
            dates,
            delimiters: Some(&statement.delimiters),
        };
        let params = statement.params.iter();
        let mut result = Layout::of(statement.columns.as_deref(), choice);
        let formats = &mut result.formats;
        if statement.has_no_name() && formats.is_empty() {
            // Columns that it may have by the time it is executed are of types that mostly cross in the binary format.
            formats.push(true);
        } else if runs_by_name(&statement.text) && formats.iter().all(|it| *it == formats[0]) {
            // What is sent before it may have the cursor replaced by one of more columns or fewer, which one format for all of them fits.
            formats.truncate(1);
        }
        Self {
            params: params
                .map(|ty| (Codec::of(ty, choice), ty.clone()))
                .collect(),
            result: Arc::new(result),
        }
    }

    /// The formats in which the columns are asked for.
    pub(super) fn formats(&self) -> impl ExactSizeIterator<Item = bool> + Clone {
        self.result.formats.iter().copied()
    }

    /// Whether a parameter has fields, which may be others by now.
    fn has_fields(&self) -> bool {
        self.params.iter().any(|(codec, _)| codec.has_fields())
    }
}

impl Layout {
    pub(super) fn of(columns: Option<&[(String, Type)]>, choice: Choice<'_>) -> Self {
        let described = columns.unwrap_or_default().iter();
        let codecs: Vec<Codec> = described
            .clone()
            .map(|(_, ty)| Codec::of(ty, choice))
            .collect();
        let columns_of = described.zip(&codecs).map(|((name, ty), codec)| Column {
            name: name.clone(),
            type_name: base_name(ty),
            oid: ty.oid(),
            shape: codec.shape(),
        });
        Self {
            columns: columns_of.collect(),
            formats: codecs.iter().map(Codec::is_binary).collect(),
            codecs,
            returns_rows: columns.is_some(),
        }
    }

    /// Whether a value has fields, which may be others by now.
    pub(super) fn has_fields(&self) -> bool {
        self.codecs.iter().any(Codec::has_fields)
    }
}

/// A statement that can be executed.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) statement: Arc<Statement>,
    pub(super) plan: Arc<Plan>,
}

impl Prepared {
    /// Prepares a statement.
    pub(crate) async fn new(backend: &Backend, sql: &str, manner: Manner) -> Result<Self> {
        refuse_copy(sql)?;
        let statement = backend.prepare(sql, manner.is_unnamed).await?;
        Ok(Self::of(statement, manner))
    }

    /// Prepares a statement for sets of parameters. If these have fields, the server is asked first which there are now.
    pub(crate) async fn for_sets<'a>(
        backend: &Backend,
        sql: &str,
        manner: Manner,
        mut sets: impl Iterator<Item = &'a [Param]>,
    ) -> Result<Self> {
        let prepared = Self::new(backend, sql, manner).await?;
        if !sets.any(|params| prepared.writes_fields(params)) {
            return Ok(prepared);
        }
        let fields = &prepared.statement.param_fields;
        if fields.are_as(&fields.ask(backend)?.told().await?) {
            return Ok(prepared);
        }
        backend.forget(sql);
        Self::new(backend, sql, manner).await
    }

    /// Whether parameters have fields that are not the server's to read.
    pub(super) fn writes_fields(&self, params: &[Param]) -> bool {
        let mut params = params.iter().zip(&self.plan.params);
        params.any(|(param, (codec, _))| {
            codec.has_fields() && !matches!(param, Param::Null | Param::Text(_))
        })
    }

    /// Asks for the fields of the result, behind what was sent to get it. `None`: it has none, or nothing can be sent any more.
    pub(super) fn ask_fields(&self, backend: &Backend) -> Option<Asked> {
        let is_asked = self.plan.result.has_fields();
        is_asked.then(|| self.statement.column_fields.ask(backend).ok())?
    }

    /// Whether its types may be others now than the server has told.
    pub(super) fn may_be_outdated(&self) -> bool {
        self.statement.was_kept() || self.plan.has_fields()
    }

    /// How a statement is executed that the server knows.
    pub(super) fn of(statement: Arc<Statement>, manner: Manner) -> Self {
        Self {
            plan: statement.plan(manner.dates),
            statement,
        }
    }

    /// Writes records of the columns.
    pub(crate) fn record_encoder(&self) -> RecordEncoder {
        let columns = self.statement.columns.iter().flatten();
        RecordEncoder::new(
            columns
                .zip(&self.plan.result.codecs)
                .map(|((name, ty), codec)| RecordColumn {
                    name: name.clone(),
                    type_name: type_name(ty),
                    codec: codec.clone(),
                })
                .collect(),
        )
    }

    /// What the statement takes and gives.
    pub(crate) fn description(&self) -> Description {
        let params = self.plan.params.iter();
        Description {
            params: params.map(|(_, ty)| (type_name(ty), ty.oid())).collect(),
            columns: Arc::clone(&self.plan.result.columns),
            origins: self.statement.origins.clone(),
            returns_rows: self.plan.result.returns_rows,
        }
    }

    /// Writes the parameters as they are sent.
    pub(super) fn encode(&self, params: &[Param]) -> Result<Vec<Encoded>> {
        let (expected, got) = (self.plan.params.len(), params.len());
        if expected > MOST_PARAMETERS {
            return Err(Error::new(
                ErrorKind::Execute,
                format!(
                    "the statement has {expected} parameters, and at most {MOST_PARAMETERS} can be sent: take an array, or \
                     copy the rows"
                ),
            ));
        }
        if expected != got {
            let plural = if expected == 1 { "" } else { "s" };
            return Err(Error::new(
                ErrorKind::Execute,
                format!("Expected {expected} parameter{plural} for the statement, got {got}"),
            ));
        }
        encode_params(params, &self.plan.params)
    }
}

/// Refuses a `COPY` from or to the client, for which the server would wait forever.
pub(super) fn refuse_copy(sql: &str) -> Result<()> {
    if streams_a_copy(sql) {
        return Err(copy_refused());
    }
    Ok(())
}
