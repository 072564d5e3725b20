//! Prepared statements, checked before they are executed: whether every parameter and column has a supported type.

use std::sync::Arc;

use tokio_postgres::types::{Kind, Type};

use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::copy_refused;
use crate::query::backend::{Backend, Statement};
use crate::query::sql_text::streams_a_copy;
use crate::query::values::{Codec, Encoded, Param, encode_params, type_name};

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// The name of its type as one writes it: `int4[]`, not `_int4`.
    pub type_name: String,
    /// The oid of its type.
    pub oid: u32,
    /// What its values, or the elements of its arrays, stand for.
    pub form: Form,
    /// Whether its values are arrays.
    pub is_array: bool,
}

/// What a [`Value`](crate::query::values::Value) of a column stands for, beyond what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The value itself.
    Plain,
    /// A text is JSON.
    Json,
    /// A number is a moment.
    Date,
}

/// A prepared statement, with the codec and the type of each parameter.
pub(super) struct Prepared {
    pub(super) statement: Arc<Statement>,
    params: Vec<(Codec, Type)>,
}

impl Prepared {
    /// Prepares a statement and checks the types of its parameters.
    pub(super) async fn new(backend: &Backend, sql: &str) -> Result<Self> {
        refuse_copy(sql)?;
        let statement = backend.prepare(sql).await?;
        let params = statement
            .params
            .iter()
            .enumerate()
            .map(|(index, ty)| {
                let codec = Codec::of(ty).ok_or_else(|| {
                    let number = index + 1;
                    unsupported(
                        &format!("Parameter ${number}"),
                        ty,
                        &format!(
                            "give it as text, for example `${number}::text::{}`",
                            type_name(ty)
                        ),
                    )
                })?;
                Ok((codec, ty.clone()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { statement, params })
    }

    /// The columns of the result, each with its codec.
    pub(super) fn columns(&self) -> Result<Vec<(Codec, Column)>> {
        self.statement
            .columns
            .iter()
            .map(|(name, ty)| {
                let codec = Codec::of(ty).ok_or_else(|| {
                    unsupported(
                        &format!("Column `{name}`"),
                        ty,
                        "cast it to text in the statement",
                    )
                })?;
                let column = Column {
                    name: name.clone(),
                    type_name: type_name(ty),
                    oid: ty.oid(),
                    form: form(&codec),
                    is_array: matches!(codec, Codec::Array { .. }),
                };
                Ok((codec, column))
            })
            .collect()
    }

    /// Writes the parameters in the server's format.
    pub(super) fn encode(&self, params: &[Param]) -> Result<Vec<Encoded>> {
        let (expected, got) = (self.params.len(), params.len());
        if expected != got {
            let plural = if expected == 1 { "" } else { "s" };
            return Err(Error::new(
                ErrorKind::Execute,
                format!("Expected {expected} parameter{plural} for the statement, got {got}"),
            ));
        }
        encode_params(params, &self.params)
    }
}

fn form(codec: &Codec) -> Form {
    match codec {
        Codec::Json | Codec::Jsonb => Form::Json,
        Codec::Date | Codec::Timestamp => Form::Date,
        Codec::Array { element, .. } => form(element),
        _ => Form::Plain,
    }
}

fn unsupported(what: &str, ty: &Type, instead: &str) -> Error {
    // A pseudo-type, such as that of a row of unnamed columns, cannot be named in a cast.
    let hint = match ty.kind() {
        Kind::Pseudo => String::new(),
        _ => format!(": {instead}"),
    };
    Error::new(
        ErrorKind::Execute,
        format!(
            "{what} has type `{}` (oid {}), which is not supported{hint}",
            type_name(ty),
            ty.oid()
        ),
    )
}

/// Refuses a `COPY` from or to the client, for which the server would wait forever.
pub(super) fn refuse_copy(sql: &str) -> Result<()> {
    if streams_a_copy(sql) {
        return Err(copy_refused());
    }
    Ok(())
}
