//! Prepares statements, asks what their types are, and has the server forget them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postgres_protocol::message::frontend;

use super::{Backend, Statement};
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::{self, Message, Request, Responses};
use crate::query::sql_text::runs_by_name;
use crate::query::types::{self, Catalogue};

/// Statements that a connection no longer keeps. Once this is dropped, the server is told to forget them, behind all that was sent
/// before.
#[derive(Debug)]
pub(crate) struct Forgotten<'a> {
    backend: &'a Backend,
    statements: Vec<Arc<Statement>>,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        for statement in &self.statements {
            self.backend.close(&statement.name);
        }
    }
}

impl Backend {
    /// Whether a statement can be run in one round trip, as far as is known.
    pub(crate) fn is_prepared(&self, sql: &str, is_unnamed: bool) -> bool {
        let kept = if is_unnamed {
            &self.described
        } else {
            &self.statements
        };
        let discards = if is_unnamed { 0 } else { self.wire.discards() };
        kept.lock().has_simple(sql, discards)
    }

    /// The statement that was prepared of a text, or that the server prepares now. Of one without a name the server keeps nothing
    /// after this, and only its types are known.
    pub(crate) async fn prepare(&self, sql: &str, is_unnamed: bool) -> Result<Arc<Statement>> {
        let prepared = self.prepare_all(&[sql], is_unnamed).await;
        let (mut statements, _) = prepared.map_err(|(_, error)| error)?;
        match statements.pop() {
            Some(statement) => Ok(statement),
            None => Err(Error::new(ErrorKind::Closed, "nothing was prepared")),
        }
    }

    /// The statements that were prepared of texts, or that the server prepares now, all of them in one round trip, and those that
    /// are no longer kept, which may be among them. An error tells of which text it is. Of a text that [`runs_by_name`] nothing is
    /// kept, because the server never tells that its columns are others by now.
    pub(crate) async fn prepare_all(
        &self,
        texts: &[&str],
        is_unnamed: bool,
    ) -> std::result::Result<(Vec<Arc<Statement>>, Forgotten<'_>), (usize, Error)> {
        let kept = if is_unnamed {
            &self.described
        } else {
            &self.statements
        };
        let mut statements: HashMap<&str, Arc<Statement>> = HashMap::new();
        let mut asked: Vec<(usize, String, Responses)> = Vec::new();
        let mut failed: Option<(usize, Error)> = None;
        let mut seen = HashSet::new();
        let mut forgotten = Forgotten {
            backend: self,
            statements: Vec::new(),
        };
        for (index, sql) in texts.iter().enumerate() {
            if !seen.insert(*sql) {
                continue;
            }
            // What has no name is never forgotten by the server.
            let discards = if is_unnamed { 0 } else { self.wire.discards() };
            if let Some(statement) = kept.lock().get(sql, discards) {
                statements.insert(sql, statement);
                continue;
            }
            let name = if is_unnamed || runs_by_name(sql) {
                String::new()
            } else {
                self.new_name()
            };
            match self.ask_to_prepare(&name, sql) {
                Ok(responses) => asked.push((index, name, responses)),
                Err(error) => {
                    failed = Some((index, error));
                    break;
                }
            }
        }
        // Also behind one that fails: what the server has prepared is kept, or it would stay there unknown.
        for (index, name, responses) in asked {
            let sql = texts[index];
            let statement = match self.prepared(&name, sql, responses).await {
                Ok(statement) => Arc::new(statement),
                Err(error) => {
                    if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                        failed = Some((index, error));
                    }
                    continue;
                }
            };
            if !runs_by_name(sql) {
                let dropped = kept.lock().insert(sql, &statement);
                forgotten.statements.extend(dropped);
            }
            statements.insert(sql, statement);
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        let all = texts.iter().filter_map(|sql| statements.get(sql).cloned());
        Ok((all.collect(), forgotten))
    }

    fn ask_to_prepare(&self, name: &str, sql: &str) -> Result<Responses> {
        self.check_ready()?;
        Ok(self.wire.send(Request::extended(|messages| {
            protocol::check_length("its text has", sql.len())?;
            frontend::parse(name, sql, [], messages)?;
            frontend::describe(b'S', name, messages)
        })?))
    }

    async fn prepared(&self, name: &str, sql: &str, mut responses: Responses) -> Result<Statement> {
        let mut params = Vec::new();
        let mut fields = None;
        let mut refused = None;
        loop {
            match responses.next().await {
                None => return Err(responses.lost(refused)),
                Some(Message::ParameterDescription(oids)) => params = oids,
                Some(Message::RowDescription(columns)) => fields = Some(columns),
                Some(Message::ErrorResponse(error)) => drop(refused.get_or_insert(error)),
                Some(Message::ReadyForQuery(_)) => break,
                Some(_) => {}
            }
        }
        if let Some(error) = refused {
            return Err(Error::database(*error));
        }
        let described = self.described(name, sql, &params, fields).await;
        described.inspect_err(|_| self.close(name))
    }

    async fn described(
        &self,
        name: &str,
        sql: &str,
        params: &[u32],
        fields: Option<Vec<protocol::Field>>,
    ) -> Result<Statement> {
        let oids = params
            .iter()
            .copied()
            .chain(fields.iter().flatten().map(|field| field.type_oid));
        let found = self.look_up(oids).await?;
        let text = if name.is_empty() { sql } else { "" };
        let params = params
            .iter()
            .map(|oid| found.get(*oid))
            .collect::<Result<_>>()?;
        let origins = fields.iter().flatten().map(|field| field.origin).collect();
        let columns = fields
            .map(|fields| {
                let columns = fields.into_iter();
                let known = columns.map(|it| Ok((it.name, found.get(it.type_oid)?)));
                known.collect::<Result<_>>()
            })
            .transpose()?;
        Ok(Statement {
            origins,
            delimiters: found.delimiters().clone(),
            ..Statement::new(name.to_owned(), text.to_owned(), params, columns)
        })
    }

    /// What types are.
    pub(in crate::query) async fn look_up(
        &self,
        oids: impl Iterator<Item = u32>,
    ) -> Result<Catalogue> {
        types::look_up(self, &self.types, oids).await
    }

    /// Has the server forget a statement. Nothing waits for the answer.
    fn close(&self, name: &str) {
        if name.is_empty() {
            return;
        }
        let request = Request::extended(|messages| frontend::close(b'S', name, messages));
        drop(request.map(|request| self.wire.send(request)));
    }

    /// Has the server forget the statement of a text, if it has one.
    pub(crate) fn deallocate(&self, sql: &str) {
        let statement = self.statements.lock().remove(sql);
        if let Some(statement) = statement {
            self.close(&statement.name);
        }
    }

    /// Prepares a statement anew the next time, and asks again what its types are.
    pub(crate) fn forget(&self, sql: &str) {
        self.deallocate(sql);
        self.forget_description(sql);
        self.forget_types();
    }

    /// Asks again what a statement without a name takes and gives, the next time.
    pub(crate) fn forget_description(&self, sql: &str) {
        self.described.lock().remove(sql);
    }

    /// Asks again what types are, the next time.
    pub(crate) fn forget_types(&self) {
        self.types.lock().clear();
    }
}
