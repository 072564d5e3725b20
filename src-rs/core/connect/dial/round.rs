//! A round through the hosts: each is tried in turn, and the error of a round in vain names each with its reason.

use std::vec;

use super::{Candidate, candidates, in_time, no_host};
use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::base::setting::shortened;
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::password::Asked;

/// The most hosts that an error names.
const MOST_NAMED: usize = 8;

/// The longest reason of a host that an error gives, in characters.
const LONGEST_REASON: usize = 200;

/// One round through the configured hosts, for one connection.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    config: &'a ConnectConfig,
    left: vec::IntoIter<Candidate<'a>>,
    asked: Asked,
    /// The hosts that were tried, and the last error of each.
    failures: Vec<(&'a Host, Error)>,
}

impl<'a> Round<'a> {
    pub(crate) fn new(config: &'a ConnectConfig) -> Self {
        let asked = Asked::default();
        Self {
            config,
            left: candidates(config, &asked).into_iter(),
            asked,
            failures: Vec::new(),
        }
    }

    /// The next host to try.
    pub(crate) fn next(&mut self) -> Option<Candidate<'a>> {
        self.left.next()
    }

    /// Bounds the attempt at a host by the connect timeout. `None`: it failed, and the next host is to be tried.
    pub(crate) async fn attempt<T>(
        &mut self,
        host: &'a Host,
        attempt: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        match in_time(self.config, host, attempt).await {
            Ok(done) => Some(done),
            Err(error) => {
                self.note(host, error);
                None
            }
        }
    }

    fn note(&mut self, host: &'a Host, error: Error) {
        // Another host would get no password either.
        let error = match self.asked.failure() {
            Some(failure) => {
                self.left = Vec::new().into_iter();
                failure
            }
            None => error,
        };
        self.failures
            .retain(|(other, _)| !std::ptr::eq(*other, host));
        self.failures.push((host, error));
    }

    /// The error of the round, with the reason of each host: the last one, but a host that does not accept who we are tells
    /// more than others that are away, and is not to be asked often.
    pub(crate) fn error(self) -> Error {
        let mut failures = self.failures.iter();
        let refused = failures.position(|(_, error)| error.refuses_us());
        let telling = refused.unwrap_or(self.failures.len().saturating_sub(1));
        let Some((_, error)) = self.failures.get(telling) else {
            return no_host();
        };
        let mut error = error.clone();
        if self.failures.len() > 1 {
            error = error.saying(all_reasons(&self.failures, telling));
        }
        if self.config.assumes_address {
            let (dsn, host, tried) = (Setting::Dsn, Setting::Host, &self.config.hosts[0]);
            let message = format!(
                "{}; no address was given (`{dsn}`, `{host}`, PGHOST), so {tried} was tried",
                error.message
            );
            error = error.saying(message);
        }
        error
    }
}

/// The first reasons, and in any case the `telling` one.
fn all_reasons(failures: &[(&Host, Error)], telling: usize) -> String {
    let mut text = format!("none of {} hosts can be used", failures.len());
    let named = |(index, _): &(usize, _)| *index < MOST_NAMED || *index == telling;
    for (index, (host, error)) in failures.iter().enumerate().filter(named) {
        text.push_str(if index == 0 { ": " } else { "; " });
        let host = host.to_string();
        if !error.message.contains(&host) {
            text.push_str(&shortened(&host, LONGEST_REASON));
            text.push_str(": ");
        }
        text.push_str(&shortened(&error.message, LONGEST_REASON));
    }
    if failures.len() > MOST_NAMED {
        text.push_str("; …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;
    use crate::connect::settings::Settings;

    fn config(dsn: Option<&str>) -> ConnectConfig {
        ConnectConfig::resolve(Settings::default(), dsn, Settings::default()).unwrap()
    }

    fn error_of(config: &ConnectConfig, reason: impl Fn(usize) -> Error) -> Error {
        let mut round = Round::new(config);
        let mut number = 0;
        while let Some(candidate) = round.next() {
            round.note(candidate.host, reason(number));
            number += 1;
        }
        round.error()
    }

    #[test]
    fn the_error_of_several_hosts_names_each_with_its_reason() {
        let config = config(Some("postgres://a,b:1/db"));
        let error = error_of(&config, |number| match number {
            0 => Error::new(ErrorKind::Connect, "could not connect to a:5432: refused"),
            _ => Error::of_server("ERROR", "25006").saying("no LISTEN in recovery".to_owned()),
        });
        let text = "none of 2 hosts can be used: could not connect to a:5432: refused; b:1: no LISTEN in recovery";
        assert_eq!(error.message, text);
        assert_eq!(error.server.as_ref().unwrap().message, text);
        assert_eq!(error.sql_state(), Some("25006"));
    }

    #[test]
    fn a_refused_password_is_the_error_wherever_its_host_stands() {
        let hosts: Vec<String> = (0..20).map(|number| format!("h{number}")).collect();
        let config = config(Some(&format!("postgres://{}/db", hosts.join(","))));
        for refusing in [0, 12, 19] {
            let error = error_of(&config, |number| {
                if number == refusing {
                    Error::of_server("FATAL", "28P01").saying("wrong password".to_owned())
                } else {
                    Error::new(ErrorKind::Connect, "refused")
                }
            });
            assert_eq!(error.sql_state(), Some("28P01"));
            assert!(
                error
                    .message
                    .contains(&format!("h{refusing}:5432: wrong password")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_error_is_bounded_however_many_hosts_there_are() {
        let hosts = vec!["h".repeat(300); 100].join(",");
        let config = config(Some(&format!("postgres://{hosts}/db")));
        let error = error_of(&config, |_| {
            Error::new(ErrorKind::Connect, "x".repeat(5000))
        });
        assert!(error.message.chars().count() < 4000);
    }

    #[test]
    fn an_address_that_nobody_gave_is_told() {
        let refused = |_| Error::new(ErrorKind::Connect, "refused");
        let error = error_of(&config(None), refused);
        assert_eq!(
            error.to_string(),
            "refused; no address was given (`dsn`, `host`, PGHOST), so localhost:5432 was tried"
        );
        for dsn in ["host=localhost", "hostaddr=127.0.0.1", "host=/tmp"] {
            assert_eq!(error_of(&config(Some(dsn)), refused).message, "refused");
        }
    }
}
