//! Where to connect and how: options, a DSN and the environment become one [`ConnectConfig`].

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;

use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::choices::TargetSessionAttrs;
use crate::connect::dsn::parse_dsn;
use crate::connect::passfile::{Account, Lookup, PasswordFile};
use crate::connect::settings::Settings;
use crate::connect::tls::TlsOptions;

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

impl Host {
    /// The host's name and port in a password file, where the usual folders of sockets go by `localhost`.
    fn in_password_file(&self) -> (String, u16) {
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

/// What start-up needs.
pub(crate) struct StartUp {
    pub(crate) protocol: Config,
    /// Where the password is from, if it is from a file.
    pub(crate) password_file: Option<PathBuf>,
    /// Why a file was not used.
    pub(crate) problem: Option<String>,
}

impl StartUp {
    /// An error of start-up, with what the password file has to do with it.
    pub(crate) fn explain(&self, mut error: Error) -> Error {
        let more = match (&self.password_file, &self.problem) {
            // invalid_password
            (Some(path), _) if error.sql_state() == Some("28P01") => {
                format!("; the password is from {}", path.display())
            }
            (_, Some(problem)) if error.option == Some("password") => {
                format!("; the password file is not used: {problem}")
            }
            _ => return error,
        };
        error.message.push_str(&more);
        if let Some(server) = &mut error.server {
            server.message.push_str(&more);
        }
        error
    }
}

/// Everything needed to open a connection. Checked: dialling it can fail, but not for a wrong option.
#[derive(Clone)]
pub struct ConnectConfig {
    /// User, password, database and start-up parameters. Its hosts are not used: see `hosts`.
    pub protocol: Config,
    /// How connections over TCP are encrypted.
    pub tls: TlsOptions,
    /// At least one.
    pub hosts: Vec<Host>,
    /// Whether to try the hosts in random order.
    pub load_balance: bool,
    /// The role that a server must have.
    pub target_session_attrs: TargetSessionAttrs,
    /// The bound for each host, from name resolution to the last answer.
    pub connect_timeout: Duration,
    /// Where to look for a password, when no source has one.
    password_file: Option<PasswordFile>,
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
        let asked = merge(options, dsn, environment);
        let tls = TlsOptions::resolve(&asked)?;

        let mut protocol = Config::new();
        protocol.channel_binding(asked.channel_binding.unwrap_or(ChannelBinding::Prefer));
        let application_name = asked.application_name.or(asked.fallback_application_name);
        protocol.application_name(application_name.unwrap_or_else(|| "pglisten".to_owned()));
        if let Some(user) = asked.user {
            protocol.user(user);
        }
        // As in libpq, an empty one is none.
        let password = asked.password.filter(|password| !password.is_empty());
        let password_file = match password {
            Some(password) => {
                protocol.password(password);
                None
            }
            None => PasswordFile::choose(asked.password_file),
        };
        if let Some(db_name) = asked.db_name.filter(|name| !name.is_empty()) {
            protocol.dbname(db_name);
        }
        let options = command_line(asked.options, &asked.session);
        if !options.is_empty() {
            protocol.options(options);
        }

        let keepalive = asked.keepalives.unwrap_or(true).then(|| {
            let mut keepalive = TcpKeepalive::new()
                .with_time(asked.keepalives_idle.unwrap_or(DEFAULT_KEEPALIVES_IDLE));
            #[cfg(not(target_os = "openbsd"))]
            if let Some(interval) = asked.keepalives_interval {
                keepalive = keepalive.with_interval(interval);
            }
            #[cfg(not(any(target_os = "openbsd", target_os = "windows")))]
            if let Some(retries) = asked.keepalives_retries {
                keepalive = keepalive.with_retries(retries);
            }
            keepalive
        });

        Ok(Self {
            protocol,
            tls,
            hosts: hosts(
                asked.hosts,
                asked.host_addresses,
                asked.ports.unwrap_or_default(),
            )?,
            load_balance: asked.load_balance.unwrap_or(false),
            target_session_attrs: asked.target_session_attrs.unwrap_or_default(),
            connect_timeout: asked.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            password_file,
            keepalive,
            tcp_user_timeout: asked.tcp_user_timeout,
        })
    }

    /// What start-up at a host sends, with the password that a file has for it.
    pub(crate) async fn protocol_for(&self, host: &Host) -> Result<StartUp> {
        let mut start_up = StartUp {
            protocol: self.protocol.clone(),
            password_file: None,
            problem: None,
        };
        let Some(file) = self.password_file.clone() else {
            return Ok(start_up);
        };
        let user = match self.protocol.get_user() {
            Some(user) => user.to_owned(),
            None => match whoami::username() {
                Ok(user) => user,
                Err(_) => return Ok(start_up),
            },
        };
        let (name, port) = host.in_password_file();
        let account = Account {
            host: name,
            port,
            db_name: self.protocol.get_dbname().unwrap_or(&user).to_owned(),
            user,
        };
        let path = file.path().to_owned();
        // Home folders can be far away.
        let looked = tokio::task::spawn_blocking(move || file.look_up(&account)).await;
        match looked.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?? {
            Lookup::Found(password) => {
                start_up.protocol.password(password);
                start_up.password_file = Some(path);
            }
            Lookup::Absent => {}
            Lookup::Unusable(problem) => start_up.problem = Some(problem),
        }
        Ok(start_up)
    }

    pub(crate) fn apply_socket_options(&self, stream: &TcpStream) -> io::Result<()> {
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

/// What the sources say together.
fn merge(options: Settings, dsn: Settings, environment: Settings) -> Settings {
    // A source that names hosts names their addresses and ports too: a DSN's ports do not belong to an option's hosts.
    let (host_addresses, ports) = if options.hosts.is_some() {
        (None, options.ports.or(environment.ports))
    } else if dsn.hosts.is_some() || dsn.host_addresses.is_some() {
        let ports = options.ports.or(dsn.ports).or(environment.ports);
        (dsn.host_addresses.clone(), ports)
    } else {
        let ports = options.ports.or(dsn.ports).or(environment.ports);
        (environment.host_addresses, ports)
    };
    let hosts = match dsn.host_addresses {
        // Addresses without names.
        Some(_) if options.hosts.is_none() => dsn.hosts,
        _ => options.hosts.or(dsn.hosts).or(environment.hosts),
    };
    macro_rules! first {
        ($($field:ident),* $(,)?) => {
            Settings {
                hosts,
                host_addresses,
                ports,
                session: environment.session,
                $($field: options.$field.or(dsn.$field).or(environment.$field),)*
            }
        };
    }
    first!(
        user,
        password,
        password_file,
        db_name,
        options,
        application_name,
        fallback_application_name,
        target_session_attrs,
        load_balance,
        connect_timeout,
        tcp_user_timeout,
        keepalives,
        keepalives_idle,
        keepalives_interval,
        keepalives_retries,
        ssl_mode,
        ssl_negotiation,
        channel_binding,
        ca_file,
        cert_file,
        key_file,
        send_certificate,
        server_name_indication,
        min_tls,
        max_tls,
        requires_tls,
    )
}

/// The session's command line: what was asked for stands last, and wins.
fn command_line(options: Option<String>, session: &[(&str, String)]) -> String {
    let mut line = String::new();
    for (name, value) in session {
        line.push_str("-c ");
        line.push_str(name);
        line.push('=');
        for character in value.chars() {
            // Blanks separate, and a backslash takes the next character as it is (`pg_split_opts` in
            // src/backend/utils/init/postinit.c).
            if character.is_ascii_whitespace() || character == '\\' {
                line.push('\\');
            }
            line.push(character);
        }
        line.push(' ');
    }
    line.push_str(options.as_deref().unwrap_or_default());
    line
}

fn hosts(
    names: Option<Vec<String>>,
    addresses: Option<Vec<Option<IpAddr>>>,
    ports: Vec<Option<u16>>,
) -> Result<Vec<Host>> {
    let addresses = addresses.unwrap_or_default();
    let names = match names {
        Some(names) if !names.is_empty() => names,
        _ => vec![String::new(); addresses.len().max(1)],
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
                .flatten()
                .unwrap_or(DEFAULT_PORT);
            #[cfg(unix)]
            if name.starts_with('/') {
                return Host::Unix {
                    directory: PathBuf::from(name),
                    port,
                };
            }
            let address = addresses.get(index).copied().flatten();
            Host::Tcp {
                name: match address {
                    _ if !name.is_empty() => name,
                    Some(address) => address.to_string(),
                    None => "localhost".to_owned(),
                },
                address,
                port,
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::choices::SslMode;

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
            ports: Some(vec![Some(1)]),
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
    fn the_mode_of_encryption_is_what_the_sources_say_together() {
        for (dsn, mode) in [
            ("postgres://localhost/db", SslMode::Prefer),
            ("postgres://localhost/db?ssl=true", SslMode::Require),
            (
                "postgres://localhost/db?ssl%6Dode=verify-ca",
                SslMode::VerifyCa,
            ),
            (
                "postgres://localhost/db?sslmode=prefer&sslmode=require",
                SslMode::Require,
            ),
            ("host=localhost sslmode = 'allow'", SslMode::Allow),
            ("host=localhost sslrootcert=system", SslMode::VerifyFull),
        ] {
            assert_eq!(resolve(dsn).unwrap().tls.mode, mode, "{dsn}");
        }
        for (dsn, option) in [
            ("sslmode=on", "dsn"),
            ("sslmode=require sslrootcert=system", "sslMode"),
            ("sslnegotiation=direct", "sslMode"),
            ("sslmode=prefer sslnegotiation=direct", "sslMode"),
            ("sslmode=disable channel_binding=require", "channelBinding"),
            (
                "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
                "dsn",
            ),
        ] {
            assert_eq!(resolve(dsn).unwrap_err().option, Some(option), "{dsn}");
        }
    }

    #[test]
    fn settings_of_the_environment_go_to_the_command_line() {
        let session = [("TimeZone", r"a b\c".to_owned())];
        assert_eq!(
            command_line(Some("-c x=1".to_owned()), &session),
            r"-c TimeZone=a\ b\\c -c x=1"
        );
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
        let config = resolve("hostaddr=127.0.0.1,::1 host=a, port=,7").unwrap();
        let hosts: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:5432", "::1:7"]);
        assert!(resolve("hostaddr=127.0.0.1 host=a,b").is_err());
        assert!(resolve("hostaddr=localhost").is_err());
    }
}
