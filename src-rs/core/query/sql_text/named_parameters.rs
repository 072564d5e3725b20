//! Parameters with names: `$(name)p` in a statement's text becomes the `$1` that the server knows.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::tokens::{Kind, Tokens};

/// A statement's text with a number for each name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberedText {
    /// The text for the server. Without names it is the given text.
    pub text: String,
    /// The names, each once, in the order in which they come first: the first has the number 1.
    pub names: Vec<String>,
    /// Whether the given text has parameters with numbers too. They would be the same as those with names.
    pub is_mixed: bool,
}

/// Gives each name in a statement's text a number. What is quoted or in a comment stays as it is.
///
/// A number is filled up with blanks to the length of the name that it replaces, so that the position in an error of the
/// server is a position in the given text.
#[must_use]
pub fn number_names(sql: &str) -> NumberedText {
    let mut numbered = NumberedText::default();
    let mut numbers = HashMap::new();
    let mut has_numbers = false;
    numbered.text.reserve(sql.len());
    for token in Tokens::of(sql) {
        has_numbers |= token.kind == Kind::Numbered;
        let Kind::Named(name) = token.kind else {
            numbered.text.push_str(token.text);
            continue;
        };
        let number = *numbers.entry(name).or_insert_with(|| {
            numbered.names.push(name.to_owned());
            numbered.names.len()
        });
        let width = token.text.chars().count() - 1;
        // Writing to a string does not fail.
        let _ = write!(numbered.text, "${number:<width$}");
    }
    numbered.is_mixed = has_numbers && !numbered.names.is_empty();
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The names in a text.
    fn names(sql: &str) -> Vec<String> {
        number_names(sql).names
    }

    #[test]
    fn each_name_has_one_number_however_often_it_is_used() {
        let numbered = number_names("SELECT $(b)p, $(a)p::int, $(b)p+1, $(größe_2)p, $(7)p");
        assert_eq!(
            numbered.text,
            "SELECT $1   , $2   ::int, $1   +1, $3         , $4   "
        );
        assert_eq!(numbered.names, ["b", "a", "größe_2", "7"]);
        assert!(!numbered.is_mixed);
    }

    #[test]
    fn a_number_that_is_longer_than_its_name_is_whole() {
        let alphabet = || ('a'..='z').chain('0'..='9');
        let names: Vec<_> = alphabet()
            .flat_map(|a| {
                alphabet().flat_map(move |b| alphabet().map(move |c| format!("{a}{b}{c}")))
            })
            .chain(["x".to_owned()])
            .collect();
        let sql: Vec<_> = names.iter().map(|name| format!("$({name})p")).collect();
        let numbered = number_names(&sql.join(","));
        assert_eq!(numbered.names, names);
        assert!(numbered.text.ends_with(",$46656 ,$46657"));
    }

    #[test]
    fn what_is_quoted_has_no_names() {
        for quoted in [
            "'$(n)p'",
            "'it''s $(n)p'",
            "'\\' -- $(n)p",
            "date'\\' -- $(n)p",
            "E'\\'$(n)p'",
            "e'it''s \\' $(n)p'",
            "E'a'\n  -- the next part is escaped too: it's\n '\\' $(n)p'",
            "E'a' '\\' -- $(n)p",
            "U&'$(n)p'",
            "B'$(n)p'",
            "x'$(n)p'",
            "\"$(n)p\"",
            "\"a\"\"$(n)p\"",
            "U&\"$(n)p\"",
            "$$ $(n)p $$",
            "$tag$ $$ $(n)p $ta$ $tag$",
            "$ß$ $(n)p $ß$",
            "-- $(n)p",
            "-- it's\r-- $(n)p",
            "/* $(n)p */",
            "/* /* */ $(n)p */",
            "/*/* $(n)p */*/",
            // Without an end.
            "'$(n)p",
            "E'\\",
            "\"$(n)p",
            "$$ $(n)p",
            "/* $(n)p",
        ] {
            let numbered = number_names(quoted);
            assert_eq!(numbered.text, quoted);
            assert_eq!(numbered.names, [""; 0], "{quoted}");
        }
    }

    #[test]
    fn what_only_looks_like_a_name_is_none() {
        for text in [
            "$()p",
            "$(n)",
            "$(n)q",
            "$(n)P",
            "$(n p)p",
            "$(a.b)p",
            "$(a→b)p",
            "$ (n)p",
            "$(n)p1",
            "$(n)px",
            "$(n)pß",
            "$(n)p$",
            "$(n",
            // A function `f$`, and its alias.
            "SELECT f$(n)p",
            "SELECT $1",
            "$",
            "",
        ] {
            assert_eq!(number_names(text).text, text);
            assert_eq!(names(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_name_is_found_beside_anything() {
        for text in [
            "'a'$(n)p'b'",
            "\"a\"$(n)p",
            "$$a$$$(n)p",
            "$t$a$t$$(n)p",
            "/**/$(n)p/**/",
            "--\n$(n)p",
            "--\r$(n)p",
            "E'\\\\'$(n)p",
            "E'a'\n$(n)p",
            "1$(n)p",
            "($(n)p)",
            "-$(n)p-",
            "$$(n)p$$ $(n)p",
        ] {
            assert_eq!(names(text), ["n"], "{text}");
        }
    }

    #[test]
    fn names_beside_numbers_are_told() {
        assert!(number_names("SELECT $(n)p, $2").is_mixed);
        for sql in [
            "SELECT $1, '$(n)p'",
            "SELECT $(n)p, '$1', \"$1\", $$ $1 $$, /* $1 */ a$1 -- $1",
        ] {
            assert!(!number_names(sql).is_mixed, "{sql}");
        }
    }

    /// A part of a statement whose inside is quoted, around any text that does not end it.
    fn quoted() -> impl Strategy<Value = String> {
        // A name in the midst of anything.
        let inside = ("\\PC{0,12}", "\\PC{0,12}")
            .prop_map(|(before, behind)| format!("{before}$(n)p{behind}"));
        (inside, 0..9_usize).prop_map(|(inside, how)| match how {
            0 => format!("'{}'", inside.replace('\'', "''")),
            1 => format!("E'{}'", inside.replace('\\', "\\\\").replace('\'', "\\'")),
            2 => format!("e'{}'", inside.replace('\\', "\\\\").replace('\'', "''")),
            3 => format!("\"{}\"", inside.replace('"', "\"\"")),
            4 => format!("U&'{}'", inside.replace('\'', "''")),
            5 => format!("$${}$$", inside.replace('$', "").replace("(n)p", " $(n)p ")),
            6 => format!("$tag${inside} $tag$"),
            7 => format!("--{}\n", inside.replace(['\n', '\r'], "")),
            _ => format!("/*{}*/", inside.replace(['*', '/'], "/*x*/")),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Text without names stays as it is.
        #[test]
        fn without_names_nothing_changes(sql in "([$()'\"/*\\-\np]|E'|\\$a\\$|\\PC){0,40}") {
            let numbered = number_names(&sql);
            if numbered.names.is_empty() {
                prop_assert_eq!(&numbered.text, &sql);
                prop_assert!(!numbered.is_mixed);
            }
            // Names or not: positions stay.
            prop_assert_eq!(numbered.text.chars().count(), sql.chars().count());
            // There are no names any more.
            let again = number_names(&numbered.text);
            prop_assert_eq!(again.names, Vec::<String>::new());
            prop_assert_eq!(again.text, numbered.text);
        }

        /// Names between quoted parts are replaced, and names within them are not.
        #[test]
        fn only_names_outside_of_quotes_are_replaced(parts in vec((quoted(), "[a-z_]{1,8}"), 1..6)) {
            let given = |(quoted, name): &(String, String)| format!("{quoted} + $({name})p ");
            let numbered = number_names(&parts.iter().map(given).collect::<String>());
            let mut seen: Vec<&String> = Vec::new();
            let mut expected = String::new();
            for (quoted, name) in &parts {
                if !seen.contains(&name) {
                    seen.push(name);
                }
                let number = 1 + seen.iter().position(|it| *it == name).expect("was pushed");
                let width = name.len() + 3;
                let _ = write!(expected, "{quoted} + ${number:<width$} ");
            }
            prop_assert_eq!(numbered.text, expected);
            prop_assert_eq!(numbered.names.iter().collect::<Vec<_>>(), seen);
        }
    }
}
