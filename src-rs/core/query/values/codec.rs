//! Which PostgreSQL types are supported.

use tokio_postgres::types::{Kind, Type};

/// How a supported type crosses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codec {
    /// bool.
    Bool,
    /// int2.
    Int2,
    /// int4.
    Int4,
    /// int8.
    Int8,
    /// float4.
    Float4,
    /// float8.
    Float8,
    /// numeric.
    Numeric,
    /// text, varchar, bpchar, name, citext, unknown and enums.
    Text,
    /// `"char"`: a single byte.
    Char,
    /// bytea.
    Bytea,
    /// json.
    Json,
    /// jsonb.
    Jsonb,
    /// uuid.
    Uuid,
    /// date.
    Date,
    /// timestamp and timestamptz. Both are microseconds from 2000-01-01; a timestamp is taken as UTC.
    Timestamp,
    /// void, the type of a function that returns nothing.
    Void,
    /// An array.
    Array {
        /// The codec of its elements.
        element: Box<Codec>,
        /// The type of its elements, which is a part of the binary format and checked by the server.
        element_oid: u32,
    },
}

impl Codec {
    /// The codec of a type; `None` when it is not supported.
    #[must_use]
    pub fn of(ty: &Type) -> Option<Self> {
        Some(match *ty {
            Type::BOOL => Self::Bool,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => Self::Text,
            Type::CHAR => Self::Char,
            Type::BYTEA => Self::Bytea,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            Type::UUID => Self::Uuid,
            Type::DATE => Self::Date,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => Self::Timestamp,
            Type::VOID => Self::Void,
            // Their kind is that of arrays, but the server takes only arrays of one dimension for them.
            Type::INT2_VECTOR | Type::OID_VECTOR => return None,
            _ => match ty.kind() {
                Kind::Enum(_) => Self::Text,
                Kind::Domain(base) => Self::of(base)?,
                Kind::Array(element) => match Self::of(element)? {
                    // A domain over an array: its values would need a second level of array.
                    Self::Array { .. } => return None,
                    codec => Self::Array {
                        element: Box::new(codec),
                        element_oid: element.oid(),
                    },
                },
                Kind::Simple if ty.name() == "citext" => Self::Text,
                _ => return None,
            },
        })
    }
}

/// A type's name as one writes it: `int4[]`, not `_int4`.
#[must_use]
pub fn type_name(ty: &Type) -> String {
    match ty.kind() {
        Kind::Array(element) if ty.name().starts_with('_') => format!("{}[]", element.name()),
        _ => ty.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str, kind: Kind) -> Type {
        Type::new(name.to_owned(), 99_999, kind, "public".to_owned())
    }

    #[test]
    fn domains_are_taken_by_their_base_type_and_enums_as_text() {
        assert_eq!(
            Codec::of(&custom("email", Kind::Domain(Type::TEXT))),
            Some(Codec::Text)
        );
        assert_eq!(
            Codec::of(&custom("colour", Kind::Enum(vec!["red".into()]))),
            Some(Codec::Text)
        );
        assert_eq!(
            Codec::of(&custom("citext", Kind::Simple)),
            Some(Codec::Text)
        );
    }

    #[test]
    fn what_is_not_supported_has_no_codec() {
        for ty in [
            Type::INET,
            Type::INTERVAL,
            Type::INT4_RANGE,
            Type::POINT,
            Type::RECORD,
            Type::INT2_VECTOR,
            Type::ANYARRAY,
            Type::INET_ARRAY,
            custom("pair", Kind::Composite(vec![])),
            custom("geometry", Kind::Simple),
        ] {
            assert_eq!(Codec::of(&ty), None, "{ty}");
        }
    }

    #[test]
    fn arrays_are_named_as_one_writes_them() {
        assert_eq!(type_name(&Type::INT4_ARRAY), "int4[]");
        assert_eq!(type_name(&Type::TIMESTAMPTZ), "timestamptz");
    }
}
