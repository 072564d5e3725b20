//! Several statements in one round trip.

use std::sync::Arc;

use super::answer::{self, Part, Rows};
use super::prepared::refuse_copy;
use super::{Manner, Prepared, QueryOutput, behind, is_stale, marked, stale_behind, stale_inside};
use crate::base::error::{Error, ErrorKind, Result};
use crate::query::backend::{Backend, Execution, Forgotten};
use crate::query::fields::Fields;
use crate::query::values::{Encoded, Param};

/// Runs statements, all sent together. The server skips those behind one that fails, and the error tells which that is. Outside of a
/// transaction block they are one transaction.
pub(crate) async fn pipeline(
    backend: &Backend,
    statements: &[(Arc<str>, Vec<Param>)],
    manner: Manner,
) -> Result<Vec<QueryOutput>> {
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let first = match attempt(backend, statements, manner).await {
        Err(error) if is_stale(&error) => error,
        outcome => return outcome,
    };
    for (sql, _) in statements {
        backend.forget(sql);
    }
    if first.again.may_harm {
        return Err(stale_behind(backend, first));
    }
    match attempt(backend, statements, manner).await {
        Err(error) if error.sql_state() == Some("25P02") => Err(stale_inside(first)),
        outcome => outcome,
    }
}

async fn attempt(
    backend: &Backend,
    statements: &[(Arc<str>, Vec<Param>)],
    manner: Manner,
) -> Result<Vec<QueryOutput>> {
    for (index, (sql, _)) in statements.iter().enumerate() {
        refuse_copy(sql).map_err(|error| at(index, error))?;
    }
    let (mut prepared, mut forgotten) = prepare(backend, statements, manner).await?;
    let mut written = Fields::default();
    for (prepared, (_, params)) in prepared.iter().zip(statements) {
        if prepared.writes_fields(params) {
            written.extend(&prepared.statement.param_fields);
        }
    }
    if !written.is_empty() && !written.are_as(&written.ask(backend)?.told().await?) {
        for (sql, _) in statements {
            backend.forget(sql);
        }
        (prepared, forgotten) = prepare(backend, statements, manner).await?;
    }
    let params = prepared
        .iter()
        .zip(statements)
        .enumerate()
        .map(|(index, (prepared, (_, params)))| {
            let encoded = prepared.encode(params);
            encoded.map_err(|error| at(index, marked(error, prepared)))
        })
        .collect::<Result<Vec<Vec<Encoded>>>>()?;
    let responses =
        backend.run(
            prepared
                .iter()
                .zip(&params)
                .map(|(prepared, params)| Execution {
                    statement: &prepared.statement,
                    params,
                    formats: prepared.plan.formats(),
                }),
        )?;
    // They may be among those that have just been sent.
    drop(forgotten);
    let mut read = Fields::default();
    for prepared in &prepared {
        read.extend(&prepared.statement.column_fields);
    }
    let asked = (!read.is_empty()).then(|| read.ask(backend).ok()).flatten();
    let mut done: Vec<Rows> = Vec::with_capacity(prepared.len());
    let mut rows = Some(Rows::new(&prepared[0]));
    let answered = answer::read(backend, responses, prepared.len(), |part| {
        let Some(current) = &mut rows else {
            return Err(Error::new(
                ErrorKind::Closed,
                "the server sent more answers than there were statements",
            ));
        };
        let is_complete = matches!(part, Part::Complete(_));
        current.take(part)?;
        if is_complete {
            done.extend(rows.take());
            rows = prepared.get(done.len()).map(Rows::new);
        }
        Ok(())
    })
    .await;
    let told = answer::told(asked).await;
    if let Err(error) = answered {
        let completed = done.len();
        let error = match prepared.get(completed) {
            Some(failed) => at(completed, behind(marked(error, failed), completed)),
            // What has failed is the commit of all of them.
            None => error,
        };
        return Err(Error { completed, ..error });
    }
    if done.len() < prepared.len() {
        return Err(Error::new(
            ErrorKind::Closed,
            "the server sent fewer answers than there were statements",
        ));
    }
    let mut outputs = Vec::with_capacity(done.len());
    for (rows, prepared) in done.into_iter().zip(&prepared) {
        let finished = rows.finish(backend, &prepared.statement, manner, told.as_ref());
        outputs.push(finished.await?);
    }
    Ok(outputs)
}

/// Prepares the statements of a pipeline. Gives those too that are no longer kept.
async fn prepare<'a>(
    backend: &'a Backend,
    statements: &[(Arc<str>, Vec<Param>)],
    manner: Manner,
) -> Result<(Vec<Prepared>, Forgotten<'a>)> {
    let texts: Vec<&str> = statements.iter().map(|(sql, _)| &**sql).collect();
    let known = backend.prepare_all(&texts, manner.is_unnamed).await;
    let (known, forgotten) = known.map_err(|(index, error)| at(index, error))?;
    let known = known.into_iter();
    let prepared = known.map(|statement| Prepared::of(statement, manner));
    Ok((prepared.collect(), forgotten))
}

/// Has the server prepare the texts of a pipeline, and gives the names of the types of the parameters of each. `order` has the number of the
/// text of each statement.
pub(crate) async fn parameter_types(
    backend: &Backend,
    texts: &[Arc<str>],
    order: &[usize],
    manner: Manner,
) -> Result<Vec<Vec<String>>> {
    let at_text = |(number, error): (usize, Error)| {
        let first = order.iter().position(|it| *it == number);
        at(first.unwrap_or_default(), error)
    };
    for (number, sql) in texts.iter().enumerate() {
        refuse_copy(sql).map_err(|error| at_text((number, error)))?;
    }
    let texts: Vec<&str> = texts.iter().map(|sql| &**sql).collect();
    let prepared = backend.prepare_all(&texts, manner.is_unnamed).await;
    let (known, _) = prepared.map_err(at_text)?;
    let described = known
        .into_iter()
        .map(|statement| Prepared::of(statement, manner).description());
    let names = described.map(|it| it.params.into_iter().map(|(name, _)| name).collect());
    Ok(names.collect())
}

/// The error of a statement of the pipeline.
fn at(index: usize, error: Error) -> Error {
    let message = format!("Statement {index} of the pipeline: {}", error.message);
    Error {
        index: Some(index),
        ..error.saying(message)
    }
}
