//! A round through the hosts: each is tried in turn, a silent one does not keep the next one waiting for long, and the error of a
//! round in vain names each with its reason.

use std::{slice, vec};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::seq::SliceRandom as _;

use super::candidates::roles;
use super::{Candidate, in_time, no_host};
use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::base::setting::shortened;
use crate::connect::choices::TargetSessionAttrs;
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::password::Asked;

/// The part of its time that a host has for itself. Then the next one is tried beside it: whoever waits for a connection mostly
/// waits no longer than a few silent hosts would take one after the other.
const HEAD_START: u32 = 4;

/// The most hosts that an error names.
const MOST_NAMED: usize = 8;

/// The longest reason of a host that an error gives, in characters.
const LONGEST_REASON: usize = 200;

/// Attempts to connect to the configured hosts, each bounded by the connect timeout, until the first of them succeeds.
///
/// The next host is tried when one has failed, or when the last one has had its head start.
pub(crate) async fn first_of<'a, T, A>(
    config: &'a ConnectConfig,
    mut attempt: impl FnMut(Candidate<'a>) -> A,
) -> Result<T>
where
    A: Future<Output = Result<T>>,
{
    let mut round = Round::new(config);
    let mut attempts = FuturesUnordered::new();
    loop {
        match round.next() {
            Some(candidate) => {
                let (host, asked) = (candidate.host, candidate.asked.clone());
                // Boxed: it holds start-up and what is asked behind it.
                let attempt = Box::pin(attempt(candidate));
                attempts.push(async move { (host, asked, in_time(config, host, attempt).await) });
            }
            None if !attempts.is_empty() => {}
            None if round.begins_again() => continue,
            None => return Err(round.error()),
        }
        tokio::select! {
            Some((host, asked, outcome)) = attempts.next() => match outcome {
                Ok(done) => return Ok(done),
                Err(error) => match asked.failure() {
                    // Another host would get no password either.
                    Some(failure) => {
                        round.note(host, failure);
                        return Err(round.error());
                    }
                    None => round.note(host, error),
                }
            },
            () = round.head_start(), if round.has_next() => {}
        }
    }
}

/// One round through the configured hosts, for one connection.
#[derive(Debug)]
struct Round<'a> {
    config: &'a ConnectConfig,
    hosts: Vec<&'a Host>,
    /// The role that is asked for now.
    role: TargetSessionAttrs,
    /// The roles that are asked for once no host has the present one.
    other_roles: slice::Iter<'a, TargetSessionAttrs>,
    /// The hosts that were not tried yet in the present role.
    left: vec::IntoIter<&'a Host>,
    asked: Asked,
    /// The hosts that were tried, and the last error of each.
    failures: Vec<(&'a Host, Error)>,
}

impl<'a> Round<'a> {
    fn new(config: &'a ConnectConfig) -> Self {
        let mut hosts: Vec<&Host> = config.hosts.iter().collect();
        if config.load_balance {
            hosts.shuffle(&mut rand::rng());
        }
        let mut other_roles = roles(config).iter();
        Self {
            config,
            left: hosts.clone().into_iter(),
            hosts,
            role: other_roles.next().copied().unwrap_or_default(),
            other_roles,
            asked: Asked::default(),
            failures: Vec::new(),
        }
    }

    /// The next host to try.
    fn next(&mut self) -> Option<Candidate<'a>> {
        Some(Candidate {
            host: self.left.next()?,
            role: self.role,
            asked: self.asked.again(),
        })
    }

    fn has_next(&self) -> bool {
        !self.left.as_slice().is_empty()
    }

    /// Begins with the next role, at the hosts that have answered. Gives whether there is one.
    fn begins_again(&mut self) -> bool {
        let Some(role) = self.other_roles.next() else {
            return false;
        };
        self.role = *role;
        let mut hosts = self.hosts.clone();
        hosts.sort_by_key(|host| self.failure_of(host).is_some_and(|it| it.is_unanswered));
        self.left = hosts.into_iter();
        true
    }

    fn failure_of(&self, host: &Host) -> Option<&Error> {
        let mut failures = self.failures.iter();
        let failure = failures.find(|(other, _)| std::ptr::eq(*other, host))?;
        Some(&failure.1)
    }

    /// Waits until the last host that was tried has had its time. While the password is asked for, no host is given less.
    async fn head_start(&self) {
        loop {
            tokio::time::sleep(self.config.connect_timeout / HEAD_START).await;
            if !self.asked.was_pending().await {
                return;
            }
        }
    }

    fn note(&mut self, host: &'a Host, error: Error) {
        self.failures
            .retain(|(other, _)| !std::ptr::eq(*other, host));
        self.failures.push((host, error));
    }

    /// The error of the round, with the reason of each host: the last one, but a host that does not accept who we are tells
    /// more than others that are away, and is not to be asked often.
    fn error(mut self) -> Error {
        let place = |host: &Host| self.hosts.iter().position(|it| std::ptr::eq(*it, host));
        self.failures.sort_by_key(|(host, _)| place(host));
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

/// The hosts of a configuration, as an error names them.
pub(crate) fn hosts_named(config: &ConnectConfig) -> String {
    let hosts = config.hosts.iter().take(MOST_NAMED);
    let mut names: Vec<String> = hosts
        .map(|host| shortened(&host.to_string(), LONGEST_REASON))
        .collect();
    if config.hosts.len() > MOST_NAMED {
        names.push("…".to_owned());
    }
    names.join(", ")
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
    use std::future::pending;

    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;
    use crate::base::error::ErrorKind;
    use crate::connect::choices::Choice as _;
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

    /// Tries hosts of which only `good` answers, in the `role` it has. Gives which hosts were tried, in what role, and after how
    /// many milliseconds.
    async fn tried(dsn: &str, good: usize, role: TargetSessionAttrs) -> Vec<String> {
        let config = config(Some(dsn));
        let began = Instant::now();
        let tried = Mutex::new(Vec::new());
        let found = first_of(&config, |candidate| {
            let Candidate {
                host, role: asked, ..
            } = candidate;
            let entry = format!("{host} {} {}", asked.name(), began.elapsed().as_millis());
            tried.lock().push(entry);
            let is_good = *host == config.hosts[good];
            async move {
                if !is_good {
                    pending::<()>().await;
                }
                if asked == role {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Connect, "another role"))
            }
        });
        assert!(found.await.is_ok());
        tried.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_has_a_head_start() {
        assert_eq!(
            tried("postgres://a,b,c", 2, TargetSessionAttrs::Any).await,
            ["a:5432 any 0", "b:5432 any 2500", "c:5432 any 5000"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_hosts_that_have_answered_are_asked_for_the_next_role_first() {
        let dsn = "postgres://a,b,c?target_session_attrs=prefer-standby";
        assert_eq!(
            tried(dsn, 2, TargetSessionAttrs::Any).await,
            [
                "a:5432 standby 0",
                "b:5432 standby 2500",
                "c:5432 standby 5000",
                "c:5432 any 12500",
            ]
        );
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
