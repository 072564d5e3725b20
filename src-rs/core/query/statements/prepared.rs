//! Statements before they are executed: whether everything that goes in and comes out is supported.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Statement;
use tokio_postgres::types::{Kind, Type};

use crate::base::error::{Error, ErrorKind, Result};
use crate::query::sql_text::streams_a_copy;
use crate::query::values::{Codec, Encoded, Param, encode_params, type_name};

/// A connection's statements are forgotten beyond this many: text with values written into it would otherwise
/// fill the memory of both sides.
const MAX_CACHED_STATEMENTS: usize = 512;
/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As one writes it: `int4[]`.
    pub type_name: String,
    pub oid: u32,
    /// Its values are JSON text, or arrays of it.
    pub is_json: bool,
}

/// A statement, and how its parameters cross.
pub(super) struct Prepared {
    pub(super) statement: Statement,
    params: Vec<(Codec, Type)>,
}

impl Prepared {
    pub(super) async fn new(client: &ClientWrapper, sql: &str) -> Result<Self> {
        refuse_copy(sql)?;
        if client.statement_cache.size() >= MAX_CACHED_STATEMENTS {
            client.statement_cache.clear();
        }
        let statement = match client.prepare_cached(sql).await {
            Ok(statement) => statement,
            Err(error) => {
                // Or its place in the cache would stay, empty.
                client.statement_cache.remove(sql, &[]);
                return Err(error.into());
            }
        };
        let params = statement
            .params()
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

    pub(super) fn columns(&self) -> Result<Vec<(Codec, Column)>> {
        self.statement
            .columns()
            .iter()
            .map(|column| {
                let ty = column.type_();
                let codec = Codec::of(ty).ok_or_else(|| {
                    unsupported(
                        &format!("Column `{}`", column.name()),
                        ty,
                        "cast it to text in the statement",
                    )
                })?;
                let column = Column {
                    name: column.name().to_owned(),
                    type_name: type_name(ty),
                    oid: ty.oid(),
                    is_json: is_json(&codec),
                };
                Ok((codec, column))
            })
            .collect()
    }

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

fn is_json(codec: &Codec) -> bool {
    match codec {
        Codec::Json | Codec::Jsonb => true,
        Codec::Array { element, .. } => is_json(element),
        _ => false,
    }
}

fn unsupported(what: &str, ty: &Type, instead: &str) -> Error {
    // A row of unnamed columns has no type that one could name in a cast.
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

pub(super) fn refuse_copy(sql: &str) -> Result<()> {
    if streams_a_copy(sql) {
        return Err(Error::new(
            ErrorKind::Execute,
            "COPY FROM STDIN and COPY TO STDOUT cannot be run as statements",
        ));
    }
    Ok(())
}
