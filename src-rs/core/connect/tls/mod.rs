//! TLS as libpq does it (<https://www.postgresql.org/docs/current/libpq-ssl.html>), on rustls.
//!
//! [`TlsOptions`] is what was asked for, checked. `files` reads certificates and keys, `verify` judges the server's
//! certificate, `certificate` knows what is in one, `failure` says what went wrong.

mod certificate;
mod failure;
mod files;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion, version};
use tokio_postgres::config::ChannelBinding;

use crate::base::error::{Error, Result};
use crate::connect::choices::{ProtocolVersion, SslMode, SslNegotiation};
use crate::connect::settings::Settings;
pub(crate) use certificate::server_end_point;
pub(crate) use failure::explain;
use verify::{Check, Verifier};

/// What PostgreSQL calls itself in the TLS handshake (`PG_ALPN_PROTOCOL` in src/include/libpq/pqcomm.h).
pub(crate) const ALPN: &[u8] = b"postgresql";

/// Where the certificates of authorities are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Roots {
    /// Where the operating system keeps them.
    System,
    /// A file that was named.
    File(PathBuf),
    /// libpq's own place, `~/.postgresql/root.crt`, if there is such a file.
    Default(Option<PathBuf>),
}

/// A file that was named, or libpq's own place for it, where it may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClientFile {
    path: PathBuf,
    is_named: bool,
}

/// How to encrypt. Checked, except for the files: they are read for each connection, so that new certificates are used
/// without a restart.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// How much is asked for.
    pub mode: SslMode,
    /// How it begins.
    pub negotiation: SslNegotiation,
    roots: Roots,
    certificate: Option<ClientFile>,
    key: Option<ClientFile>,
    server_name_indication: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl TlsOptions {
    /// Checks what the merged settings of all sources ask for.
    pub(crate) fn resolve(settings: &Settings) -> Result<Self> {
        let is_system = settings.ca_file.as_deref() == Some("system");
        let mode = settings.ssl_mode.unwrap_or({
            if is_system {
                SslMode::VerifyFull
            } else if settings.requires_tls == Some(true) {
                SslMode::Require
            } else {
                SslMode::Prefer
            }
        });
        let weak = |with: &str, at_least: &str| {
            Error::configuration(
                "sslMode",
                format!(
                    "Expected `sslMode` to be {at_least} with {with}, got `{}`",
                    mode.name()
                ),
            )
        };
        if is_system && mode != SslMode::VerifyFull {
            return Err(weak("the system's roots (`caFile`)", "`verify-full`"));
        }
        let negotiation = settings.ssl_negotiation.unwrap_or(SslNegotiation::Postgres);
        if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
            return Err(weak(
                "`sslNegotiation` `direct`",
                "`require`, `verify-ca` or `verify-full`",
            ));
        }
        if settings.channel_binding == Some(ChannelBinding::Require) && mode == SslMode::Disable {
            return Err(Error::configuration(
                "channelBinding",
                "`channelBinding` is `require`, which needs TLS, but `sslMode` is `disable`",
            ));
        }
        let oldest = settings.min_tls.unwrap_or(ProtocolVersion::Tls12);
        let newest = settings.max_tls.unwrap_or(ProtocolVersion::Tls13);
        let versions: Vec<_> = [
            (ProtocolVersion::Tls13, &version::TLS13),
            (ProtocolVersion::Tls12, &version::TLS12),
        ]
        .into_iter()
        .filter(|(version, _)| (oldest..=newest).contains(version))
        .map(|(_, supported)| supported)
        .collect();
        if versions.is_empty() {
            return Err(Error::configuration(
                "dsn",
                "Expected `ssl_min_protocol_version` to be at most `ssl_max_protocol_version`",
            ));
        }
        if settings
            .key_file
            .as_deref()
            .is_some_and(files::is_engine_key)
        {
            return Err(Error::configuration(
                "keyFile",
                "`keyFile` (`sslkey`) names a key of an OpenSSL engine, which is not supported; expected a path",
            ));
        }
        let own = |name: &str| files::default_folder().map(|folder| folder.join(name));
        let client_file = |named: Option<&String>, default: &str| match named {
            Some(path) => Some(ClientFile {
                path: PathBuf::from(path),
                is_named: true,
            }),
            None => own(default).map(|path| ClientFile {
                path,
                is_named: false,
            }),
        };
        let shows_certificate = settings.send_certificate != Some(false);
        Ok(Self {
            mode,
            negotiation,
            roots: match &settings.ca_file {
                Some(_) if is_system => Roots::System,
                Some(path) => Roots::File(PathBuf::from(path)),
                None => Roots::Default(own("root.crt")),
            },
            certificate: shows_certificate
                .then(|| client_file(settings.cert_file.as_ref(), "postgresql.crt"))
                .flatten(),
            key: client_file(settings.key_file.as_ref(), "postgresql.key"),
            server_name_indication: settings.server_name_indication != Some(false),
            versions,
        })
    }

    /// Whether a file was named. Then it must be there, even if the server turns out to have no TLS.
    pub(crate) fn names_files(&self) -> bool {
        matches!(self.roots, Roots::File(_))
            || [&self.certificate, &self.key]
                .into_iter()
                .flatten()
                .any(|file| file.is_named)
    }

    /// Reads the files and makes of them what a handshake with `host` needs.
    pub(crate) async fn load(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>)> {
        let (options, host) = (self.clone(), host.to_owned());
        // Files, and where the system keeps its certificates, may be slow to read.
        tokio::task::spawn_blocking(move || options.load_now(&host))
            .await
            .map_err(|error| {
                Error::configuration(
                    "sslMode",
                    format!("the certificates cannot be read: {error}"),
                )
            })?
    }

    fn load_now(&self, host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>)> {
        let provider = Arc::new(ring::default_provider());
        let roots = files::read_roots(&self.roots, self.mode)?;
        let check = match (&roots, self.mode) {
            (_, SslMode::VerifyFull) => Check::ChainAndName,
            (Some(_), _) => Check::Chain,
            (None, _) => Check::Nothing,
        };
        let verifier = Verifier::new(check, roots.unwrap_or_default(), host, &provider);
        let internal = |error: rustls::Error| {
            Error::configuration("sslMode", format!("TLS cannot be set up: {error}"))
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(internal)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let client = files::read_client(self.certificate.as_ref(), self.key.as_ref(), &provider)?;
        let mut config = match client {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(certificate),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // The configuration serves one connection, and PostgreSQL resumes no sessions.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(host.to_owned()).ok();
        // An address is never sent, and a name that cannot be sent is left out.
        config.enable_sni = self.server_name_indication && name.is_some();
        let nameless = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
        Ok((Arc::new(config), name.unwrap_or(nameless)))
    }
}
