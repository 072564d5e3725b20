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

/// How far a look-up may go.
#[derive(Clone, Copy)]
struct Limits {
    levels: usize,
    types: usize,
}

/// A look-up under way, level by level: first the types themselves, then those that they stand on.
struct LookUp {
    limits: Limits,
    /// The types that are to be asked for next.
    missing: BTreeSet<u32>,
    told: HashMap<u32, Told>,
    levels: usize,
}

impl LookUp {
    fn new(missing: BTreeSet<u32>, limits: Limits) -> Self {
        Self {
            limits,
            missing,
            told: HashMap::new(),
            levels: 0,
        }
    }

    /// Checks that the missing types may be asked for.
    fn check(&self) -> Result<()> {
        let Limits { levels, types } = self.limits;
        if self.levels < levels && self.told.len() + self.missing.len() <= types {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Execute,
            format!(
                "the server describes a type by more than {levels} levels or {types} other types"
            ),
        ))
    }

    /// Takes what the server tells of the missing types. What it tells beside them is ignored.
    fn take(&mut self, answers: Vec<(u32, Told)>) {
        let asked = std::mem::take(&mut self.missing);
        for (oid, answer) in answers {
            if asked.contains(&oid) {
                self.told.insert(oid, answer);
            }
        }
        let forms = asked
            .iter()
            .filter_map(|oid| Some(self.told.get(oid)?.form));
        self.missing = forms
            .filter_map(|form| match form {
                Form::Array(of) | Form::Domain(of) => Some(of),
                _ => None,
            })
            .filter(|of| Type::from_oid(*of).is_none() && !self.told.contains_key(of))
            .filter(|of| !asked.contains(of))
            .collect();
        self.levels += 1;
    }

    /// Adds the types to those that are found, each after those that it stands on. A type that stands on itself is not found.
    fn finish(self, found: &mut HashMap<u32, Type>) {
        let mut left: Vec<(u32, Told)> = self.told.into_iter().collect();
        loop {
            let before = left.len();
            left.retain(|(oid, told)| match made(*oid, told, found) {
                Some(ty) => {
                    found.insert(*oid, ty);
                    false
                }
                None => true,
            });
            if left.len() == before {
                break;
            }
        }
    }
}

/// Finds the types with these oids.
pub(super) async fn look_up(
    backend: &Backend,
    known: &Mutex<HashMap<u32, Type>>,
    oids: impl Iterator<Item = u32>,
) -> Result<Found> {
    let mut found = HashMap::new();
    let mut missing = BTreeSet::new();
    for oid in oids.filter(|oid| Type::from_oid(*oid).is_none()) {
        match known.lock().get(&oid) {
            Some(ty) => drop(found.insert(oid, ty.clone())),
            None => drop(missing.insert(oid)),
        }
    }
    if missing.is_empty() {
        return Ok(Found(found));
    }
    let limits = Limits {
        levels: MAX_LEVELS,
        types: MAX_TYPES,
    };
    let mut looking = LookUp::new(missing, limits);
    while !looking.missing.is_empty() {
        looking.check()?;
        let answers = ask(backend, &looking.missing).await?;
        looking.take(answers);
    }
    looking.finish(&mut found);
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

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = 100_000;

    fn told(form: Form) -> Told {
        Told {
            name: "custom".to_owned(),
            schema: "public".to_owned(),
            form,
        }
    }

    /// Looks the first type up on a server that says this of each.
    fn look(limits: Limits, says: impl Fn(u32) -> Vec<(u32, Form)>) -> Result<Found> {
        let mut looking = LookUp::new(BTreeSet::from([FIRST]), limits);
        while !looking.missing.is_empty() {
            looking.check()?;
            let asked = looking.missing.clone();
            let answers = asked.into_iter().flat_map(&says);
            looking.take(answers.map(|(oid, form)| (oid, told(form))).collect());
        }
        let mut found = HashMap::new();
        looking.finish(&mut found);
        Ok(Found(found))
    }

    const LOW: Limits = Limits {
        levels: 3,
        types: 5,
    };

    #[test]
    fn a_type_is_found_whatever_the_order_of_those_that_it_stands_on() {
        // An array of a domain over the domain that stands beside the array.
        let found = look(LOW, |oid| match oid - FIRST {
            0 => vec![(FIRST, Form::Array(FIRST + 1))],
            1 => vec![(FIRST + 1, Form::Domain(FIRST + 2))],
            _ => vec![(FIRST + 2, Form::Domain(Type::INT4.oid()))],
        });
        let kind = found.unwrap().get(FIRST).unwrap().kind().clone();
        let Kind::Array(element) = kind else {
            panic!("{kind:?}");
        };
        assert_eq!(element.oid(), FIRST + 1);
    }

    #[test]
    fn levels_without_end_are_an_error() {
        let refused = look(LOW, |oid| vec![(oid, Form::Domain(oid + 1))]);
        let message = refused.err().expect("no end").message;
        assert_eq!(
            message,
            "the server describes a type by more than 3 levels or 5 other types"
        );
    }

    #[test]
    fn a_type_that_stands_on_itself_is_not_found() {
        for circle in [1, 2] {
            let next = |oid: u32| FIRST + (oid - FIRST + 1) % circle;
            let found = look(LOW, |oid| vec![(oid, Form::Array(next(oid)))]).unwrap();
            let error = found.get(FIRST).unwrap_err();
            assert_eq!(
                error.message,
                "the server does not tell what the type with oid 100000 is"
            );
        }
    }

    #[test]
    fn types_that_were_not_asked_for_take_no_memory() {
        let found = look(LOW, |oid| {
            (oid..oid + 1000).map(|oid| (oid, Form::Enum)).collect()
        });
        assert_eq!(found.unwrap().0.len(), 1);
    }
}
