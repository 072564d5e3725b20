//! Properties of the parser, checked for random texts.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// Text without NUL, which no setting can hold.
fn value() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

/// Pieces that mean something in a DSN, and text that does not.
fn nearly_a_dsn() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "postgres://",
            "host",
            "port",
            "password",
            "sslmode",
            "=",
            "&",
            "?",
            "/",
            "@",
            ":",
            ",",
            "[",
            "]",
            "::1",
            "%",
            "%2F",
            "%00",
            "%ff",
            "'",
            "\\",
            " ",
            "\n",
            "é",
            "5432",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// A value in quotes.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A value in which everything but letters and digits is percent-encoded.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The text of a setting as the URL gives it: an empty part is none.
fn unless_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_text_makes_the_parser_panic_or_shows_up_in_its_error(text in nearly_a_dsn()) {
        if let Err(error) = parse_dsn(&format!("{text} hunter2")) {
            prop_assert!(!error.message.contains("hunter2"));
        }
        let _ = parse_dsn(&format!("postgres://{text}"));
    }

    #[test]
    fn pairs_are_read_back(
        user in value(),
        password in value(),
        db_name in value(),
        hosts in proptest::collection::vec("[a-z0-9./-]{0,8}", 1..4),
        ports in proptest::collection::vec(proptest::option::of(1_u16..), 1..4),
    ) {
        let port_texts: Vec<String> = ports
            .iter()
            .map(|port| port.map_or_else(String::new, |port| port.to_string()))
            .collect();
        let dsn = format!(
            "user={} password={} dbname = {} host={} port={}",
            quoted(&user),
            quoted(&password),
            quoted(&db_name),
            quoted(&hosts.join(",")),
            quoted(&port_texts.join(",")),
        );
        let settings = parse_dsn(&dsn).unwrap();
        prop_assert_eq!(settings.user, Some(user));
        prop_assert_eq!(settings.password, Some(password.into_bytes()));
        prop_assert_eq!(settings.db_name, Some(db_name));
        prop_assert_eq!(settings.hosts, Some(hosts));
        prop_assert_eq!(settings.ports, Some(ports));
    }

    #[test]
    fn urls_are_read_back(
        user in value(),
        password in value(),
        db_name in value(),
        application_name in value(),
        hosts in proptest::collection::vec(("[a-z0-9.-]{1,8}", 1_u16..), 1..4),
    ) {
        let authority: Vec<String> = hosts
            .iter()
            .map(|(name, port)| format!("{}:{port}", encoded(name)))
            .collect();
        let dsn = format!(
            "postgres://{}:{}@{}/{}?application_name={}",
            encoded(&user),
            encoded(&password),
            authority.join(","),
            encoded(&db_name),
            encoded(&application_name),
        );
        let settings = parse_dsn(&dsn).unwrap();
        let (names, ports): (Vec<_>, Vec<_>) =
            hosts.into_iter().map(|(name, port)| (name, Some(port))).unzip();
        prop_assert_eq!(settings.user, unless_empty(user));
        prop_assert_eq!(settings.password, unless_empty(password).map(String::into_bytes));
        prop_assert_eq!(settings.db_name, unless_empty(db_name));
        prop_assert_eq!(settings.application_name, Some(application_name));
        prop_assert_eq!(settings.hosts, Some(names));
        prop_assert_eq!(settings.ports, Some(ports));
    }
}
