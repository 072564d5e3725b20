//! The names of listeners, as a session tells them to the server: in a comment of a statement, and as `application_name`.

use std::fmt;

/// The most characters of a name that are told.
const MAX_CHARACTERS: usize = 63;

/// How many names a label tells; the others are counted.
const MAX_NAMES: usize = 3;

/// A name in characters that every server's encoding has, and that can neither open nor close a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainName(Box<str>);

impl PlainName {
    /// The plain form of a name: each character that is no ASCII letter or digit and no plain sign becomes `?`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let plain = |character: char| {
            let is_plain = character.is_ascii_alphanumeric() || " ._-:/@#+".contains(character);
            if is_plain { character } else { '?' }
        };
        Self(name.chars().take(MAX_CHARACTERS).map(plain).collect())
    }
}

impl fmt::Display for PlainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names of listeners in one line, each once: `orders, cache and 12 more`. A listener without a name is counted. `None`
/// when no listener has a name.
pub fn label<'a>(listeners: impl Iterator<Item = Option<&'a PlainName>>) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut more = 0_usize;
    for name in listeners {
        match name.map(|name| &*name.0) {
            Some(name) if names.contains(&name) => {}
            Some(name) if names.len() < MAX_NAMES => names.push(name),
            _ => more += 1,
        }
    }
    let (last, first) = names.split_last()?;
    Some(match (first, more) {
        ([], 0) => (*last).to_owned(),
        (first, 0) => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {more} more", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label_of(names: &[Option<&str>]) -> Option<String> {
        let names: Vec<_> = names.iter().map(|it| it.map(PlainName::of)).collect();
        label(names.iter().map(Option::as_ref))
    }

    #[test]
    fn a_name_can_neither_open_nor_close_a_comment() {
        assert_eq!(
            PlainName::of("a */ DROP /* b").to_string(),
            "a ?/ DROP /? b"
        );
        assert_eq!(PlainName::of("é\u{0}\n\"'$;").to_string(), "???????");
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(PlainName::of(&"漢".repeat(1000)).to_string().len(), 63);
    }

    #[test]
    fn a_label_tells_the_first_names_and_counts_the_others() {
        assert_eq!(label_of(&[]), None);
        assert_eq!(label_of(&[None, None]), None);
        assert_eq!(label_of(&[Some("a")]).as_deref(), Some("a"));
        assert_eq!(
            label_of(&[Some("a"), Some("b")]).as_deref(),
            Some("a and b")
        );
        assert_eq!(
            label_of(&[Some("a"), None, Some("b"), Some("a")]).as_deref(),
            Some("a, b and 1 more")
        );
        assert_eq!(
            label_of(&[Some("a"), Some("b"), Some("c"), Some("d"), Some("e")]).as_deref(),
            Some("a, b, c and 2 more")
        );
    }
}
