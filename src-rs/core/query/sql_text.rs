//! Looks into a statement's text before it is sent: for `COPY`, and for the names of parameters.

pub mod named_parameters;
mod tokens;

use self::tokens::{Kind, Tokens, is_word};

/// Whether a statement of the text is a `COPY` from or to the client.
///
/// The client library cannot run one: the server would wait for data that never comes.
pub(crate) fn streams_a_copy(sql: &str) -> bool {
    // Cheap, and enough for nearly every text.
    let mut words = sql.split(|character| !is_word(character));
    if !words.any(|word| word.eq_ignore_ascii_case("copy")) {
        return false;
    }
    let tokens: Vec<_> = Tokens::of(sql).collect();
    tokens.split(|token| token.text == ";").any(|statement| {
        let mut words = statement.iter().filter(|token| token.kind == Kind::Word);
        words
            .next()
            .is_some_and(|word| word.text.eq_ignore_ascii_case("copy"))
            && words.any(|word| {
                word.text.eq_ignore_ascii_case("stdin") || word.text.eq_ignore_ascii_case("stdout")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
