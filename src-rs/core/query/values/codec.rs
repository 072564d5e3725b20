//! How the values of a PostgreSQL type cross.

use std::collections::HashMap;
use std::fmt::Write as _;

use tokio_postgres::types::{Kind, Type};

use super::json;

/// How values are read, as far as whoever asks may choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dates {
    /// Dates and timestamps as milliseconds from 1970-01-01 UTC.
    #[default]
    Milliseconds,
    /// As the exact text that the server would write with `DateStyle` ISO and `TimeZone` UTC.
    Text,
    /// As exact text in the extended form of ISO 8601, such as `+010000-01-01T00:00:00Z`.
    Iso,
}

/// What is to be known for choosing the codec of a type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// How dates are read.
    pub dates: Dates,
    /// The character that separates the elements of an array in text, by the type of the elements, where it is no comma.
    pub delimiters: Option<&'a HashMap<u32, char>>,
}

/// A moment's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// date.
    Date,
    /// timestamp, taken as UTC.
    Timestamp,
    /// timestamptz.
    TimestampTz,
}

/// A geometric type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// point.
    Point,
    /// lseg.
    Segment,
    /// box.
    Box,
    /// line.
    Line,
    /// path.
    Path,
    /// polygon.
    Polygon,
    /// circle.
    Circle,
}

/// A part of another type: the elements of an array, the bounds of a range, a field of a composite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The field's name; empty for other parts.
    pub name: String,
    /// The name of its type as one writes it, of a domain that of its base type.
    pub type_name: String,
    /// The oid of its type, which is a part of the binary format.
    pub oid: u32,
    /// How it crosses.
    pub codec: Codec,
}

/// How the values of a type cross.
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
    /// oid, xid and cid: an unsigned int4.
    Oid,
    /// xid8 and oid8: an unsigned int8.
    Xid8,
    /// float4.
    Float4,
    /// float8.
    Float8,
    /// numeric.
    Numeric,
    /// text, varchar, bpchar, citext, refcursor, unknown and enums.
    Text,
    /// name: a text of so few bytes that the server cuts off what is longer.
    Name,
    /// xml. It is written as text: in the binary format the server goes by the encoding that the document says that it has, and ours is
    /// always UTF-8.
    Xml,
    /// `"char"`: a single byte.
    Char,
    /// bytea.
    Bytea,
    /// json.
    Json,
    /// jsonb.
    Jsonb,
    /// jsonpath, ltree, lquery and ltxtquery: a version, and text.
    Versioned,
    /// uuid.
    Uuid,
    /// date, timestamp and timestamptz.
    Moment(Moment, Dates),
    /// time.
    Time,
    /// timetz.
    TimeTz,
    /// interval.
    Interval,
    /// inet and cidr.
    Network,
    /// macaddr and macaddr8.
    MacAddress,
    /// bit and varbit.
    Bits,
    /// `pg_lsn`.
    Lsn,
    /// tid.
    Tid,
    /// A geometric type.
    Geometry(Geometry),
    /// hstore.
    Hstore,
    /// pgvector's vector.
    Vector,
    /// int2vector and oidvector: an array that is written without braces.
    IdVector(Box<Part>),
    /// void, the type of a function that returns nothing.
    Void,
    /// An array of these elements.
    Array(Box<Part>),
    /// A range of these bounds.
    Range(Box<Part>),
    /// A multirange of these ranges.
    Multirange(Box<Part>),
    /// A composite with these fields.
    Composite(Vec<Part>),
    /// A type without a form of its own: the text that the server writes. Also a composite and a range that hold such a type.
    Plain,
    /// money: the text that the server writes, which depends on its `lc_monetary`.
    Money,
    /// An array of elements without a form of their own, with this between them: the elements' texts.
    PlainArray(Box<Part>, char),
}

impl Codec {
    /// The codec of a type.
    #[must_use]
    pub fn of(ty: &Type, choice: Choice<'_>) -> Self {
        match *ty {
            Type::BOOL => Self::Bool,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::OID | Type::XID | Type::CID => Self::Oid,
            Type::XID8 => Self::Xid8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric,
            Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::REFCURSOR
            | Type::CSTRING
            | Type::UNKNOWN => Self::Text,
            Type::NAME => Self::Name,
            Type::XML => Self::Xml,
            Type::CHAR => Self::Char,
            Type::BYTEA => Self::Bytea,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            Type::JSONPATH => Self::Versioned,
            Type::UUID => Self::Uuid,
            Type::DATE => Self::Moment(Moment::Date, choice.dates),
            Type::TIMESTAMP => Self::Moment(Moment::Timestamp, choice.dates),
            Type::TIMESTAMPTZ => Self::Moment(Moment::TimestampTz, choice.dates),
            Type::TIME => Self::Time,
            Type::TIMETZ => Self::TimeTz,
            Type::INTERVAL => Self::Interval,
            Type::INET | Type::CIDR => Self::Network,
            Type::MACADDR | Type::MACADDR8 => Self::MacAddress,
            Type::BIT | Type::VARBIT => Self::Bits,
            Type::PG_LSN => Self::Lsn,
            Type::TID => Self::Tid,
            Type::POINT => Self::Geometry(Geometry::Point),
            Type::LSEG => Self::Geometry(Geometry::Segment),
            Type::BOX => Self::Geometry(Geometry::Box),
            Type::LINE => Self::Geometry(Geometry::Line),
            Type::PATH => Self::Geometry(Geometry::Path),
            Type::POLYGON => Self::Geometry(Geometry::Polygon),
            Type::CIRCLE => Self::Geometry(Geometry::Circle),
            Type::MONEY => Self::Money,
            Type::VOID => Self::Void,
            Type::RECORD_ARRAY => Self::PlainArray(Box::new(part("", &Type::RECORD, choice)), ','),
            Type::INT2_VECTOR => Self::IdVector(Box::new(part("", &Type::INT2, choice))),
            Type::OID_VECTOR => Self::IdVector(Box::new(part("", &Type::OID, choice))),
            _ => Self::of_kind(ty, choice),
        }
    }

    fn of_kind(ty: &Type, choice: Choice<'_>) -> Self {
        match ty.kind() {
            Kind::Enum(_) => Self::Text,
            Kind::Domain(base) => Self::of(base, choice),
            Kind::Array(element) => {
                let part = part("", element, choice);
                match part.codec {
                    Self::Plain | Self::Money => {
                        let delimiters = choice.delimiters;
                        let own = delimiters.and_then(|all| all.get(&element.oid()));
                        Self::PlainArray(Box::new(part), own.copied().unwrap_or(','))
                    }
                    _ => Self::Array(Box::new(part)),
                }
            }
            Kind::Range(bound) => match part("", bound, choice) {
                part if part.codec.is_binary() => Self::Range(Box::new(part)),
                _ => Self::Plain,
            },
            Kind::Multirange(of) => multirange(ty, of, choice),
            Kind::Composite(fields) => {
                let parts: Vec<Part> = fields
                    .iter()
                    .map(|field| part(field.name(), field.type_(), choice))
                    .collect();
                if parts.iter().all(|part| part.codec.is_binary()) {
                    Self::Composite(parts)
                } else {
                    Self::Plain
                }
            }
            Kind::Simple if ty.schema() != "pg_catalog" => match ty.name() {
                "citext" => Self::Text,
                "hstore" => Self::Hstore,
                "ltree" | "lquery" | "ltxtquery" => Self::Versioned,
                "vector" => Self::Vector,
                _ => Self::Plain,
            },
            Kind::Simple if ty.name() == "oid8" => Self::Xid8,
            _ => Self::Plain,
        }
    }

    /// Whether values are asked for in the binary format.
    pub(crate) fn is_binary(&self) -> bool {
        !matches!(self, Self::Plain | Self::Money | Self::PlainArray(..))
    }

    /// Whether a value holds fields, whose number and types can be changed later.
    pub(crate) fn has_fields(&self) -> bool {
        match self {
            Self::Composite(_) => true,
            Self::Array(part) | Self::Range(part) | Self::Multirange(part) => {
                part.codec.has_fields()
            }
            _ => false,
        }
    }

    /// Tells JavaScript how to read the values from a tape: the name of a shape, or an array of a name and of what it is made of, as
    /// JSON. Mirrored in `src-ts/query/values/reader.ts`.
    #[must_use]
    pub fn shape(&self) -> String {
        let mut shape = String::new();
        self.write_shape(&mut shape);
        shape
    }

    fn write_shape(&self, out: &mut String) {
        let simple = match self {
            Self::Bool => "bool",
            Self::Int2 | Self::Int4 | Self::Oid | Self::Float4 | Self::Float8 => "number",
            Self::Int8 => "bigint",
            Self::Xid8 => "unsigned",
            Self::Numeric
            | Self::Text
            | Self::Name
            | Self::Xml
            | Self::Char
            | Self::Versioned
            | Self::Uuid
            | Self::Time
            | Self::TimeTz
            | Self::Network
            | Self::MacAddress
            | Self::Bits
            | Self::Lsn
            | Self::Tid
            | Self::Plain
            | Self::Money => "text",
            Self::Json | Self::Jsonb => "json",
            Self::Bytea => "bytes",
            Self::Moment(_, Dates::Milliseconds) => "date",
            Self::Moment(_, Dates::Text | Dates::Iso) => "moment",
            Self::Interval => "interval",
            Self::Geometry(geometry) => match geometry {
                Geometry::Point => "point",
                Geometry::Segment => "lseg",
                Geometry::Box => "box",
                Geometry::Line => "line",
                Geometry::Path => "path",
                Geometry::Polygon => "polygon",
                Geometry::Circle => "circle",
            },
            Self::Hstore => "hstore",
            Self::Vector => "vector",
            Self::Void => "null",
            Self::Array(part) | Self::PlainArray(part, _) | Self::IdVector(part) => {
                return one("array", part, out);
            }
            Self::Range(part) => return one("range", part, out),
            Self::Multirange(part) => return one("multirange", part, out),
            Self::Composite(parts) => {
                out.push_str("[\"composite\"");
                for part in parts {
                    out.push_str(",[");
                    json::string(&part.name, out);
                    out.push(',');
                    part.write_shape(out);
                    out.push(']');
                }
                out.push(']');
                return;
            }
        };
        let _ = write!(out, "\"{simple}\"");
    }
}

fn one(shape: &str, part: &Part, out: &mut String) {
    let _ = write!(out, "[\"{shape}\",");
    part.write_shape(out);
    out.push(']');
}

impl Part {
    /// Its shape, and the name of its type.
    fn write_shape(&self, out: &mut String) {
        self.codec.write_shape(out);
        out.push(',');
        json::string(&self.type_name, out);
    }
}

/// Of a built-in multirange the type of the bounds is known, of any other the type of the ranges.
fn multirange(ty: &Type, of: &Type, choice: Choice<'_>) -> Codec {
    let range = match part("", of, choice) {
        part if matches!(part.codec, Codec::Range(_)) => part,
        part if part.codec.is_binary() => Part {
            name: String::new(),
            type_name: ty.name().replace("multirange", "range"),
            oid: 0,
            codec: Codec::Range(Box::new(part)),
        },
        _ => return Codec::Plain,
    };
    Codec::Multirange(Box::new(range))
}

fn part(name: &str, ty: &Type, choice: Choice<'_>) -> Part {
    Part {
        name: name.to_owned(),
        type_name: base_name(ty),
        oid: ty.oid(),
        codec: Codec::of(ty, choice),
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

/// The name of a type's base type: `int4` of a domain over it, `int4[]` of an array of that domain.
#[must_use]
pub fn base_name(ty: &Type) -> String {
    match ty.kind() {
        Kind::Domain(base) => base_name(base),
        Kind::Array(element) if ty.name().starts_with('_') => format!("{}[]", base_name(element)),
        _ => ty.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Field;

    use super::*;

    fn custom(name: &str, kind: Kind) -> Type {
        Type::new(name.to_owned(), 99_999, kind, "public".to_owned())
    }

    fn codec(ty: &Type) -> Codec {
        Codec::of(ty, Choice::default())
    }

    #[test]
    fn domains_are_taken_by_their_base_type_and_enums_as_text() {
        assert_eq!(
            codec(&custom("email", Kind::Domain(Type::TEXT))),
            Codec::Text
        );
        let colour = custom("colour", Kind::Enum(vec!["red".into()]));
        assert_eq!(codec(&colour), Codec::Text);
        assert_eq!(codec(&custom("citext", Kind::Simple)), Codec::Text);
    }

    #[test]
    fn what_has_no_form_of_its_own_is_text_and_so_is_what_holds_it() {
        let pair = |of: Type| {
            let fields = vec![
                Field::new("a".into(), Type::INT4),
                Field::new("b".into(), of),
            ];
            codec(&custom("pair", Kind::Composite(fields)))
        };
        assert!(matches!(pair(Type::INT4), Codec::Composite(_)));
        for ty in [
            Type::REGCLASS,
            Type::RECORD,
            Type::ANYARRAY,
            Type::TS_VECTOR,
            custom("geometry", Kind::Simple),
            custom("spans", Kind::Range(Type::MONEY)),
        ] {
            assert_eq!(codec(&ty), Codec::Plain, "{ty}");
            assert_eq!(pair(ty), Codec::Plain);
        }
        assert_eq!(pair(Type::MONEY_ARRAY), Codec::Plain);
        let Codec::PlainArray(part, ',') = codec(&Type::MONEY_ARRAY) else {
            panic!("another form");
        };
        assert_eq!(part.codec, Codec::Money);
    }

    #[test]
    fn elements_are_separated_by_what_their_type_says() {
        let element = custom("geometry", Kind::Simple);
        let delimiters = HashMap::from([(element.oid(), ':')]);
        let choice = Choice {
            delimiters: Some(&delimiters),
            ..Choice::default()
        };
        let array = Type::new("_geometry".into(), 1, Kind::Array(element), "public".into());
        assert!(matches!(
            Codec::of(&array, choice),
            Codec::PlainArray(_, ':')
        ));
        assert_eq!(
            Codec::of(&array, choice).shape(),
            r#"["array","text","geometry"]"#
        );
    }

    #[test]
    fn a_shape_tells_what_a_type_is_made_of() {
        assert_eq!(
            codec(&Type::INT4_ARRAY).shape(),
            r#"["array","number","int4"]"#
        );
        let fields = vec![
            Field::new("a\"b".into(), Type::TSTZ_RANGE),
            Field::new("c".into(), Type::BOOL),
        ];
        assert_eq!(
            codec(&custom("pair", Kind::Composite(fields))).shape(),
            r#"["composite",["a\"b",["range","date","timestamptz"],"tstzrange"],["c","bool","bool"]]"#
        );
    }

    #[test]
    fn arrays_are_named_as_one_writes_them() {
        assert_eq!(type_name(&Type::INT4_ARRAY), "int4[]");
        assert_eq!(type_name(&Type::TIMESTAMPTZ), "timestamptz");
    }

    #[test]
    fn a_domain_within_another_type_has_the_name_of_its_base_type() {
        let day = custom("day", Kind::Domain(Type::DATE));
        let birthday = custom("birthday", Kind::Domain(day));
        let birthdays = custom("_birthday", Kind::Array(birthday.clone()));
        assert_eq!(base_name(&birthday), "date");
        assert_eq!(base_name(&birthdays), "date[]");
        assert_eq!(type_name(&birthdays), "birthday[]");
        assert_eq!(codec(&birthdays).shape(), r#"["array","date","date"]"#);
        let fields = vec![Field::new("born".into(), birthday)];
        assert_eq!(
            codec(&custom("person", Kind::Composite(fields))).shape(),
            r#"["composite",["born","date","date"]]"#
        );
    }
}
