//! Distinguished names (X.501), compared as OpenSSL compares them.

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::X509Name;

/// A distinguished name in a form in which equal names have equal bytes, whatever kind of string, capital letters or
/// spaces they are written with (`X509_NAME_cmp`, in `crypto/x509/x_name.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canonical {
    /// One for each relative name, from the root of the tree.
    parts: Vec<Vec<u8>>,
}

impl Canonical {
    pub(super) fn of(name: &X509Name<'_>) -> Self {
        let parts = name.iter().map(|part| {
            let mut attributes: Vec<Vec<u8>> = part
                .iter()
                .map(|attribute| {
                    let (kind, text) = canonical_value(attribute.attr_value());
                    let id = attribute.attr_type().as_bytes();
                    [with_length(id), vec![kind], with_length(&text)].concat()
                })
                .collect();
            // The attributes of a relative name are a set.
            attributes.sort_unstable();
            attributes.concat()
        });
        Self {
            parts: parts.collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether this name lies in the tree below `root`, or is it.
    pub(super) fn is_below(&self, root: &Self) -> bool {
        self.parts.starts_with(&root.parts)
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&bytes.len().to_be_bytes(), bytes].concat()
}

/// The kind and the bytes of a value: those of a text are its canonical form, and its kind is always the same.
fn canonical_value(value: &Any<'_>) -> (u8, Vec<u8>) {
    match text(value) {
        Some(text) => {
            let words: Vec<_> = text
                .split(|c: char| c.is_ascii_whitespace() || c == '\x0b')
                .filter(|word| !word.is_empty())
                .collect();
            let text = words.join(" ").to_ascii_lowercase();
            (0, text.into_bytes())
        }
        None => (
            u8::try_from(value.tag().0).unwrap_or(u8::MAX),
            value.data.to_vec(),
        ),
    }
}

/// The text of a value; `None` for values that are compared as they are.
fn text(value: &Any<'_>) -> Option<String> {
    let units = |size: usize| value.data.chunks_exact(size);
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        // OpenSSL takes these bytes for Latin-1.
        Tag::T61String => Some(value.data.iter().copied().map(char::from).collect()),
        Tag::BmpString => units(2)
            .map(|unit| char::from_u32(u32::from(u16::from_be_bytes([unit[0], unit[1]]))))
            .collect(),
        Tag::UniversalString => units(4)
            .map(|unit| char::from_u32(u32::from_be_bytes([unit[0], unit[1], unit[2], unit[3]])))
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::asn1_rs::Class;
    use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName};

    use super::*;

    fn name(values: &[(Tag, &'static [u8])]) -> Canonical {
        let common_name = x509_parser::oid_registry::OID_X509_COMMON_NAME;
        let parts = values.iter().map(|(tag, data)| {
            let value = Any::from_tag_and_data(*tag, data);
            assert_eq!(value.class(), Class::Universal);
            RelativeDistinguishedName::new(vec![AttributeTypeAndValue::new(
                common_name.clone(),
                value,
            )])
        });
        Canonical::of(&X509Name::new(parts.collect(), &[]))
    }

    #[test]
    fn kinds_of_strings_capitals_and_spaces_make_no_difference() {
        let plain = name(&[(Tag::Utf8String, b"My Authority")]);
        for (tag, data) in [
            (Tag::PrintableString, &b"my authority"[..]),
            (Tag::Ia5String, b"  MY \t authority "),
            (Tag::T61String, b"My Authority"),
            (Tag::BmpString, b"\0M\0y\0 \0A\0u\0t\0h\0o\0r\0i\0t\0y"),
        ] {
            assert_eq!(name(&[(tag, data)]), plain, "{tag:?}");
        }
        for (tag, data) in [
            (Tag::Utf8String, &b"MyAuthority"[..]),
            (Tag::OctetString, b"My Authority"),
            (Tag::Utf8String, b"My Authorit\xc3\xa9"),
        ] {
            assert_ne!(name(&[(tag, data)]), plain, "{tag:?}");
        }
    }

    #[test]
    fn a_name_lies_below_the_beginnings_of_it() {
        let (one, two) = (
            (Tag::Utf8String, &b"one"[..]),
            (Tag::Utf8String, &b"two"[..]),
        );
        assert!(name(&[one, two]).is_below(&name(&[one])));
        assert!(name(&[one]).is_below(&name(&[one])));
        assert!(name(&[one]).is_below(&name(&[])));
        assert!(!name(&[one]).is_below(&name(&[one, two])));
        assert!(!name(&[two, one]).is_below(&name(&[one])));
    }
}
