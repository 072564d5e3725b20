//! Looks into a statement's text before it is sent: for `COPY`, for the names of parameters, and for what runs by name.

pub mod named_parameters;
mod tokens;

use self::tokens::{Kind, Token, Tokens, is_word};

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
    let tokens: Vec<_> = Tokens::of(sql).filter(|token| !is_skipped(token)).collect();
    let mut statements = tokens
        .split(|token| token.text == ";")
        .filter(|one| !one.is_empty());
    let copy = statements.next().map_or(CopyText::Other, copy_of);
    if copy != CopyText::Other && statements.next().is_some() {
        return CopyText::Several;
    }
    copy
}

/// Tells which `COPY` a single statement is.
fn copy_of(statement: &[Token<'_>]) -> CopyText {
    let is = |token: Option<&Token<'_>>, words: &[&str]| {
        token.is_some_and(|token| {
            token.kind == Kind::Word && words.iter().any(|it| token.text.eq_ignore_ascii_case(it))
        })
    };
    if !is(statement.first(), &["copy"]) {
        return CopyText::Other;
    }
    // Lists of columns, queries and options stand within parentheses.
    let mut depth = 0_usize;
    let mut outside = statement.iter().filter(|token| {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    });
    let Some(direction) = outside.find(|token| is(Some(token), &["from", "to"])) else {
        return CopyText::Other;
    };
    // `FROM STDOUT` is the same as `FROM STDIN` to the server.
    if !is(outside.next(), &["stdin", "stdout"]) {
        CopyText::OfServer
    } else if is(Some(direction), &["from"]) {
        CopyText::FromClient
    } else {
        CopyText::ToClient
    }
}

/// Whether a text runs something that the session has under a name, a cursor or a prepared statement of SQL: its columns are those of whatever
/// has that name at the moment.
pub(crate) fn runs_by_name(sql: &str) -> bool {
    let mut tokens = Tokens::of(sql).filter(|token| !is_skipped(token) && token.text != ";");
    tokens.next().is_some_and(|first| {
        ["fetch", "execute"]
            .iter()
            .any(|word| first.text.eq_ignore_ascii_case(word))
    })
}

/// Whether a token is white space or a comment.
fn is_skipped(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Quoted => token.text.starts_with("--") || token.text.starts_with("/*"),
        Kind::Other => token.text.trim().is_empty(),
        _ => false,
    }
}

/// Whether a statement of the text is a `COPY` from or to the client.
///
/// The client library cannot run one: the server would wait for data that never comes.
pub(crate) fn streams_a_copy(sql: &str) -> bool {
    // Cheap, and enough for nearly every text.
    let mut words = sql.split(|character| !is_word(character));
    if !words.any(|word| word.eq_ignore_ascii_case("copy")) {
        return false;
    }
    let tokens: Vec<_> = Tokens::of(sql).filter(|token| !is_skipped(token)).collect();
    tokens.split(|token| token.text == ";").any(|statement| {
        matches!(
            copy_of(statement),
            CopyText::FromClient | CopyText::ToClient
        )
    })
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
    fn what_runs_by_name_is_known_by_its_first_word() {
        for sql in [
            "FETCH 10 FROM c",
            "execute p(1)",
            " -- all\n/* of /* it */ */ ; Fetch ALL c",
            "EXECUTE\"p\"",
        ] {
            assert!(runs_by_name(sql), "{sql}");
        }
        for sql in [
            "SELECT 1",
            "MOVE 10 FROM c",
            "\"fetch\"",
            "-- fetch",
            "EXPLAIN EXECUTE p",
            "fetch_all",
            "SELECT a FROM t FETCH FIRST ROW ONLY",
            "",
        ] {
            assert!(!runs_by_name(sql), "{sql}");
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
            "SELECT E'it''s \\'; '; COPY t FROM STDIN",
            "SELECT date'\\'; COPY t FROM STDIN",
            "SELECT $$ ; $$; COPY (SELECT $x$ ' $x$) TO STDOUT",
            "SELECT $1; COPY \"t\"\"; x\" TO STDOUT",
        ] {
            assert!(streams_a_copy(sql), "{sql}");
        }
        for sql in [
            "INSERT INTO log VALUES ('; copy t from stdin')",
            "COPY t FROM '/tmp/stdin'",
            "COPY stdin FROM '/tmp/data'",
            "COPY t (stdin, stdout) TO PROGRAM 'cat'",
            "SELECT $$; COPY t FROM STDIN$$",
            "SELECT $a$; $$ COPY t FROM STDIN $a$",
            "SELECT E'\\' ''; COPY t FROM STDIN'",
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
