//! Where to connect and how: options, a DSN and the environment become one [`ConnectConfig`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use crate::base::error::Result;
use crate::connect::choices::TargetSessionAttrs;
use crate::connect::cluster::Cluster;
pub use crate::connect::hosts::Host;
use crate::connect::hosts::hosts;
pub use crate::connect::key::ConnectKey;
use crate::connect::passfile::PasswordFile;
use crate::connect::password::PasswordSource;
use crate::connect::settings::Settings;
use crate::connect::socket_options::SocketOptions;
use crate::connect::sources::merge;
use crate::connect::start_up::{os_user, protocol};
use crate::connect::tls::TlsOptions;

/// libpq waits forever by default; a service that must notice an outage cannot.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time between two looks at another host of a cluster.
const DEFAULT_PRIMARY_CHECK: Duration = Duration::from_secs(30);

/// Everything needed to open a connection. It is checked: dialling can fail, but not because a setting is wrong.
#[derive(Clone)]
pub struct ConnectConfig {
    /// User, password, database and start-up parameters, without hosts.
    pub protocol: Config,
    /// How connections over TCP are encrypted.
    pub tls: TlsOptions,
    /// The hosts to try, at least one.
    pub hosts: Vec<Host>,
    /// Whether to try the hosts in random order.
    pub load_balance: bool,
    /// The role that a server must have.
    pub target_session_attrs: TargetSessionAttrs,
    /// What is known of the cluster, where several hosts are asked for a primary.
    pub cluster: Option<Arc<Cluster>>,
    /// The bound for each host, from name resolution to the last answer.
    pub connect_timeout: Duration,
    /// The file to look for a password in; `None` if a source has the password.
    pub(super) password_file: Option<PasswordFile>,
    /// Where the password of each connection is asked for; `None` if it is not.
    pub(super) password_source: Option<PasswordSource>,
    /// Whether no source names a host or an address, so that the only host is a guess.
    pub(super) assumes_address: bool,
    /// Whether no source has a name for the application.
    pub(crate) is_unnamed: bool,
    pub(super) socket: SocketOptions,
    key: ConnectKey,
}

impl fmt::Debug for ConnectConfig {
    // By hand, so that no password is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectConfig")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl ConnectConfig {
    /// Merges the sources. Each setting comes from the first that has it: `options`, then `dsn`, then `environment`, then
    /// the default.
    pub fn resolve(options: Settings, dsn: Option<&str>, environment: Settings) -> Result<Self> {
        let (mut settings, origins) = merge(options, dsn, environment)?;
        let given = settings.clone();
        let tls = TlsOptions::resolve(&settings)?;
        let protocol = protocol(&settings);
        let password_file = match protocol.get_password() {
            Some(_) => None,
            None => PasswordFile::choose(settings.password_file.take()),
        };
        let named = |names: &Vec<String>| names.iter().any(|name| !name.is_empty());
        let assumes_address =
            !settings.hosts.as_ref().is_some_and(named) && settings.host_addresses.is_none();
        let hosts = hosts(&mut settings, origins)?;
        let target_session_attrs = settings.target_session_attrs.unwrap_or_default();
        let asks_for_primary = matches!(
            target_session_attrs,
            TargetSessionAttrs::Primary | TargetSessionAttrs::ReadWrite
        );
        let interval = settings.primary_check.unwrap_or(DEFAULT_PRIMARY_CHECK);
        let is_watched = asks_for_primary && hosts.len() > 1 && !interval.is_zero();
        let load_balance = settings.load_balance.unwrap_or(false);
        let connect_timeout = settings.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let same = Settings {
            hosts: None,
            host_addresses: None,
            ports: None,
            target_session_attrs: Some(target_session_attrs),
            primary_check: is_watched.then_some(interval),
            load_balance: Some(load_balance),
            connect_timeout: Some(connect_timeout),
            ssl_mode: Some(tls.mode),
            requires_tls: None,
            ..given
        };
        Ok(Self {
            key: ConnectKey::of(&same, &hosts),
            protocol,
            tls,
            cluster: is_watched.then(|| Cluster::new(interval, &hosts)),
            hosts,
            load_balance,
            target_session_attrs,
            connect_timeout,
            password_file,
            password_source: None,
            assumes_address,
            is_unnamed: settings.application_name.is_none()
                && settings.fallback_application_name.is_none(),
            socket: SocketOptions::new(&settings),
        })
    }

    /// Asks for the password of each connection, instead of using one that another source has.
    #[must_use]
    pub fn asking(mut self, source: PasswordSource) -> Self {
        self.password_file = None;
        self.key = self.key.asking(&source);
        self.password_source = Some(source);
        self
    }

    /// Tells that another configuration leads to the same servers by another way: what is learnt of their cluster holds for both.
    pub fn leads_where(&self, other: &Self) {
        if let (Some(ours), Some(theirs)) = (&self.cluster, &other.cluster) {
            ours.join(theirs);
        }
    }

    /// The name of the user: as given, or that of the process. `None` when the system does not tell the latter.
    pub(crate) fn user(&self) -> Option<&str> {
        match self.protocol.get_user() {
            Some(user) => Some(user),
            None => os_user(),
        }
    }

    /// What tells whether another configuration is the same to a server.
    #[must_use]
    pub fn key(&self) -> ConnectKey {
        self.key.clone()
    }

    /// Whether the password is asked for anew for each connection, so that a refused one may be well the next time.
    #[must_use]
    pub fn asks_password(&self) -> bool {
        self.password_source.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Setting;
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
            ("sslmode=on", Setting::Dsn),
            ("sslmode=require sslrootcert=system", Setting::SslMode),
            ("sslnegotiation=direct", Setting::SslMode),
            ("sslmode=prefer sslnegotiation=direct", Setting::SslMode),
            (
                "sslmode=disable channel_binding=require",
                Setting::ChannelBinding,
            ),
            (
                "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
                Setting::Dsn,
            ),
        ] {
            assert_eq!(resolve(dsn).unwrap_err().option, Some(option), "{dsn}");
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
        #[cfg(unix)]
        assert_eq!(
            resolve("host=/tmp user=u").unwrap().hosts[0].to_string(),
            "/tmp:5432"
        );
        let config = resolve("hostaddr=127.0.0.1,::1 host=a, port=,7").unwrap();
        let hosts: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:5432", "::1:7"]);
        assert!(resolve("hostaddr=127.0.0.1 host=a,b").is_err());
        assert!(resolve("hostaddr=localhost").is_err());
    }
}
