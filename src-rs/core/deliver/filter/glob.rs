//! Patterns for the names of channels, as Redis has them for PSUBSCRIBE.

use std::str::Chars;

/// One step of a pattern.
#[derive(Debug, PartialEq)]
enum Token {
    /// `*`: any number of characters, also none.
    Any,
    /// `?`: one character.
    One,
    /// A character that stands for itself.
    Literal(char),
    /// `[a-z_]` or `[^a-z_]`: one character that is in one of the ranges, or in none of them.
    Class {
        is_negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(literal) => *literal == character,
            Self::Class { is_negated, ranges } => {
                let is_in = |(from, to): &(char, char)| (*from..=*to).contains(&character);
                ranges.iter().any(is_in) != *is_negated
            }
        }
    }
}

/// A pattern that a whole name matches or does not. It is about characters, not bytes, and about their exact case.
#[derive(Debug, PartialEq)]
pub(super) struct Glob(Box<[Token]>);

impl Glob {
    /// Reads a pattern. The facade has refused what has no meaning; here a class without an end ends with the pattern, and a
    /// backslash at the end stands for itself.
    pub(super) fn new(pattern: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' => Token::Any,
                '?' => Token::One,
                '[' => class(&mut rest),
                '\\' => Token::Literal(rest.next().unwrap_or('\\')),
                _ => Token::Literal(character),
            });
        }
        Self(tokens.into_boxed_slice())
    }

    /// Whether a name matches. Only the last `*` is ever tried again, so the time is at most the product of both lengths.
    pub(super) fn matches(&self, name: &str) -> bool {
        let Self(tokens) = self;
        let mut at = 0;
        let mut rest = name.chars();
        // What follows the last `*`, and the first character that it does not take.
        let mut retry: Option<(usize, Chars<'_>)> = None;
        loop {
            match tokens.get(at) {
                Some(Token::Any) => {
                    at += 1;
                    retry = Some((at, rest.clone()));
                    continue;
                }
                Some(token) => {
                    let mut ahead = rest.clone();
                    if ahead.next().is_some_and(|next| token.takes(next)) {
                        at += 1;
                        rest = ahead;
                        continue;
                    }
                }
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            let Some((behind, from)) = &mut retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            (at, rest) = (*behind, from.clone());
        }
    }
}

/// Reads a class, behind its `[`.
fn class(rest: &mut Chars<'_>) -> Token {
    let is_negated = rest.as_str().starts_with('^');
    if is_negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    while let Some(from) = class_member(rest) {
        let mut ahead = rest.clone();
        let to = (ahead.next() == Some('-'))
            .then(|| class_member(&mut ahead))
            .flatten();
        if to.is_some() {
            *rest = ahead;
        }
        let to = to.unwrap_or(from);
        ranges.push((from.min(to), from.max(to)));
    }
    Token::Class {
        is_negated,
        ranges: ranges.into_boxed_slice(),
    }
}

/// Reads one character of a class; `None` at its end, which is taken too.
fn class_member(rest: &mut Chars<'_>) -> Option<char> {
    match rest.next()? {
        ']' => None,
        '\\' => Some(rest.next().unwrap_or('\\')),
        character => Some(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).matches(name)
    }

    #[test]
    fn a_name_matches_as_a_whole() {
        for (pattern, name) in [
            ("orders", "orders"),
            ("*", ""),
            ("*", "anything"),
            ("orders.*", "orders."),
            ("orders.*", "orders.eu.1"),
            ("*.eu.*", "orders.eu.1"),
            ("*ab", "aab"),
            ("a*b*c", "abbbcc"),
            ("order?", "orders"),
            ("?", "ü"),
            ("k[aä]se", "käse"),
            ("x[0-9a]", "x7"),
            ("x[0-9a]", "xa"),
            ("x[9-0]", "x7"),
            ("x[^0-9]", "xy"),
            ("x[a-]", "x-"),
            ("x[-a]", "x-"),
            ("x[\\]]", "x]"),
            ("x[a-\\]]", "x]"),
            ("\\*\\?\\[\\\\", "*?[\\"),
            ("a]b", "a]b"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("orders", "Orders"),
            ("orders", "orders2"),
            ("orders", "order"),
            ("?", ""),
            ("??", "ü"),
            ("orders.*", "orders"),
            ("*ab", "aba"),
            ("x[0-9]", "xa"),
            ("x[^0-9]", "x7"),
            ("x[^0-9]", "x"),
            ("x[a-c]", "x-"),
            ("\\*", "a"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let name = "a".repeat(63);
        assert!(!matches(&format!("{}b", "*a".repeat(60)), &name));
        assert!(matches(&"*a".repeat(60), &name));
    }
}
