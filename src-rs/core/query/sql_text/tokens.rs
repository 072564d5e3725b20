//! The tokens of a statement's text, as far as quoting and parameters are concerned.
//!
//! The rules are those of PostgreSQL's lexer, `src/backend/parser/scan.l`, with `standard_conforming_strings` on, which it is
//! unless somebody turns it off. A text that the server refuses may be cut into any tokens.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A string, a quoted identifier, a dollar-quoted string or a comment. Without an end it reaches to the end of the text.
    Quoted,
    /// A key word, an identifier, or a number up to its point.
    Word,
    /// A parameter with a number: `$1`.
    Numbered,
    /// A parameter with this name: `$(name)p`.
    Named(&'a str),
    /// One character that belongs to none of the others.
    Other,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) text: &'a str,
}

/// Cuts a text into tokens. Together they are the whole text.
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(sql: &'a str) -> Self {
        Self { rest: sql }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.rest.chars().next()?;
        let (kind, length) = first_token(self.rest, first);
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Token { kind, text })
    }
}

/// The kind and the length of the token that a text begins with.
fn first_token(text: &str, first: char) -> (Kind<'_>, usize) {
    match first {
        '\'' => (Kind::Quoted, string_length(text, false)),
        '"' => (Kind::Quoted, quoted_identifier_length(text)),
        '-' if text.starts_with("--") => (Kind::Quoted, line_length(text)),
        '/' if text.starts_with("/*") => (Kind::Quoted, block_comment_length(text)),
        '$' => after_dollar(text),
        _ if first.is_ascii_digit() => (Kind::Word, prefix_length(text, is_word)),
        _ if is_word(first) => word(text),
        _ => (Kind::Other, first.len_utf8()),
    }
}

/// Whether an identifier may hold the character; a `$` is possible too, behind the first character.
pub(super) fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii()
}

/// The length of the longest beginning of a text whose characters all pass.
fn prefix_length(text: &str, passes: impl Fn(char) -> bool) -> usize {
    text.find(|character| !passes(character))
        .unwrap_or(text.len())
}

/// An identifier, or a string with escapes, whose prefix looks like one.
fn word(text: &str) -> (Kind<'_>, usize) {
    let length = prefix_length(text, |character| is_word(character) || character == '$');
    let (word, behind) = text.split_at(length);
    // The other prefixes of strings, B, N, U& and X, change nothing about where a string ends.
    if word.eq_ignore_ascii_case("e") && behind.starts_with('\'') {
        return (Kind::Quoted, length + string_length(behind, true));
    }
    (Kind::Word, length)
}

/// A parameter, a dollar-quoted string, or a lone `$`.
fn after_dollar(text: &str) -> (Kind<'_>, usize) {
    let behind = &text[1..];
    let digits = prefix_length(behind, |character| character.is_ascii_digit());
    if digits > 0 {
        return (Kind::Numbered, 1 + digits);
    }
    if let Some(name) = name(behind) {
        return (Kind::Named(name), "$()p".len() + name.len());
    }
    let tag = prefix_length(behind, is_word);
    if behind[tag..].starts_with('$') {
        let delimiter = &text[..tag + 2];
        let end = text[delimiter.len()..].find(delimiter);
        return (
            Kind::Quoted,
            end.map_or(text.len(), |end| end + 2 * delimiter.len()),
        );
    }
    (Kind::Other, 1)
}

/// The name in the `(name)p` that a text begins with. Nothing of an identifier may follow, because `$(n)p1` is none: the
/// number that takes its place would become another number.
fn name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?;
    let length = prefix_length(inner, |character| {
        character.is_ascii_alphanumeric()
            || character == '_'
            || (!character.is_ascii() && character.is_alphabetic())
    });
    let (name, behind) = inner.split_at(length);
    let behind = behind.strip_prefix(")p")?;
    let is_whole = !behind.starts_with(|character| is_word(character) || character == '$');
    (!name.is_empty() && is_whole).then_some(name)
}

/// The length of the string that a text begins with.
fn string_length(text: &str, escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut index = 1;
    while let Some(&byte) = bytes.get(index) {
        index += 1;
        match byte {
            b'\\' if escapes => index += 1,
            b'\'' if bytes.get(index) == Some(&b'\'') => index += 1,
            b'\'' => match continuation(&text[index..]) {
                // Without escapes the next part is as well read as a string of its own.
                Some(length) if escapes => index += length,
                _ => return index,
            },
            _ => {}
        }
    }
    text.len()
}

/// The length of what stands between two parts of one string, the second opening quote included: blanks and line comments,
/// with at least one line break.
fn continuation(text: &str) -> Option<usize> {
    let mut index = 0;
    let mut is_broken = false;
    loop {
        let rest = &text[index..];
        match rest.as_bytes().first()? {
            b'\n' | b'\r' => is_broken = true,
            b' ' | b'\t' | b'\x0b' | b'\x0c' => {}
            b'-' if rest.starts_with("--") => {
                index += line_length(rest);
                continue;
            }
            b'\'' if is_broken => return Some(index + 1),
            _ => return None,
        }
        index += 1;
    }
}

/// The length of the quoted identifier that a text begins with. A doubled quote is as well read as the end of one and the
/// beginning of another.
fn quoted_identifier_length(text: &str) -> usize {
    text[1..].find('"').map_or(text.len(), |end| end + 2)
}

/// The length of a text up to its first line break.
fn line_length(text: &str) -> usize {
    text.find(['\n', '\r']).unwrap_or(text.len())
}

/// The length of the block comment that a text begins with. Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut index = 0;
    while index < bytes.len() {
        let rest = &bytes[index..];
        if rest.starts_with(b"/*") {
            depth += 1;
            index += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    bytes.len()
}
