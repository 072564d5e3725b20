//! What the server says of types that are not built in, looked up within bounds.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use tokio_postgres::types::{Kind, Type};

use crate::base::error::{Error, ErrorKind, Result};
use crate::query::backend::Backend;

/// How many levels of types one type may stand on: a domain over an array of a domain has two. What a server says beyond
/// that could go on for ever.
const MAX_LEVELS: usize = 64;

/// How many types one look-up may ask for.
const MAX_TYPES: usize = 16_384;

/// The types that a statement needs.
pub(super) struct Found(HashMap<u32, Type>);

impl Found {
    /// A type by its oid.
    pub(super) fn get(&self, oid: u32) -> Result<Type> {
        let known = self.0.get(&oid).cloned().or_else(|| Type::from_oid(oid));
        known.ok_or_else(|| unknown(oid))
    }
}

fn unknown(oid: u32) -> Error {
    Error::new(
        ErrorKind::Execute,
        format!("the server does not tell what the type with oid {oid} is"),
    )
}

/// A row of `pg_type`.
struct Told {
    name: String,
    schema: String,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Simple,
    Enum,
    Pseudo,
    Composite,
    Range,
    Array(u32),
    Domain(u32),
}

/// Finds the types with these oids, level by level: first the types themselves, then those that they stand on.
pub(super) async fn look_up(
    backend: &Backend,
    known: &Mutex<HashMap<u32, Type>>,
    oids: impl Iterator<Item = u32>,
) -> Result<Found> {
    let wanted: BTreeSet<u32> = oids.filter(|oid| Type::from_oid(*oid).is_none()).collect();
    let mut found = HashMap::new();
    let mut missing = BTreeSet::new();
    {
        let known = known.lock();
        for oid in &wanted {
            match known.get(oid) {
                Some(ty) => drop(found.insert(*oid, ty.clone())),
                None => drop(missing.insert(*oid)),
            }
        }
    }
    if missing.is_empty() {
        return Ok(Found(found));
    }
    let mut told: HashMap<u32, Told> = HashMap::new();
    let mut levels: Vec<BTreeSet<u32>> = Vec::new();
    while !missing.is_empty() {
        if levels.len() == MAX_LEVELS || told.len() + missing.len() > MAX_TYPES {
            return Err(Error::new(
                ErrorKind::Execute,
                format!(
                    "the server describes a type by more than {MAX_LEVELS} levels or {MAX_TYPES} other types"
                ),
            ));
        }
        let answers = ask(backend, &missing).await?;
        let mut next = BTreeSet::new();
        for (oid, answer) in answers {
            if let Form::Array(of) | Form::Domain(of) = answer.form
                && Type::from_oid(of).is_none()
                && !told.contains_key(&of)
                && !missing.contains(&of)
            {
                next.insert(of);
            }
            told.insert(oid, answer);
        }
        levels.push(std::mem::replace(&mut missing, next));
    }
    // From the last level up, each type finds those that it stands on. A type that stands on itself finds none.
    for level in levels.iter().rev() {
        let mut left: Vec<u32> = level.iter().copied().collect();
        loop {
            let before = left.len();
            left.retain(
                |oid| match told.get(oid).and_then(|told| made(*oid, told, &found)) {
                    Some(ty) => {
                        found.insert(*oid, ty);
                        false
                    }
                    None => true,
                },
            );
            if left.is_empty() || left.len() == before {
                break;
            }
        }
    }
    known
        .lock()
        .extend(found.iter().map(|(oid, ty)| (*oid, ty.clone())));
    Ok(Found(found))
}

/// The type, if those that it stands on are known.
fn made(oid: u32, told: &Told, found: &HashMap<u32, Type>) -> Option<Type> {
    let get = |of: u32| found.get(&of).cloned().or_else(|| Type::from_oid(of));
    let kind = match told.form {
        Form::Simple => Kind::Simple,
        Form::Enum => Kind::Enum(Vec::new()),
        Form::Pseudo => Kind::Pseudo,
        Form::Composite => Kind::Composite(Vec::new()),
        Form::Range => Kind::Range(Type::UNKNOWN),
        Form::Array(of) => Kind::Array(get(of)?),
        Form::Domain(of) => Kind::Domain(get(of)?),
    };
    Some(Type::new(told.name.clone(), oid, kind, told.schema.clone()))
}

async fn ask(backend: &Backend, oids: &BTreeSet<u32>) -> Result<Vec<(u32, Told)>> {
    let list: Vec<String> = oids.iter().map(ToString::to_string).collect();
    // Nothing is taken from `search_path`, the operators included.
    let query = format!(
        "SELECT t.oid, t.typname, n.nspname, t.typtype, t.typelem, t.typbasetype, t.typcategory \
         FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n \
         ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
         WHERE t.oid OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[])",
        list.join(",")
    );
    let mut told = Vec::new();
    for row in backend.simple_query(&query).await? {
        let number = |index: usize| row.get(index).and_then(|text| text.parse::<u32>().ok());
        let (Some(oid), Some(name)) = (number(0), row.get(1)) else {
            continue;
        };
        let form = match (row.get(3), number(4), number(5), row.get(6)) {
            (Some("d"), _, Some(base), _) => Form::Domain(base),
            (Some("e"), ..) => Form::Enum,
            (Some("p"), ..) => Form::Pseudo,
            (Some("c"), ..) => Form::Composite,
            (Some("r" | "m"), ..) => Form::Range,
            (_, Some(element), _, Some("A")) if element != 0 => Form::Array(element),
            _ => Form::Simple,
        };
        told.push((
            oid,
            Told {
                name: name.to_owned(),
                schema: row.get(2).unwrap_or_default().to_owned(),
                form,
            },
        ));
    }
    Ok(told)
}
