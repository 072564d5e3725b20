//! What the server says of types that are not built in, looked up within bounds.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use tokio_postgres::types::{Field, Kind, Type};

use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::TextRow;
use crate::query::backend::Backend;

/// How many levels of types one type may stand on: a domain over an array of a domain has two.
const MAX_LEVELS: usize = 64;

/// How many types and fields one look-up may bring, and how many types are kept.
const MAX_TYPES: usize = 16_384;

/// How many parts a value of one type may have, each part of a part counted. A type of few types can have any number.
const MAX_PARTS: usize = 16_384;

/// What is known of the types that are not built in.
#[derive(Debug, Default, Clone)]
pub(super) struct Catalogue {
    types: HashMap<u32, Type>,
    /// What separates the elements of an array in text, by the type of the elements, where it is no comma.
    delimiters: HashMap<u32, char>,
}

impl Catalogue {
    /// A type by its oid.
    pub(super) fn get(&self, oid: u32) -> Result<Type> {
        let known = self
            .types
            .get(&oid)
            .cloned()
            .or_else(|| Type::from_oid(oid));
        known.ok_or_else(|| {
            Error::new(
                ErrorKind::Execute,
                format!("the server does not tell what the type with oid {oid} is"),
            )
        })
    }

    /// What separates the elements of arrays in text.
    pub(super) fn delimiters(&self) -> &HashMap<u32, char> {
        &self.delimiters
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.types.clear();
        self.delimiters.clear();
    }

    fn keep(&mut self, found: Self) {
        if self.types.len() + found.types.len() > MAX_TYPES {
            self.clear();
        }
        self.types.extend(found.types);
        self.delimiters.extend(found.delimiters);
    }
}

/// What the server tells of a type.
#[derive(Debug, Clone)]
struct Told {
    name: String,
    schema: String,
    delimiter: char,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Simple,
    Enum,
    Pseudo,
    Composite(Vec<(String, u32)>),
    Range(u32),
    Multirange(u32),
    Array(u32),
    Domain(u32),
}

impl Form {
    /// The types that it stands on.
    fn parts(&self) -> Vec<u32> {
        match self {
            Self::Simple | Self::Enum | Self::Pseudo => Vec::new(),
            Self::Composite(fields) => fields.iter().map(|(_, oid)| *oid).collect(),
            Self::Range(of) | Self::Multirange(of) | Self::Array(of) | Self::Domain(of) => {
                vec![*of]
            }
        }
    }
}

/// How far a look-up may go.
#[derive(Clone, Copy)]
struct Limits {
    levels: usize,
    types: usize,
    parts: usize,
}

const LIMITS: Limits = Limits {
    levels: MAX_LEVELS,
    types: MAX_TYPES,
    parts: MAX_PARTS,
};

/// Finds the types with these oids, in one round trip for all that are not known.
pub(super) async fn look_up(
    backend: &Backend,
    known: &Mutex<Catalogue>,
    oids: impl Iterator<Item = u32>,
) -> Result<Catalogue> {
    let mut found = Catalogue::default();
    let mut missing = BTreeSet::new();
    {
        let known = known.lock();
        for oid in oids.filter(|oid| Type::from_oid(*oid).is_none()) {
            match known.types.get(&oid) {
                Some(ty) => drop(found.types.insert(oid, ty.clone())),
                None => drop(missing.insert(oid)),
            }
        }
        if !found.types.is_empty() {
            found.delimiters.clone_from(&known.delimiters);
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let rows = backend.simple_query(&question(&missing)).await?;
    let answer = made(told(&rows, LIMITS)?, LIMITS)?;
    known.lock().keep(answer.clone());
    found.keep(answer);
    Ok(found)
}

/// Asks for types and all that they stand on. Nothing is taken from `search_path`, the operators included.
fn question(oids: &BTreeSet<u32>) -> String {
    let list: Vec<String> = oids.iter().map(ToString::to_string).collect();
    format!(
        "WITH RECURSIVE needed(oid) AS (\
           SELECT pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) \
           UNION \
           SELECT part.oid FROM needed \
           JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) needed.oid \
           CROSS JOIN LATERAL (\
             SELECT t.typelem UNION ALL SELECT t.typbasetype \
             UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r \
               WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid \
             UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r \
               WHERE r.rngmultitypid OPERATOR(pg_catalog.=) t.oid \
             UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid \
               AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped\
           ) part(oid) WHERE part.oid OPERATOR(pg_catalog.<>) 0\
         ) \
         SELECT t.oid, t.typname, n.nspname, t.typtype, t.typelem, t.typbasetype, t.typcategory, t.typdelim, \
           r.rngsubtype, m.rngtypid, a.attname, a.atttypid \
         FROM needed JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) needed.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
         LEFT JOIN pg_catalog.pg_range r ON r.rngtypid OPERATOR(pg_catalog.=) t.oid \
         LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid OPERATOR(pg_catalog.=) t.oid \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) t.typrelid \
           AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
         ORDER BY t.oid, a.attnum",
        list.join(",")
    )
}

/// Reads the answer. A composite has a row for each of its fields.
fn told(rows: &[TextRow], limits: Limits) -> Result<HashMap<u32, Told>> {
    if rows.len() > limits.types {
        return Err(too_much(limits));
    }
    let mut told: HashMap<u32, Told> = HashMap::new();
    for row in rows {
        let number = |index: usize| row.get(index).and_then(|text| text.parse::<u32>().ok());
        let (Some(oid), Some(name)) = (number(0), row.get(1)) else {
            continue;
        };
        let field = row.get(10).map(str::to_owned).zip(number(11));
        if let Some(Told {
            form: Form::Composite(fields),
            ..
        }) = told.get_mut(&oid)
        {
            fields.extend(field);
            continue;
        }
        let form = match (row.get(3), number(4), number(5), row.get(6)) {
            (Some("d"), _, Some(base), _) => Form::Domain(base),
            (Some("e"), ..) => Form::Enum,
            (Some("p"), ..) => Form::Pseudo,
            (Some("c"), ..) => Form::Composite(field.into_iter().collect()),
            (Some("r"), ..) => number(8).map_or(Form::Simple, Form::Range),
            (Some("m"), ..) => number(9).map_or(Form::Simple, Form::Multirange),
            (_, Some(element), _, Some("A")) if element != 0 => Form::Array(element),
            _ => Form::Simple,
        };
        let delimiter = row.get(7).and_then(|text| text.chars().next());
        told.insert(
            oid,
            Told {
                name: name.to_owned(),
                schema: row.get(2).unwrap_or_default().to_owned(),
                delimiter: delimiter.unwrap_or(','),
                form,
            },
        );
    }
    Ok(told)
}

fn too_much(limits: Limits) -> Error {
    let Limits { levels, types, .. } = limits;
    Error::new(
        ErrorKind::Execute,
        format!(
            "the server describes a type by more than {levels} levels or {types} other types and fields"
        ),
    )
}

/// Makes types of what the server tells, each after those that it stands on. A type that stands on itself is not made.
fn made(told: HashMap<u32, Told>, limits: Limits) -> Result<Catalogue> {
    let mut found = Catalogue::default();
    // How many parts a value has.
    let mut sizes: HashMap<u32, usize> = HashMap::new();
    // What is built in is known better than by what a server says of it.
    let custom = |(oid, _): &(u32, Told)| Type::from_oid(*oid).is_none();
    let mut left: Vec<(u32, Told)> = told.into_iter().filter(custom).collect();
    for level in 0.. {
        let is_ready = |(_, told): &(u32, Told)| {
            let mut parts = told.form.parts().into_iter();
            parts.all(|of| found.types.contains_key(&of) || Type::from_oid(of).is_some())
        };
        let (ready, waiting): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
        left = waiting;
        if ready.is_empty() {
            break;
        }
        if level >= limits.levels {
            return Err(too_much(limits));
        }
        for (oid, told) in ready {
            let parts = told.form.parts().into_iter();
            let size = parts.fold(1_usize, |sum, of| {
                sum.saturating_add(sizes.get(&of).copied().unwrap_or(1))
            });
            sizes.insert(oid, size);
            if told.delimiter != ',' {
                found.delimiters.insert(oid, told.delimiter);
            }
            let kind = match told.form {
                // What is too large to be taken apart is read as text.
                _ if size > limits.parts => Kind::Simple,
                form => kind(form, &found)?,
            };
            let ty = Type::new(told.name, oid, kind, told.schema);
            found.types.insert(oid, ty);
        }
    }
    Ok(found)
}

/// The kind of a type whose parts are known.
fn kind(form: Form, found: &Catalogue) -> Result<Kind> {
    Ok(match form {
        Form::Simple => Kind::Simple,
        Form::Enum => Kind::Enum(Vec::new()),
        Form::Pseudo => Kind::Pseudo,
        Form::Composite(fields) => Kind::Composite(
            fields
                .into_iter()
                .map(|(name, of)| Ok(Field::new(name, found.get(of)?)))
                .collect::<Result<_>>()?,
        ),
        Form::Range(of) => Kind::Range(found.get(of)?),
        Form::Multirange(of) => Kind::Multirange(found.get(of)?),
        Form::Array(of) => Kind::Array(found.get(of)?),
        Form::Domain(of) => Kind::Domain(found.get(of)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = 100_000;

    const LOW: Limits = Limits {
        levels: 3,
        types: 5,
        parts: 8,
    };

    /// Makes types of what a server says of them.
    fn look(limits: Limits, says: Vec<(u32, Form)>) -> Result<Catalogue> {
        let told = says.into_iter().map(|(number, form)| {
            let told = Told {
                name: "custom".to_owned(),
                schema: "public".to_owned(),
                delimiter: ',',
                form,
            };
            (FIRST + number, told)
        });
        made(told.collect(), limits)
    }

    #[test]
    fn a_type_is_found_whatever_the_order_of_those_that_it_stands_on() {
        // An array of a domain over the domain that stands beside the array.
        let found = look(
            LOW,
            vec![
                (0, Form::Array(FIRST + 1)),
                (1, Form::Domain(FIRST + 2)),
                (2, Form::Domain(Type::INT4.oid())),
            ],
        );
        let kind = found.unwrap().get(FIRST).unwrap().kind().clone();
        let Kind::Array(element) = kind else {
            panic!("{kind:?}");
        };
        assert_eq!(element.oid(), FIRST + 1);
    }

    #[test]
    fn a_type_that_is_built_in_is_not_made_anew() {
        let told = Told {
            name: "int4".to_owned(),
            schema: "pg_catalog".to_owned(),
            delimiter: ',',
            form: Form::Simple,
        };
        let found = made(HashMap::from([(Type::INT4.oid(), told)]), LOW).unwrap();
        assert_eq!(found.get(Type::INT4.oid()).unwrap(), Type::INT4);
    }

    #[test]
    fn levels_without_end_are_an_error() {
        let mut says: Vec<_> = (0..5)
            .map(|it| (it, Form::Domain(FIRST + it + 1)))
            .collect();
        says.push((5, Form::Simple));
        let refused = look(LOW, says);
        let message = refused.expect_err("no end").message;
        assert_eq!(
            message,
            "the server describes a type by more than 3 levels or 5 other types and fields"
        );
    }

    #[test]
    fn a_type_that_stands_on_itself_is_not_found() {
        for circle in [1, 2] {
            let says = (0..circle).map(|it| (it, Form::Array(FIRST + (it + 1) % circle)));
            let error = look(LOW, says.collect()).unwrap().get(FIRST).unwrap_err();
            assert_eq!(
                error.message,
                "the server does not tell what the type with oid 100000 is"
            );
        }
    }

    #[test]
    fn a_type_of_too_many_parts_is_not_taken_apart() {
        let pair = |of: u32| Form::Composite(vec![("a".into(), of), ("b".into(), of)]);
        let found = look(
            LOW,
            vec![
                (0, pair(Type::INT4.oid())),
                (1, pair(FIRST)),
                (2, pair(FIRST + 1)),
            ],
        );
        let found = found.unwrap();
        let kind = |number: u32| found.get(FIRST + number).unwrap().kind().clone();
        assert!(matches!(kind(1), Kind::Composite(_)));
        assert_eq!(kind(2), Kind::Simple);
    }
}
