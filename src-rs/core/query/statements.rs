//! Statements on one connection: prepared, their parameters written as the server expects them, executed, their rows read.

mod answer;
mod block;
mod many;
mod notify;
mod pipeline;
mod portal;
mod prepared;

use std::iter::once;
use std::sync::Arc;

pub use block::CommitOutcome;
pub(crate) use block::{commit, release, undo};
pub(crate) use many::execute_many;
pub(crate) use notify::notify;
pub(crate) use pipeline::{parameter_types, pipeline};
pub(crate) use portal::Portal;
use prepared::refuse_copy;
pub use prepared::{Column, Description};
pub(crate) use prepared::{Plan, Prepared};

use crate::base::error::{Again, Error, ErrorKind, Result, ServerMessage, Stage};
use crate::protocol::TransactionStatus;
use crate::query::backend::{Backend, Execution};
use crate::query::values::{Dates, Param, Tape};

/// How a statement is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// How dates are read.
    pub dates: Dates,
    /// The server keeps nothing of the statement, so that it works behind a pooler that gives each statement to another session.
    pub is_unnamed: bool,
}

/// The result of one statement.
#[derive(Debug)]
pub struct QueryOutput {
    /// The columns of the rows.
    pub columns: Arc<[Column]>,
    /// Whether the statement returns rows, of which each may have no column.
    pub returns_rows: bool,
    /// The values of all rows, row after row.
    pub tape: Tape,
    /// How many rows were returned, or, for a statement that returns none, affected.
    pub row_count: u64,
    /// Whether there are more rows.
    pub is_suspended: bool,
}

/// Takes rows of a statement before the last one has come. The rest is the statement's result.
pub type Parts = futures_channel::mpsc::UnboundedSender<QueryOutput>;

/// Runs one statement, and once more if it turns out to be prepared for another state of the database.
pub(crate) async fn execute(
    backend: &Backend,
    sql: &str,
    params: &[Param],
    manner: Manner,
    parts: Option<Parts>,
) -> Result<QueryOutput> {
    let first = match attempt(backend, sql, params, manner, parts.clone()).await {
        Err(error) if is_stale(&error) => error,
        outcome => return outcome,
    };
    backend.forget(sql);
    if first.again.may_harm {
        return Err(stale_behind(backend, first));
    }
    // The server refused before executing anything, so trying again is safe. Inside a transaction the refusal has failed
    // the transaction, and the second attempt can only say so: the first error says why.
    match attempt(backend, sql, params, manner, parts).await {
        Err(error) if error.sql_state() == Some("25P02") => Err(stale_inside(first)),
        outcome => outcome,
    }
}

/// The error of a statement that would have to be prepared anew, in a transaction that has failed by it.
fn stale_inside(error: Error) -> Error {
    if !tells_of_a_plan(&error) {
        return error;
    }
    let message = format!(
        "{}: the statement was prepared before the database changed, before `search_path` did, or before something deallocated \
         it. Outside of a transaction it would have been tried again; here the transaction has failed: roll it back, and run it \
         again",
        error.message
    );
    error.saying(message)
}

/// The error of a statement that would have to be prepared anew, when something that was sent with it may have taken effect.
fn stale_behind(backend: &Backend, error: Error) -> Error {
    if !tells_of_a_plan(&error) {
        return error;
    }
    if backend.transaction_status() == TransactionStatus::Failed {
        return stale_inside(error);
    }
    let message = format!(
        "{}: the statement was prepared before the database changed, before `search_path` did, or before something deallocated \
         it. It was not tried again, because something that was sent with it may have taken effect",
        error.message
    );
    error.saying(message)
}

/// Opens a statement as a cursor, within the transaction block that is open, and once more if it turns out to be prepared for another state
/// of the database. If the server has refused it, the transaction has failed, and the error is [`Error::is_outdated`].
pub(crate) async fn open(
    backend: &Backend,
    sql: &str,
    params: &[Param],
    manner: Manner,
) -> Result<Portal> {
    if manner.is_unnamed {
        // Nobody tells that it has other columns by now. From here on they stay, as the transaction locks where they come from.
        backend.forget_description(sql);
    }
    let first = match attempt_to_open(backend, sql, params, manner).await {
        Err(error) if is_stale(&error) => error,
        outcome => return outcome,
    };
    backend.forget(sql);
    if backend.transaction_status() == TransactionStatus::Active {
        return attempt_to_open(backend, sql, params, manner).await;
    }
    let again = Again {
        may_help: true,
        ..first.again
    };
    Err(Error {
        again,
        ..stale_inside(first)
    })
}

async fn attempt_to_open(
    backend: &Backend,
    sql: &str,
    params: &[Param],
    manner: Manner,
) -> Result<Portal> {
    let prepared = Prepared::for_sets(backend, sql, manner, once(params)).await?;
    Portal::open(backend, prepared, params, manner).await
}

/// Runs statements without parameters, separated by semicolons.
pub(crate) async fn execute_batch(backend: &Backend, sql: &str) -> Result<()> {
    refuse_copy(sql)?;
    backend.batch_execute(sql).await
}

async fn attempt(
    backend: &Backend,
    sql: &str,
    params: &[Param],
    manner: Manner,
    parts: Option<Parts>,
) -> Result<QueryOutput> {
    let prepared = Prepared::for_sets(backend, sql, manner, once(params)).await?;
    fail_point!("statement");
    run(backend, &prepared, params, manner, parts).await
}

/// Runs a statement that is prepared.
pub(crate) async fn run(
    backend: &Backend,
    prepared: &Prepared,
    params: &[Param],
    manner: Manner,
    parts: Option<Parts>,
) -> Result<QueryOutput> {
    let encoded = prepared.encode(params);
    let params = encoded.map_err(|error| marked(error, prepared))?;
    let responses = backend.run([Execution {
        statement: &prepared.statement,
        params: &params,
        formats: prepared.plan.formats(),
    }])?;
    let asked = prepared.ask_fields(backend);
    let mut rows = answer::Rows::new(prepared).in_parts(parts);
    let answered = answer::read(backend, responses, 1, |part| rows.take(part)).await;
    let told = answer::told(asked).await;
    answered.map_err(|error| marked(error, prepared))?;
    let statement = &prepared.statement;
    rows.finish(backend, statement, manner, told.as_ref()).await
}

/// Marks an error of parameters whose types may be others now than the server has told.
fn marked(error: Error, prepared: &Prepared) -> Error {
    let is_of_parameters = match error.sql_state() {
        // What cannot be read of an answer was executed.
        None => error.kind == ErrorKind::Execute && !error.again.may_harm,
        // What is of the plan alone is tried again also where something was sent before.
        Some(state) => {
            error.again.stage == Stage::Unbound
                && refuses_parameters(state)
                && !names_a_plan(&error)
        }
    };
    Error {
        again: Again {
            may_help: is_of_parameters && prepared.may_be_outdated(),
            ..error.again
        },
        ..error
    }
}

/// An error of parameters behind others that were taken, so many. What those did is undone, but for what is of the session, such as a lock:
/// it is not done twice for a parameter that mostly is wrong.
fn behind(error: Error, done: usize) -> Error {
    Error {
        again: Again {
            may_harm: error.again.may_harm || (done > 0 && error.again.may_help),
            ..error.again
        },
        ..error
    }
}

/// Whether a server may say this of a parameter that was written for another type. By the classes of what it says, the value is not one of its
/// type (22), not one that its domain takes (23, and P0 from a function that checks it), names nothing that there is (42, 3F), as one for
/// `regclass` or `regnamespace` may, or cannot be read by the type of an extension (XX); or nothing is there for its type (42).
fn refuses_parameters(sql_state: &str) -> bool {
    matches!(
        sql_state.get(..2),
        Some("22" | "23" | "3F" | "42" | "P0" | "XX")
    )
}

/// Whether a server says this of types (`datatype_mismatch`, `cannot_coerce`, `undefined_function`, `ambiguous_function`). With the types that
/// the server itself has found for a statement it has nothing to say of them, unless something has changed since.
fn refuses_types(sql_state: &str) -> bool {
    matches!(sql_state, "42804" | "42846" | "42883" | "42725")
}

/// Whether the server no longer knows a prepared statement, or a type of it has another form now: preparing it again helps.
fn is_stale(error: &Error) -> bool {
    error.again.may_help || names_a_plan(error)
}

/// Whether the server would not say this of a statement that had just been prepared.
fn tells_of_a_plan(error: &Error) -> bool {
    names_a_plan(error) || (error.again.may_help && error.sql_state().is_some_and(refuses_types))
}

/// Whether the server says that it no longer knows a prepared statement, or a type of it.
fn names_a_plan(error: &Error) -> bool {
    error.server.as_deref().is_some_and(|server| {
        let is_of_plan = match &*server.sql_state {
            "26000" => true,
            // Another number of parameters, or of columns. The server localizes messages, but not the name of the routine.
            "08P01" => matches!(
                server.routine.as_deref(),
                Some("exec_bind_message" | "PortalSetResultFormat")
            ),
            "0A000" => server.routine.as_deref() == Some("RevalidateCachedQuery"),
            _ => misses_a_type(server),
        };
        match error.again.stage {
            Stage::Unbound => is_of_plan,
            // What a statement says once it runs is of the statements within it, and what functions say has a context.
            Stage::Running => misses_a_type(server) && server.context.is_none(),
            Stage::Committing => false,
        }
    })
}

/// Whether a type is gone. The server does not localize the messages of internal errors.
fn misses_a_type(server: &ServerMessage) -> bool {
    server.sql_state == "XX000"
        // Of a pipeline its statement is named before.
        && server.message.contains("cache lookup failed for type")
}

/// Whether a statement that was bound has failed before it began to run: a cast of it leads to a type that is gone.
fn fails_to_begin(server: &ServerMessage) -> bool {
    misses_a_type(server)
        && server.context.is_none()
        && server.routine.as_deref() == Some("getTypeInputInfo")
}
