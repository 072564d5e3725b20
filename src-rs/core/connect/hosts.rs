//! The servers to try: names, addresses and ports, put together.

use std::fmt;
use std::net::IpAddr;
#[cfg(unix)]
use std::path::PathBuf;

use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::settings::Settings;

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
pub(super) fn hosts(settings: &mut Settings) -> Result<Vec<Host>> {
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
    check_counts(names.len(), addresses.len(), ports.len())?;
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
        return Ok(());
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

/// Whether libpq would look for a socket there; on Windows its paths may begin with a drive.
fn is_folder(name: &str) -> bool {
    let begins_with_drive =
        matches!(name.as_bytes(), [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic());
    name.starts_with(['/', '\\']) || begins_with_drive
}

/// Checks that there are as many addresses and ports as hosts, or none, or one port for all hosts.
fn check_counts(hosts: usize, addresses: usize, ports: usize) -> Result<()> {
    if addresses > 0 && addresses != hosts {
        return Err(Error::configuration(
            Setting::Dsn,
            format!("Expected as many `hostaddr` as `host`, got {addresses} and {hosts}"),
        ));
    }
    if ports > 1 && ports != hosts {
        return Err(Error::configuration(
            Setting::Ports,
            format!("Expected one port, or as many ports as hosts ({hosts}), got {ports}"),
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
            let error = hosts(&mut settings(folder)).unwrap_err();
            assert_eq!(error.option, Some(Setting::Host));
            assert!(error.message.contains(folder), "{}", error.message);
            assert!(error.message.contains("Unix only"), "{}", error.message);
        }
        let secret = hosts(&mut settings("/hunter2@host")).unwrap_err();
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
        assert_eq!(hosts(&mut settings).unwrap(), [expected]);
    }

    #[test]
    fn an_empty_list_is_none() {
        let addresses = ["127.0.0.1", "::1"].map(|it| it.parse().ok());
        let mut two = Settings {
            host_addresses: Some(addresses.to_vec()),
            ..settings("")
        };
        assert_eq!(hosts(&mut two).unwrap().len(), 2);
        let mut none = Settings {
            host_addresses: Some(vec![None]),
            hosts: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..Settings::default()
        };
        assert_eq!(hosts(&mut none).unwrap().len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_of_a_socket_is_used() {
        let found = hosts(&mut settings("/var/run/postgresql")).unwrap();
        assert!(matches!(found[..], [Host::Unix { .. }]));
    }
}
