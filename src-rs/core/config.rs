//! Where to connect and how: options, a DSN and the environment become one [`ConnectConfig`].

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};

use super::dsn::parse_dsn;
use super::error::{Error, Result};
use super::settings::{Settings, refuse_tls};

const DEFAULT_PORT: u16 = 5432;
/// libpq waits for ever; a service that must notice an outage cannot.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel's own default of two hours is of no use to a listener.
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

/// A server to try.
#[derive(Debug, Clone)]
pub enum Host {
    /// A name or an address, and the address to use instead of asking for the name's.
    Tcp {
        name: String,
        address: Option<IpAddr>,
        port: u16,
    },
    /// The folder of a Unix-domain socket.
    #[cfg(unix)]
    Unix { directory: PathBuf, port: u16 },
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

/// Everything needed to open a connection. Checked: dialling it can fail, but not for a wrong option.
#[derive(Clone)]
pub struct ConnectConfig {
    /// User, password, database and start-up parameters. Its hosts are not used: see `hosts`.
    pub protocol: Config,
    /// At least one.
    pub hosts: Vec<Host>,
    /// Whether to try the hosts in random order.
    pub load_balance: bool,
    /// The role that a server must have.
    pub target_session_attrs: TargetSessionAttrs,
    /// The bound for each host, from name resolution to the last answer.
    pub connect_timeout: Duration,
    keepalive: Option<TcpKeepalive>,
    tcp_user_timeout: Option<Duration>,
}

impl fmt::Debug for ConnectConfig {
    // By hand: no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectConfig")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl ConnectConfig {
    /// Merges the sources. Each setting comes from the first that has it: `options`, then `dsn`, then
    /// `environment`, then the default.
    pub fn resolve(options: Settings, dsn: Option<&str>, environment: Settings) -> Result<Self> {
        let dsn = dsn.map(parse_dsn).transpose()?.unwrap_or_default();
        macro_rules! pick {
            ($field:ident) => {
                options
                    .$field
                    .clone()
                    .or_else(|| dsn.$field.clone())
                    .or_else(|| environment.$field.clone())
            };
        }
        refuse_tls(pick!(ssl_mode).as_deref())?;

        let mut protocol = Config::new();
        protocol.ssl_mode(SslMode::Disable);
        // Channel binding needs TLS.
        protocol.channel_binding(ChannelBinding::Disable);
        protocol.application_name(pick!(application_name).unwrap_or_else(|| "pglisten".to_owned()));
        if let Some(user) = pick!(user) {
            protocol.user(user);
        }
        if let Some(password) = pick!(password) {
            protocol.password(password);
        }
        if let Some(db_name) = pick!(db_name) {
            protocol.dbname(db_name);
        }
        if let Some(options) = pick!(options) {
            protocol.options(options);
        }

        // A source that names hosts names their ports too: a DSN's ports do not belong to an option's hosts.
        let (names, addresses, ports) = if options.hosts.is_some() {
            (
                options.hosts.clone(),
                None,
                options.ports.clone().or_else(|| environment.ports.clone()),
            )
        } else if dsn.hosts.is_some() || dsn.host_addresses.is_some() {
            (
                dsn.hosts.clone(),
                dsn.host_addresses.clone(),
                options
                    .ports
                    .clone()
                    .or_else(|| dsn.ports.clone())
                    .or_else(|| environment.ports.clone()),
            )
        } else {
            (
                environment.hosts.clone(),
                environment.host_addresses.clone(),
                pick!(ports),
            )
        };

        let keepalive = pick!(keepalives).unwrap_or(true).then(|| {
            let mut keepalive = TcpKeepalive::new()
                .with_time(pick!(keepalives_idle).unwrap_or(DEFAULT_KEEPALIVES_IDLE));
            #[cfg(not(target_os = "openbsd"))]
            if let Some(interval) = pick!(keepalives_interval) {
                keepalive = keepalive.with_interval(interval);
            }
            #[cfg(not(any(target_os = "openbsd", target_os = "windows")))]
            if let Some(retries) = pick!(keepalives_retries) {
                keepalive = keepalive.with_retries(retries);
            }
            keepalive
        });

        Ok(Self {
            protocol,
            hosts: hosts(names, addresses, ports.unwrap_or_default())?,
            load_balance: pick!(load_balance).unwrap_or(false),
            target_session_attrs: pick!(target_session_attrs).unwrap_or(TargetSessionAttrs::Any),
            connect_timeout: pick!(connect_timeout).unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            keepalive,
            tcp_user_timeout: pick!(tcp_user_timeout),
        })
    }

    pub(super) fn apply_socket_options(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if let Some(keepalive) = &self.keepalive {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.tcp_user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }
}

fn hosts(
    names: Option<Vec<String>>,
    addresses: Option<Vec<IpAddr>>,
    ports: Vec<u16>,
) -> Result<Vec<Host>> {
    let addresses = addresses.unwrap_or_default();
    let names = match names {
        Some(names) if !names.is_empty() => names,
        _ if !addresses.is_empty() => addresses.iter().map(ToString::to_string).collect(),
        _ => vec!["localhost".to_owned()],
    };
    // What is no name of a host is not shown: it may be a whole URL, with its password.
    if names.iter().any(|name| {
        name.contains(['@', '?', '#']) || (name.contains('/') && !name.starts_with('/'))
    }) {
        return Err(Error::configuration(
            "host",
            "Expected `host` to be a name, an address or the folder of a socket, got text with `@`, `/`, `?` or `#` (not \
             shown: it may hold a password)",
        ));
    }
    if !addresses.is_empty() && addresses.len() != names.len() {
        return Err(Error::configuration(
            "dsn",
            format!(
                "Expected as many `hostaddr` as `host`, got {} and {}",
                addresses.len(),
                names.len()
            ),
        ));
    }
    if ports.len() > 1 && ports.len() != names.len() {
        return Err(Error::configuration(
            "ports",
            format!(
                "Expected one port, or as many ports as hosts ({}), got {}",
                names.len(),
                ports.len()
            ),
        ));
    }
    Ok(names
        .into_iter()
        .enumerate()
        .map(|(index, name)| {
            let port = ports
                .get(index)
                .or_else(|| ports.first())
                .copied()
                .unwrap_or(DEFAULT_PORT);
            #[cfg(unix)]
            if name.starts_with('/') {
                return Host::Unix {
                    directory: PathBuf::from(name),
                    port,
                };
            }
            Host::Tcp {
                name,
                address: addresses.get(index).copied(),
                port,
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(dsn: &str) -> Result<ConnectConfig> {
        ConnectConfig::resolve(Settings::default(), Some(dsn), Settings::default())
    }

    #[test]
    fn options_win_over_the_dsn_and_the_dsn_over_the_environment() {
        let options = Settings {
            user: Some("from-options".into()),
            ..Settings::default()
        };
        let environment = Settings {
            user: Some("from-environment".into()),
            db_name: Some("from-environment".into()),
            hosts: Some(vec!["environment".into()]),
            ports: Some(vec![1]),
            ..Settings::default()
        };
        let config = ConnectConfig::resolve(
            options,
            Some("postgres://from-dsn:secret@dsn:2"),
            environment,
        )
        .unwrap();
        assert_eq!(config.protocol.get_user(), Some("from-options"));
        assert_eq!(config.protocol.get_password(), Some(&b"secret"[..]));
        assert_eq!(config.protocol.get_dbname(), Some("from-environment"));
        assert_eq!(config.hosts[0].to_string(), "dsn:2");
    }

    #[test]
    fn encryption_that_was_asked_for_is_refused() {
        for dsn in [
            "postgres://localhost/db?sslmode=require",
            "postgres://localhost/db?connect_timeout=3&sslmode=verify-full",
            "host=localhost sslmode=verify-ca",
            "host=localhost sslmode='require'",
            "host=localhost sslmode = require",
            "host=localhost sslmode = verify-full",
            "postgres://localhost/db?ssl%6Dode=require",
            "postgres://localhost/db?sslmode=prefer&sslmode=require",
        ] {
            let error = resolve(dsn).unwrap_err();
            assert_eq!(error.option, Some("sslMode"), "{dsn}");
        }
        for dsn in [
            "host=localhost channel_binding=require",
            "postgres://localhost?sslnegotiation=direct",
        ] {
            let error = resolve(dsn).unwrap_err();
            assert!(error.message.contains("needs TLS"), "{}", error.message);
        }
        for mode in ["disable", "allow", "prefer"] {
            resolve(&format!("postgres://localhost/db?sslmode={mode}")).unwrap();
            resolve(&format!("host=localhost sslmode={mode}")).unwrap();
        }
    }

    #[test]
    fn a_dsn_that_does_not_parse_is_not_shown() {
        for dsn in [
            "postgres://u:hunter2@[::1",
            "hunter2",
            "host=h password=a hunter2=x",
            "mysql://u:hunter2@h/",
            "postgres://u:a@hunter2@h/db",
            "postgres://u:12/hunter2@h/db",
        ] {
            let error = resolve(dsn).unwrap_err();
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        }
        let config = resolve("postgres://u:hunter2@h").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn hosts_and_ports_are_paired() {
        let config = resolve("postgres://a:1,b:2/db").unwrap();
        let hosts: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:1", "b:2"]);
        assert!(resolve("host=a,b,c port=1,2").is_err());
        let config = resolve("host=/tmp user=u").unwrap();
        assert_eq!(config.hosts[0].to_string(), "/tmp:5432");
    }
}
