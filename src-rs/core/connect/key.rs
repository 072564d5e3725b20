//! What tells whether two configurations are the same to a server.

use std::fmt::{self, Write};
use std::sync::OnceLock;

use ring::hmac;
use ring::rand::SystemRandom;

use super::hosts::Host;
use super::password::PasswordSource;
use super::settings::Settings;

/// Equal for two configurations if every setting is, the password and keys by their contents, files by their paths. It holds a
/// keyed hash: no secret can be read from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectKey {
    settings: Vec<u8>,
    /// The function that is asked for passwords is equal only to itself.
    asks: Option<usize>,
}

impl ConnectKey {
    /// Of settings that are filled with the defaults, and of the hosts that they lead to.
    pub(super) fn of(settings: &Settings, hosts: &[Host]) -> Self {
        let mut hash = Hash(hmac::Context::with_key(secret()));
        // Never fails: nothing that is written to refuses.
        let _ = settings.write_all(&mut hash);
        let _ = write!(hash, "{hosts:?}");
        Self {
            settings: hash.0.sign().as_ref().to_vec(),
            asks: None,
        }
    }

    pub(super) fn asking(self, source: &PasswordSource) -> Self {
        Self {
            asks: Some(source.address()),
            ..self
        }
    }
}

/// The key of this process' hashes.
fn secret() -> &'static hmac::Key {
    static SECRET: OnceLock<hmac::Key> = OnceLock::new();
    SECRET.get_or_init(|| {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()))
    })
}

struct Hash(hmac::Context);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::connect::config::ConnectConfig;
    use crate::connect::password::{AskPassword, PasswordFailure};
    use crate::connect::settings::PemText;

    fn key(dsn: &str) -> ConnectKey {
        let none = Settings::default;
        let config = ConnectConfig::resolve(none(), Some(dsn), none());
        config.expect("it can be read").key()
    }

    #[test]
    fn every_setting_counts_and_it_does_not_matter_how_it_is_written() {
        let base = "postgres://u:secret@h:1/d";
        assert_eq!(
            key(base),
            key("host=h port=1 user=u password=secret dbname=d")
        );
        for other in [
            "postgres://u:secre@h:1/d",
            "postgres://u@h:1/d",
            "postgres://v:secret@h:1/d",
            "postgres://u:secret@i:1/d",
            "postgres://u:secret@h:2/d",
            "postgres://u:secret@h:1/e",
            "postgres://u:secret@h:1/d?sslmode=require",
            "postgres://u:secret@h:1/d?sslrootcert=/tmp/ca",
            "postgres://u:secret@h:1/d?application_name=x",
            "postgres://u:secret@h:1/d?options=-cwork_mem%3D1MB",
            "postgres://u:secret@h:1,h:2/d",
            "postgres://u:secret@h:1/d?connect_timeout=7",
        ] {
            assert_ne!(key(base), key(other), "{other}");
        }
    }

    #[test]
    fn a_default_counts_the_same_whether_it_is_written_or_not() {
        let base = "postgres://u@h/d";
        for same in [
            "postgres://u@h:5432/d",
            "postgres://u@h/d?sslmode=prefer",
            "postgres://u@h/d?connect_timeout=10",
            "postgres://u@h/d?target_session_attrs=any",
            "postgres://u@h/d?load_balance_hosts=disable",
        ] {
            assert_eq!(key(base), key(same), "{same}");
        }
        assert_eq!(key("postgres://u@/d"), key("postgres://u@localhost/d"));
    }

    #[test]
    fn keys_count_by_their_content_and_nothing_can_be_read_from_the_hash() {
        let of = |text: &str| {
            ConnectKey::of(
                &Settings {
                    key: Some(PemText::new(text.to_owned())),
                    password: Some(b"hunter2".to_vec()),
                    ..Settings::default()
                },
                &[],
            )
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(!format!("{:?}", of("a")).contains("hunter2"));
    }

    struct Asked;

    impl AskPassword for Asked {
        fn ask(&self) -> BoxFuture<'static, Result<String, PasswordFailure>> {
            async { Ok(String::new()) }.boxed()
        }
    }

    #[test]
    fn a_function_that_is_asked_for_passwords_is_equal_only_to_itself() {
        let (one, other) = (PasswordSource::new(Asked), PasswordSource::new(Asked));
        let config = |source: &PasswordSource| {
            let none = Settings::default;
            let config = ConnectConfig::resolve(none(), Some("host=h"), none());
            config.expect("it can be read").asking(source.clone())
        };
        let (first, second) = (config(&one), Arc::new(config(&one)));
        assert_eq!(first.key(), second.key());
        assert_ne!(first.key(), config(&other).key());
        assert_ne!(first.key(), key("host=h"));
    }
}
