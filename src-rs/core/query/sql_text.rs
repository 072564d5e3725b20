//! Looks into a statement's text before it is sent: for `COPY`.

/// What a text is to whoever streams a `COPY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyText {
    /// One `COPY … FROM STDIN`.
    FromClient,
    /// One `COPY … TO STDOUT`.
    ToClient,
    /// One `COPY` from or to a file or a program of the server.
    OfServer,
    /// Another statement, or none.
    Other,
    /// More than one statement.
    Several,
}

/// Tells which `COPY` a text is.
pub(crate) fn copy_text(sql: &str) -> CopyText {
    let plain = without_quoted(sql);
    let mut statements = plain.split(';').filter(|one| !one.trim().is_empty());
    let Some(statement) = statements.next() else {
        return CopyText::Other;
    };
    let statement = without_parentheses(statement);
    let mut words = words(&statement).map(str::to_ascii_lowercase);
    if words.next().as_deref() != Some("copy") {
        return CopyText::Other;
    }
    if statements.next().is_some() {
        return CopyText::Several;
    }
    let direction = words.find(|word| matches!(word.as_str(), "from" | "to"));
    // `FROM STDOUT` is the same as `FROM STDIN` to the server.
    let streams = matches!(words.next().as_deref(), Some("stdin" | "stdout"));
    match direction.as_deref() {
        Some(_) if !streams => CopyText::OfServer,
        Some("from") => CopyText::FromClient,
        Some(_) => CopyText::ToClient,
        None => CopyText::Other,
    }
}

/// The text without what stands within parentheses: lists of columns and queries.
fn without_parentheses(text: &str) -> String {
    let mut depth = 0_usize;
    let outside = text.chars().map(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            other if depth == 0 => return other,
            _ => {}
        }
        ' '
    });
    outside.collect()
}

/// Whether a statement of the text is a `COPY` from or to the client.
///
/// The client library cannot run one: the server would wait for data that never comes.
pub(crate) fn streams_a_copy(sql: &str) -> bool {
    // Cheap, and enough for nearly every text.
    if !words(sql).any(|word| word.eq_ignore_ascii_case("copy")) {
        return false;
    }
    without_quoted(sql).split(';').any(|statement| {
        let mut words = words(statement);
        words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("copy"))
            && words.any(|word| {
                word.eq_ignore_ascii_case("stdin") || word.eq_ignore_ascii_case("stdout")
            })
    })
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|character: char| !is_word(character))
        .filter(|word| !word.is_empty())
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii()
}

/// The text with strings, quoted identifiers and comments replaced by blanks.
fn without_quoted(sql: &str) -> String {
    let mut plain = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(character) = rest.chars().next() {
        let length = match quoted_length(rest, plain.chars().next_back()) {
            0 => {
                plain.push(character);
                character.len_utf8()
            }
            length => {
                plain.push(' ');
                length
            }
        };
        rest = &rest[length..];
    }
    plain
}

/// The length of the quoted part or comment that the text begins with; 0 when it begins with none.
fn quoted_length(text: &str, before: Option<char>) -> usize {
    let to_end = |found: Option<usize>| found.unwrap_or(text.len());
    if text.starts_with("--") {
        to_end(text.find('\n'))
    } else if text.starts_with("/*") {
        comment_length(text)
    } else if let Some(rest) = text.strip_prefix('"') {
        to_end(rest.find('"').map(|end| end + 2))
    } else if text.starts_with('\'') {
        let escapes = matches!(before, Some('e' | 'E'));
        string_length(text, escapes)
    } else if text.starts_with('$') && !before.is_some_and(is_word) {
        let Some(tag_end) = text[1..].find('$').map(|end| end + 2) else {
            return 0;
        };
        let tag = &text[..tag_end];
        // `$1$` is a parameter and something else, not a tag.
        let name = &tag[1..tag_end - 1];
        if !name.chars().all(is_word) || name.starts_with(|first: char| first.is_ascii_digit()) {
            return 0;
        }
        to_end(text[tag_end..].find(tag).map(|end| tag_end + end + tag_end))
    } else {
        0
    }
}

fn string_length(text: &str, escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' if escapes => {
                characters.next();
            }
            // A doubled quote is read as the end of one string and the beginning of another: the same result.
            '\'' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the block comment that the text begins with. Block comments nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < text.len() {
        let rest = &text.as_bytes()[index..];
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
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_its_direction() {
        use CopyText::{FromClient, OfServer, Other, Several, ToClient};
        for (sql, expected) in [
            ("COPY t FROM STDIN", FromClient),
            (" copy t (a, \"to\") from stdin ; ", FromClient),
            ("COPY t FROM STDOUT", FromClient),
            ("COPY \"from\" FROM STDIN WHERE a > 1", FromClient),
            (
                "COPY t FROM STDIN (DELIMITER ';', NULL '); COPY')",
                FromClient,
            ),
            ("-- to\nCOPY t /* to stdout */ FROM STDIN", FromClient),
            ("COPY BINARY t TO STDOUT", ToClient),
            (
                "COPY (SELECT a FROM t WHERE b = ')') TO STDOUT (FORMAT binary)",
                ToClient,
            ),
            ("COPY (SELECT (SELECT 1) AS \"from\") TO STDOUT;", ToClient),
            ("COPY t FROM '/tmp/stdin'", OfServer),
            ("COPY t TO PROGRAM 'cat'", OfServer),
            ("COPY t FROM", OfServer),
            ("COPY t", Other),
            ("SELECT 1", Other),
            ("INSERT INTO copy SELECT stdin FROM stdin", Other),
            ("", Other),
            (" ; ", Other),
            ("((((", Other),
            ("COPY t FROM STDIN; SELECT 1", Several),
        ] {
            assert_eq!(copy_text(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_copy_from_or_to_the_client_is_found() {
        for sql in [
            "COPY t FROM STDIN",
            "copy t to stdout",
            "-- a comment\n /* and /* another */ one */ COPY t (a, b) FROM STDIN WITH (FORMAT csv)",
            "SELECT 'it''s'; COPY t FROM STDIN",
            "SELECT E'\\'; '; COPY t FROM STDIN",
            "SELECT $$ ; $$; COPY (SELECT $x$ ' $x$) TO STDOUT",
            "SELECT $1; COPY \"t\"\"; x\" TO STDOUT",
        ] {
            assert!(streams_a_copy(sql), "{sql}");
        }
        for sql in [
            "INSERT INTO log VALUES ('; copy t from stdin')",
            "COPY t FROM '/tmp/stdin'",
            "SELECT $$; COPY t FROM STDIN$$",
            "SELECT $a$; $$ COPY t FROM STDIN $a$",
            "SELECT 1 -- ; COPY t FROM STDIN",
            "/* ; COPY t FROM STDIN */ SELECT 1",
            "SELECT copy, stdin FROM t",
            "SELECT \"; copy\", stdin FROM t",
            "SELECT '",
            "/*",
            "$",
            "$$",
            "",
        ] {
            assert!(!streams_a_copy(sql), "{sql}");
        }
    }
}
