//! Merges the sources of settings: the options, the DSN, the environment.

use std::net::IpAddr;

use crate::base::error::Result;
use crate::connect::choices::SslMode;
use crate::connect::dsn::parse_dsn;
use crate::connect::misplaced;
use crate::connect::settings::Settings;
use crate::connect::start_up::command_line;
use crate::connect::tls::SYSTEM_ROOTS;

/// A source of settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Origin {
    #[default]
    Options,
    Dsn,
    Environment,
}

/// Where the servers come from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Origins {
    /// Of the hosts and their addresses.
    pub(super) hosts: Origin,
    pub(super) ports: Origin,
}

/// Merges the sources of settings. Each setting comes from the first that has it: `options`, then `dsn`, then
/// `environment`.
pub(super) fn merge(
    options: Settings,
    dsn: Option<&str>,
    mut environment: Settings,
) -> Result<(Settings, Origins)> {
    let mut dsn = dsn.map(parse_dsn).transpose()?.unwrap_or_default();
    for source in [&options, &dsn, &environment] {
        misplaced::check(source)?;
    }
    // A text takes the place of a file that a later source names. The mode that `system` implies stays.
    let ca_file = dsn.ca_file.as_ref().or(environment.ca_file.as_ref());
    let implies_mode = options.ca.is_some() && ca_file.is_some_and(|file| file == SYSTEM_ROOTS);
    for source in [&mut dsn, &mut environment] {
        source.ca_file.take_if(|_| options.ca.is_some());
        source.cert_file.take_if(|_| options.cert.is_some());
        source.key_file.take_if(|_| options.key.is_some());
    }
    // Settings of the server add up, and what stands last wins.
    let line = command_line(&[&environment, &dsn, &options]);
    let ((hosts, host_addresses, ports), origins) = servers(&options, &dsn, &environment);
    let merged = without_empty(options.or(dsn).or(environment));
    let implied = implies_mode.then_some(SslMode::VerifyFull);
    let merged = Settings {
        hosts,
        host_addresses,
        ports,
        options: (!line.is_empty()).then_some(line),
        session: None,
        ssl_mode: merged.ssl_mode.or(implied),
        ..merged
    };
    Ok((merged, origins))
}

/// As in libpq, an empty name is that of the default, although it comes before what later sources say.
fn without_empty(mut settings: Settings) -> Settings {
    for name in [
        &mut settings.user,
        &mut settings.password_file,
        &mut settings.ca_file,
        &mut settings.cert_file,
        &mut settings.key_file,
    ] {
        name.take_if(|name| name.is_empty());
    }
    settings
}

type Servers = (
    Option<Vec<String>>,
    Option<Vec<Option<IpAddr>>>,
    Option<Vec<Option<u16>>>,
);

/// The hosts with their addresses and ports. A source that names hosts names their addresses too, and a DSN's ports do not
/// belong to the hosts of the options.
fn servers(options: &Settings, dsn: &Settings, environment: &Settings) -> (Servers, Origins) {
    use Origin::{Dsn, Environment, Options};
    let first = |sources: &[(Origin, &Settings)]| {
        let mut ports = sources
            .iter()
            .filter_map(|(origin, source)| Some((*origin, source.ports.clone()?)));
        ports.next().unzip()
    };
    if options.hosts.is_some() {
        let (origin, ports) = first(&[(Options, options), (Environment, environment)]);
        let origins = Origins {
            hosts: Options,
            ports: origin.unwrap_or_default(),
        };
        return ((options.hosts.clone(), None, ports), origins);
    }
    let (origin, ports) = first(&[(Options, options), (Dsn, dsn), (Environment, environment)]);
    // Addresses stand for hosts without names.
    let (hosts, source) = if dsn.hosts.is_some() || dsn.host_addresses.is_some() {
        (Dsn, dsn)
    } else {
        (Environment, environment)
    };
    let origins = Origins {
        hosts,
        ports: origin.unwrap_or_default(),
    };
    let found = (source.hosts.clone(), source.host_addresses.clone(), ports);
    (found, origins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::parameters::read_environment;
    use crate::connect::settings::PemText;

    fn on(hosts: &[&str], ports: &[u16]) -> Settings {
        let list = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect();
        Settings {
            hosts: (!hosts.is_empty()).then(|| list(hosts)),
            ports: (!ports.is_empty()).then(|| ports.iter().copied().map(Some).collect()),
            ..Settings::default()
        }
    }

    #[test]
    fn the_ports_of_a_dsn_do_not_belong_to_the_hosts_of_the_options() {
        let merged = merge(on(&["a"], &[]), Some("postgres://b:2"), on(&["c"], &[3]))
            .unwrap()
            .0;
        assert_eq!(merged.hosts, Some(vec!["a".to_owned()]));
        assert_eq!(merged.ports, Some(vec![Some(3)]));
        let merged = merge(on(&[], &[1]), Some("postgres://b:2"), on(&["c"], &[3]))
            .unwrap()
            .0;
        assert_eq!(merged.hosts, Some(vec!["b".to_owned()]));
        assert_eq!(merged.ports, Some(vec![Some(1)]));
    }

    #[test]
    fn a_setting_of_the_server_comes_from_the_first_source_that_has_it() {
        let line = |options: Option<&str>, dsn: &str, environment: &[(&'static str, &str)]| {
            let options = Settings {
                options: options.map(ToOwned::to_owned),
                ..Settings::default()
            };
            let environment = read_environment(environment.iter().copied()).unwrap();
            let merged = merge(options, Some(dsn), environment).unwrap().0;
            merged.options.unwrap_or_default()
        };
        let dsn = "postgres://h/d?statement_timeout=5000";
        let variables = [("PGTZ", "UTC"), ("PGOPTIONS", "-c statement_timeout=0")];
        assert_eq!(
            line(None, dsn, &variables),
            "-c TimeZone=UTC -c statement_timeout=0 -c statement_timeout=5000"
        );
        assert_eq!(
            line(Some("-c a.b=1"), dsn, &variables),
            "-c TimeZone=UTC -c statement_timeout=5000 -c a.b=1"
        );
        assert_eq!(
            line(None, &format!("{dsn}&options=-c%20a.b%3D2"), &variables),
            "-c TimeZone=UTC -c statement_timeout=5000 -c a.b=2"
        );
        assert_eq!(line(None, "postgres://h/d", &[]), "");
    }

    #[test]
    fn a_text_in_the_place_of_the_systems_roots_keeps_their_mode() {
        let options = || Settings {
            ca: Some(PemText::new(String::new())),
            ..Settings::default()
        };
        let variables = [("PGSSLROOTCERT", "system")].into_iter();
        let environment = || read_environment(variables.clone()).unwrap();
        for (dsn, mode) in [
            ("postgres://h", Some(SslMode::VerifyFull)),
            ("postgres://h?sslmode=prefer", Some(SslMode::Prefer)),
            ("postgres://h?sslrootcert=/file", None),
        ] {
            let merged = merge(options(), Some(dsn), environment()).unwrap().0;
            assert_eq!((merged.ssl_mode, merged.ca_file), (mode, None), "{dsn}");
        }
    }

    #[test]
    fn a_source_that_has_addresses_names_its_hosts_too() {
        let environment = on(&["c"], &[]);
        let merged = merge(
            Settings::default(),
            Some("hostaddr=127.0.0.1"),
            environment.clone(),
        )
        .unwrap()
        .0;
        assert_eq!(merged.hosts, None);
        assert_eq!(merged.host_addresses, Some(vec!["127.0.0.1".parse().ok()]));
        let merged = merge(Settings::default(), None, environment).unwrap().0;
        assert_eq!(merged.hosts, Some(vec!["c".to_owned()]));
    }
}
