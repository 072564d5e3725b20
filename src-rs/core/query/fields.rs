//! The fields of composites. They can be others at any time: the server tells nobody, and its binary format has no names.

use std::collections::BTreeMap;

use tokio_postgres::types::{Kind, Type};

use crate::base::error::Result;
use crate::protocol::{Request, Responses, text_rows};
use crate::query::backend::Backend;

/// The names and types of the fields of composites, by the oid of the composite.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<u32, Vec<(String, u32)>>);

impl Fields {
    /// The fields of all composites that types are made of.
    pub(crate) fn of<'a>(types: impl IntoIterator<Item = &'a Type>) -> Self {
        let mut fields = Self::default();
        for ty in types {
            fields.add(ty);
        }
        fields
    }

    fn add(&mut self, ty: &Type) {
        match ty.kind() {
            Kind::Composite(fields) => {
                let named = fields.iter();
                let named = named.map(|it| (it.name().to_owned(), it.type_().oid()));
                if self.0.insert(ty.oid(), named.collect()).is_none() {
                    for field in fields {
                        self.add(field.type_());
                    }
                }
            }
            Kind::Array(of) | Kind::Domain(of) | Kind::Range(of) | Kind::Multirange(of) => {
                self.add(of);
            }
            _ => {}
        }
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.clone());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks the server for the fields as they are now. Nothing is taken from `search_path`, the operators included.
    pub(crate) fn ask(&self, backend: &Backend) -> Result<Asked> {
        let oids: Vec<String> = self.0.keys().map(ToString::to_string).collect();
        let question = format!(
            "SELECT t.oid, a.attname, a.atttypid FROM pg_catalog.pg_type t \
             JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) t.typrelid \
               AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
             WHERE t.oid OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[]) \
             ORDER BY t.oid, a.attnum",
            oids.join(",")
        );
        backend.send(Request::simple(&question)?).map(Asked)
    }

    /// Whether these fields are the ones that the server has told.
    pub(crate) fn are_as(&self, told: &Self) -> bool {
        // A composite without fields is not told of.
        let of = |oid: &u32| told.0.get(oid).map_or(&[][..], Vec::as_slice);
        self.0.iter().all(|(oid, fields)| of(oid) == fields)
    }
}

/// A question that was sent.
#[derive(Debug)]
pub(crate) struct Asked(Responses);

impl Asked {
    /// The fields as they are now.
    pub(crate) async fn told(self) -> Result<Fields> {
        let mut told = Fields::default();
        for row in text_rows(self.0).await? {
            let number = |index: usize| row.get(index).and_then(|text| text.parse().ok());
            if let (Some(oid), Some(name), Some(of)) = (number(0), row.get(1), number(2)) {
                let fields = told.0.entry(oid).or_default();
                fields.push((name.to_owned(), of));
            }
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Field;

    use super::*;

    fn custom(oid: u32, kind: Kind) -> Type {
        Type::new("custom".to_owned(), oid, kind, "public".to_owned())
    }

    fn composite(oid: u32, fields: &[(&str, Type)]) -> Type {
        let fields = fields.iter();
        let fields = fields.map(|(name, ty)| Field::new((*name).to_owned(), ty.clone()));
        custom(oid, Kind::Composite(fields.collect()))
    }

    #[test]
    fn fields_are_the_same_only_with_their_names_in_their_order_also_deep_within() {
        let around = |inner: Type| {
            let list = custom(12, Kind::Array(custom(11, Kind::Domain(inner))));
            Fields::of([&composite(10, &[("list", list)])])
        };
        let known = around(composite(9, &[("a", Type::TEXT), ("b", Type::TEXT)]));
        for (fields, is_same) in [
            (&[("a", Type::TEXT), ("b", Type::TEXT)][..], true),
            (&[("b", Type::TEXT), ("a", Type::TEXT)], false),
            (&[("a", Type::TEXT), ("b", Type::INT4)], false),
            (&[("a", Type::TEXT)], false),
            (&[], false),
        ] {
            let told = around(composite(9, fields));
            assert_eq!(known.are_as(&told), is_same, "{fields:?}");
            assert_eq!(told.are_as(&known), is_same, "{fields:?}");
        }
        assert!(Fields::of([&composite(9, &[])]).are_as(&Fields::default()));
        assert!(Fields::of([&Type::TEXT_ARRAY]).is_empty());
    }
}
