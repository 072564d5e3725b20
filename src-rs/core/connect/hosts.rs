//! The servers to try: names, addresses and ports, put together.

use std::fmt;
use std::net::IpAddr;
#[cfg(unix)]
use std::path::PathBuf;

use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::settings::Settings;
use crate::connect::sources::{Origin, Origins};

const DEFAULT_PORT: u16 = 5432;

/// A server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A server that is reached over TCP.
    Tcp {
        /// Its name, or its address as text.
        name: String,
        /// The address to use instead of asking for that of the name.
        address: Option<IpAddr>,
        /// Its port.
        port: u16,
    },
    /// A server that is reached over a Unix-domain socket.
    #[cfg(unix)]
    Unix {
        /// The folder of the socket.
        directory: PathBuf,
        /// The port, which is a part of the socket's name.
        port: u16,
    },
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port, .. } => write!(f, "{name}:{port}"),
            #[cfg(unix)]
            Self::Unix { directory, port } => write!(f, "{}:{port}", directory.display()),
        }
    }
}

impl Host {
    fn new(name: String, address: Option<IpAddr>, port: u16) -> Self {
        // As in libpq, an address is where the host is, whatever its name looks like.
        #[cfg(unix)]
        if name.starts_with('/') && address.is_none() {
            let directory = PathBuf::from(name);
            return Self::Unix { directory, port };
        }
        let name = match address {
            _ if !name.is_empty() => name,
            Some(address) => address.to_string(),
            None => "localhost".to_owned(),
        };
        Self::Tcp {
            name,
            address,
            port,
        }
    }

    /// The name and port by which a password file knows the host: the usual folders of sockets go by `localhost`.
    pub(super) fn in_password_file(&self) -> (String, u16) {
        match self {
            Self::Tcp { name, port, .. } => (name.clone(), *port),
            #[cfg(unix)]
            Self::Unix { directory, port } => match directory.to_string_lossy().as_ref() {
                "/tmp" | "/var/run/postgresql" | "/run/postgresql" => {
                    ("localhost".to_owned(), *port)
                }
                other => (other.to_owned(), *port),
            },
        }
    }
}

/// Pairs the names of hosts with their addresses and ports. Gives at least one host.
pub(super) fn hosts(settings: &mut Settings, origins: Origins) -> Result<Vec<Host>> {
    // As in libpq, a list that is an empty text is none.
    let addresses = settings.host_addresses.take().unwrap_or_default();
    let addresses = if addresses == [None] {
        Vec::new()
    } else {
        addresses
    };
    let ports = settings.ports.take().unwrap_or_default();
    let names = match settings.hosts.take() {
        Some(names) if !names.is_empty() && names != [""] => names,
        _ => vec![String::new(); addresses.len().max(1)],
    };
    check_names(&names)?;
    check_counts(names.len(), addresses.len(), ports.len(), origins)?;
    let port = |index: usize| ports.get(index).or(ports.first()).copied().flatten();
    let pair = |(index, name)| {
        let address = addresses.get(index).copied().flatten();
        Host::new(name, address, port(index).unwrap_or(DEFAULT_PORT))
    };
    Ok(names.into_iter().enumerate().map(pair).collect())
}

/// Refuses text that is no name of a host, without showing it: it may be a whole URL, with its password.
fn check_names(names: &[String]) -> Result<()> {
    let is_none = |name: &String| {
        name.contains(['@', '?', '#'])
            || (!name.starts_with('/')
                && (name.contains(['/', '=']) || name.contains(char::is_whitespace)))
    };
    if let Some(folder) = names
        .iter()
        .find(|name| !cfg!(unix) && is_folder(name) && !name.contains(['@', '?', '#']))
    {
        return Err(Error::configuration(
            Setting::Host,
            format!(
                "Expected `{}` to be a name or an address, got the folder `{folder}`: pglisten has Unix-domain sockets on Unix \
                 only, and connects over TCP elsewhere",
                Setting::Host
            ),
        ));
    }
    if !names.iter().any(is_none) {
        return names.iter().try_for_each(|name| check_one(name));
    }
    Err(Error::configuration(
        Setting::Host,
        format!(
            "Expected `{}` to be a name, an address or the folder of a socket, got text with `@`, `/`, `?`, `#`, `=` or a blank \
             (not shown: it may hold a password)",
            Setting::Host
        ),
    ))
}

/// Refuses several names in one, and a port behind one: nobody would look for these. They are not shown, like other text that is no
/// name.
fn check_one(name: &str) -> Result<()> {
    let refused = |what: &str| {
        let host = Setting::Host;
        let message = format!("Expected `{host}` to be one name or address, got {what}");
        Err(Error::configuration(host, message))
    };
    if name.starts_with('/') {
        return Ok(());
    }
    if name.contains(',') {
        return refused("several with commas (not shown): `hosts` takes a list");
    }
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once(':') {
        // An address of IPv6 has more colons, unless it is in brackets.
        Some((before, port))
            if is_port(port) && (!before.contains(':') || before.ends_with(']')) =>
        {
            refused("one with a port (not shown): `port` takes that")
        }
        _ => Ok(()),
    }
}

/// Whether libpq would look for a socket there; on Windows its paths may begin with a drive.
fn is_folder(name: &str) -> bool {
    let begins_with_drive =
        matches!(name.as_bytes(), [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic());
    name.starts_with(['/', '\\']) || begins_with_drive
}

/// Checks that there are as many addresses and ports as hosts, or none, or one port for all hosts.
fn check_counts(hosts: usize, addresses: usize, ports: usize, origins: Origins) -> Result<()> {
    if addresses > 0 && addresses != hosts {
        let (setting, names) = match origins.hosts {
            Origin::Environment => (Setting::Variable("PGHOSTADDR"), ["PGHOSTADDR", "PGHOST"]),
            Origin::Options | Origin::Dsn => (Setting::Dsn, ["hostaddr", "host"]),
        };
        let [address, host] = names;
        return Err(Error::configuration(
            setting,
            format!("Expected as many `{address}` as `{host}`, got {addresses} and {hosts}"),
        ));
    }
    if ports > 1 && ports != hosts {
        let (setting, place) = match origins.ports {
            Origin::Options => (Setting::Ports, ""),
            Origin::Dsn => (Setting::Dsn, " in the DSN"),
            Origin::Environment => (Setting::Variable("PGPORT"), " in `PGPORT`"),
        };
        return Err(Error::configuration(
            setting,
            format!("Expected one port, or as many ports as hosts ({hosts}), got {ports}{place}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(host: &str) -> Settings {
        Settings {
            hosts: Some(vec![host.to_owned()]),
            ..Settings::default()
        }
    }

    #[test]
    fn the_folder_of_a_socket_is_told_from_a_name() {
        for folder in ["/var/run/postgresql", "\\\\.\\pipe", "C:\\run", "d:/run"] {
            assert!(is_folder(folder), "{folder}");
        }
        for name in [
            "localhost",
            "::1",
            "c:",
            "10.0.0.1",
            "fe80::1%eth0",
            "",
            "1:/x",
        ] {
            assert!(!is_folder(name), "{name}");
        }
    }

    #[cfg(not(unix))]
    #[test]
    fn the_folder_of_a_socket_is_refused_with_the_reason() {
        for folder in ["/var/run/postgresql", "C:\\run", "C:/run"] {
            let error = hosts(&mut settings(folder), Origins::default()).unwrap_err();
            assert_eq!(error.option, Some(Setting::Host));
            assert!(error.message.contains(folder), "{}", error.message);
            assert!(error.message.contains("Unix only"), "{}", error.message);
        }
        let secret = hosts(&mut settings("/hunter2@host"), Origins::default()).unwrap_err();
        assert!(!secret.message.contains("hunter2"), "{}", secret.message);
    }

    #[cfg(unix)]
    #[test]
    fn an_address_counts_more_than_the_folder_of_a_socket() {
        let mut settings = Settings {
            host_addresses: Some(vec!["10.0.0.5".parse().ok()]),
            ..settings("/run/x")
        };
        let expected = Host::Tcp {
            name: "/run/x".to_owned(),
            address: "10.0.0.5".parse().ok(),
            port: DEFAULT_PORT,
        };
        assert_eq!(
            hosts(&mut settings, Origins::default()).unwrap(),
            [expected]
        );
    }

    #[test]
    fn several_names_in_one_and_a_port_behind_one_are_refused() {
        for (name, instead) in [
            ("a,b", "`hosts`"),
            ("localhost:5433", "`port`"),
            ("10.0.0.1:5433", "`port`"),
            ("[::1]:5433", "`port`"),
        ] {
            let error = hosts(&mut settings(name), Origins::default()).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.option, Some(Setting::Host), "{name}");
            assert!(
                text.contains(instead) && !text.contains(name),
                "{name}: {text}"
            );
        }
        for name in ["a", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "1::2"] {
            hosts(&mut settings(name), Origins::default()).unwrap();
        }
    }

    #[test]
    fn wrong_counts_are_told_of_where_they_stand() {
        let ports = || Settings {
            ports: Some(vec![Some(1), Some(2)]),
            ..settings("a")
        };
        let addresses = || Settings {
            host_addresses: Some(vec!["10.0.0.5".parse().ok(), None]),
            ..settings("a")
        };
        for (origin, of_ports, of_addresses) in [
            (Origin::Options, Setting::Ports, Setting::Dsn),
            (Origin::Dsn, Setting::Dsn, Setting::Dsn),
            (
                Origin::Environment,
                Setting::Variable("PGPORT"),
                Setting::Variable("PGHOSTADDR"),
            ),
        ] {
            let origins = Origins {
                hosts: origin,
                ports: origin,
            };
            let error = hosts(&mut ports(), origins).unwrap_err();
            assert_eq!(error.option, Some(of_ports), "{error}");
            let error = hosts(&mut addresses(), origins).unwrap_err();
            assert_eq!(error.option, Some(of_addresses), "{error}");
        }
    }

    #[test]
    fn an_empty_list_is_none() {
        let addresses = ["127.0.0.1", "::1"].map(|it| it.parse().ok());
        let mut two = Settings {
            host_addresses: Some(addresses.to_vec()),
            ..settings("")
        };
        assert_eq!(hosts(&mut two, Origins::default()).unwrap().len(), 2);
        let mut none = Settings {
            host_addresses: Some(vec![None]),
            hosts: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..Settings::default()
        };
        assert_eq!(hosts(&mut none, Origins::default()).unwrap().len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_of_a_socket_is_used() {
        let found = hosts(&mut settings("/var/run/postgresql"), Origins::default()).unwrap();
        assert!(matches!(found[..], [Host::Unix { .. }]));
    }
}
