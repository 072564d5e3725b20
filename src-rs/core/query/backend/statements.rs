//! The statements of a connection that are prepared, or of which the types are known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio_postgres::types::{Kind, Type};

use crate::protocol::Origin;
use crate::query::fields::Fields;
use crate::query::statements::Plan;
use crate::query::values::Dates;

/// A connection's prepared statements are forgotten beyond this many: text with values written into it would otherwise
/// fill the memory of both sides.
const MAX_PREPARED_STATEMENTS: usize = 512;

/// A statement of which the server has told the types.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Empty if the server keeps nothing of it.
    pub(super) name: String,
    /// The text of a statement without a name, with which it is sent each time.
    pub(crate) text: String,
    /// The types of its parameters.
    pub(crate) params: Vec<Type>,
    /// The names and types of its columns; `None` if it returns no rows.
    pub(crate) columns: Option<Vec<(String, Type)>>,
    /// Where its columns come from.
    pub(crate) origins: Vec<Origin>,
    /// What separates the elements of arrays in text, where it is no comma.
    pub(crate) delimiters: HashMap<u32, char>,
    /// How its values cross, for each way of reading dates.
    pub(super) plans: [OnceLock<Arc<Plan>>; 3],
    /// The fields of composites among its parameters.
    pub(crate) param_fields: Fields,
    /// The fields of composites among its columns.
    pub(crate) column_fields: Fields,
    /// It was taken from those that are kept.
    pub(super) was_kept: AtomicBool,
    /// Its types are others now than the server has told.
    pub(super) is_outdated: AtomicBool,
}

impl Statement {
    /// A statement with these types.
    pub(super) fn new(
        name: String,
        text: String,
        params: Vec<Type>,
        columns: Option<Vec<(String, Type)>>,
    ) -> Self {
        Self {
            name,
            text,
            param_fields: Fields::of(&params),
            column_fields: Fields::of(columns.iter().flatten().map(|(_, ty)| ty)),
            params,
            columns,
            origins: Vec::new(),
            delimiters: HashMap::new(),
            plans: Default::default(),
            was_kept: AtomicBool::new(false),
            is_outdated: AtomicBool::new(false),
        }
    }

    /// A statement of which the server keeps nothing.
    pub(crate) fn unnamed(
        text: &str,
        params: Vec<Type>,
        columns: Option<Vec<(String, Type)>>,
    ) -> Self {
        Self::new(String::new(), text.to_owned(), params, columns)
    }

    /// How its values cross.
    pub(crate) fn plan(&self, dates: Dates) -> Arc<Plan> {
        let plan = self.plans[dates as usize].get_or_init(|| Arc::new(Plan::of(self, dates)));
        Arc::clone(plan)
    }

    /// Whether the server has told its types for an earlier use, so that they may be others now.
    pub(crate) fn was_kept(&self) -> bool {
        self.was_kept.load(Ordering::Relaxed)
    }

    /// Has the statement prepared anew the next time.
    pub(crate) fn outdate(&self) {
        self.is_outdated.store(true, Ordering::Relaxed);
    }

    fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }

    /// Whether the server keeps nothing of it.
    pub(crate) fn has_no_name(&self) -> bool {
        self.name.is_empty()
    }

    /// Writes the `Parse` of a statement of which the server keeps nothing.
    pub(super) fn write_parse(&self, messages: &mut BytesMut) -> std::io::Result<()> {
        if self.has_no_name() {
            let types = self.params.iter().map(|ty| match ty.kind() {
                // The server finds it anew, as another schema may have one of that name by now. Labels are sent as text.
                Kind::Enum(_) => 0,
                _ => ty.oid(),
            });
            frontend::parse("", &self.text, types, messages)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Kept {
    statement: Arc<Statement>,
    used: u64,
}

/// The prepared statements of a connection by their text.
#[derive(Debug, Default)]
pub(super) struct Statements {
    kept: HashMap<String, Kept>,
    /// As of which discards they are: what was prepared before the server does not know any more.
    discards: usize,
    /// Counts uses, so that the statement can be found that was not used for longest.
    clock: u64,
}

impl Statements {
    /// The statement of a text, as of so many discards.
    pub(super) fn get(&mut self, sql: &str, discards: usize) -> Option<Arc<Statement>> {
        if discards != self.discards {
            self.kept.clear();
            self.discards = discards;
        }
        self.clock += 1;
        let kept = self.kept.get_mut(sql)?;
        if kept.statement.is_outdated() {
            return None;
        }
        kept.used = self.clock;
        kept.statement.was_kept.store(true, Ordering::Relaxed);
        Some(Arc::clone(&kept.statement))
    }

    /// Whether there is a statement of a text, as of so many discards, that is run without a question for fields.
    pub(super) fn has_simple(&self, sql: &str, discards: usize) -> bool {
        let is_simple = |kept: &Kept| {
            let Statement {
                param_fields,
                column_fields,
                ..
            } = &*kept.statement;
            param_fields.is_empty() && column_fields.is_empty()
        };
        discards == self.discards && self.kept.get(sql).is_some_and(is_simple)
    }

    /// Gives the statement that was forgotten.
    pub(super) fn remove(&mut self, sql: &str) -> Option<Arc<Statement>> {
        self.kept.remove(sql).map(|kept| kept.statement)
    }

    /// Keeps a statement. Gives those that are no longer kept.
    pub(super) fn insert(&mut self, sql: &str, statement: &Arc<Statement>) -> Vec<Arc<Statement>> {
        let mut dropped = Vec::new();
        if self.kept.len() >= MAX_PREPARED_STATEMENTS {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(oldest) = oldest.map(|(sql, _)| sql.clone()) {
                dropped.extend(self.kept.remove(&oldest).map(|kept| kept.statement));
            }
        }
        self.clock += 1;
        let kept = Kept {
            statement: Arc::clone(statement),
            used: self.clock,
        };
        let replaced = self.kept.insert(sql.to_owned(), kept);
        dropped.extend(replaced.map(|kept| kept.statement));
        dropped
    }
}
