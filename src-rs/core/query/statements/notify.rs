//! Notifications: one round trip for all of them, and nothing of it stays on the server.

use std::sync::LazyLock;

use tokio_postgres::types::Type;

use super::{Manner, Prepared, answer};
use crate::base::error::Result;
use crate::query::backend::{Backend, Execution, Statement};
use crate::query::values::Param;

/// What it returns is void.
static ONE: LazyLock<Prepared> = LazyLock::new(|| {
    known(
        "SELECT pg_catalog.pg_notify($1, $2)",
        [Type::TEXT, Type::TEXT],
    )
});

/// An aggregate, so that one row comes back and not one for each payload.
static MANY: LazyLock<Prepared> = LazyLock::new(|| {
    known(
        "SELECT pg_catalog.count(pg_catalog.pg_notify($1, payload)) FROM pg_catalog.unnest($2) AS payload",
        [Type::TEXT, Type::TEXT_ARRAY],
    )
});

/// A statement of which the server need not be asked anything.
fn known(sql: &str, params: [Type; 2]) -> Prepared {
    let columns = vec![(String::new(), Type::VOID)];
    let statement = Statement::unnamed(sql, params.to_vec(), Some(columns));
    Prepared::of(statement.into(), Manner::default())
}

/// Sends notifications to a channel, in one statement: all of them, in their order, or none.
pub(crate) async fn notify(
    backend: &Backend,
    channel: String,
    payloads: Vec<String>,
) -> Result<()> {
    let mut payloads: Vec<Param> = payloads.into_iter().map(Param::Text).collect();
    let (prepared, payload) = match payloads.len() {
        0 => return Ok(()),
        1 => (&*ONE, payloads.remove(0)),
        _ => (&*MANY, Param::Array(payloads)),
    };
    let params = prepared.encode(&[Param::Text(channel), payload])?;
    let responses = backend.run([Execution {
        statement: &prepared.statement,
        params: &params,
        formats: prepared.plan.formats(),
    }])?;
    answer::read(backend, responses, 1, |_| Ok(())).await
}
