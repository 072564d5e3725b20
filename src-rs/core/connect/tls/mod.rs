//! TLS as libpq does it (<https://www.postgresql.org/docs/current/libpq-ssl.html>), on rustls.
//!
//! [`TlsOptions`] are the settings of encryption, checked. `files` reads certificates and keys, `verify` judges the
//! server's certificate, `failure` puts errors into words. What a verdict is made of: `chain` finds the way to a trusted
//! authority, `purpose` has the rules of each certificate on it, `constraints` the names that an authority may vouch for,
//! `names` the host's, `distinguished` compares names of authorities, `certificate` reads the rest.

mod certificate;
mod chain;
mod constraints;
mod distinguished;
mod failure;
mod files;
mod names;
mod purpose;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion, version};
use tokio_postgres::config::ChannelBinding;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::{Setting, blocking};
use crate::connect::choices::{Choice as _, ProtocolVersion, SslMode, SslNegotiation};
use crate::connect::settings::{PemText, Settings};
pub(crate) use certificate::server_end_point;
pub(crate) use failure::explain;
use verify::{Check, Verifier};

/// The name of PostgreSQL's protocol in the TLS handshake (`PG_ALPN_PROTOCOL` in src/include/libpq/pqcomm.h).
pub(crate) const ALPN: &[u8] = b"postgresql";

/// What stands in the place of a file for the authorities that the operating system trusts.
pub(crate) const SYSTEM_ROOTS: &str = "system";

/// Where a certificate or a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// In a text.
    Text(PemText),
    /// In a file that was named.
    Named(PathBuf),
    /// In libpq's own place for it, where it may be missing.
    Own(PathBuf),
}

impl Source {
    /// The text, or the file that was named, or the one that libpq calls `own_name`. `None` if the home folder is not known.
    fn choose(text: Option<&PemText>, named: Option<&String>, own_name: &str) -> Option<Self> {
        text.cloned()
            .map(Self::Text)
            .or_else(|| named.map(PathBuf::from).map(Self::Named))
            .or_else(|| own_place(own_name).map(Self::Own))
    }
}

/// Where the certificates of authorities are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Roots {
    /// Where the operating system keeps them.
    System,
    /// There. `None` if the home folder, with libpq's own place, is not known.
    From(Option<Source>),
}

impl Roots {
    fn choose(settings: &Settings) -> Self {
        if asks_for_system_roots(settings) {
            Self::System
        } else {
            let (text, named) = (settings.ca.as_ref(), settings.ca_file.as_ref());
            Self::From(Source::choose(text, named, "root.crt"))
        }
    }
}

/// Where libpq keeps a file of its user.
fn own_place(name: &str) -> Option<PathBuf> {
    files::default_folder().map(|folder| folder.join(name))
}

/// How to encrypt. The files are read for each connection, so that new certificates are used without a restart; all else is
/// checked before.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// How much encryption is asked for.
    pub mode: SslMode,
    /// How TLS begins.
    pub negotiation: SslNegotiation,
    roots: Roots,
    certificate: Option<Source>,
    key: Option<Source>,
    server_name_indication: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl TlsOptions {
    /// Checks what the merged settings of all sources ask for.
    pub(crate) fn resolve(settings: &Settings) -> Result<Self> {
        let mode = mode(settings);
        let negotiation = settings.ssl_negotiation.unwrap_or(SslNegotiation::Postgres);
        check_mode(settings, mode, negotiation)?;
        let versions = versions(settings)?;
        check_key_file(settings)?;
        let shows_certificate = settings.send_certificate != Some(false);
        let options = Self {
            mode,
            negotiation,
            roots: Roots::choose(settings),
            certificate: shows_certificate
                .then(|| {
                    let (text, named) = (settings.cert.as_ref(), settings.cert_file.as_ref());
                    Source::choose(text, named, "postgresql.crt")
                })
                .flatten(),
            key: Source::choose(
                settings.key.as_ref(),
                settings.key_file.as_ref(),
                "postgresql.key",
            ),
            server_name_indication: settings.server_name_indication != Some(false),
            versions,
        };
        options.check_texts()?;
        Ok(options)
    }

    /// Checks the texts, which do not change any more.
    fn check_texts(&self) -> Result<()> {
        if let Roots::From(Some(Source::Text(_))) = self.roots {
            files::read_roots(&self.roots, self.mode)?;
        }
        let provider = Arc::new(ring::default_provider());
        match (&self.certificate, &self.key) {
            (Some(certificate @ Source::Text(_)), Some(Source::Text(_))) => {
                files::read_client(Some(certificate), self.key.as_ref(), self.mode, &provider)?;
            }
            (Some(certificate @ Source::Text(_)), _) => {
                files::read_certificate(certificate, self.mode)?;
            }
            (_, Some(key @ Source::Text(_))) => {
                files::read_key(key, &provider)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a file was named. A named file must be there, even if the server turns out to have no TLS.
    pub(crate) fn names_files(&self) -> bool {
        let roots = match &self.roots {
            Roots::System => None,
            Roots::From(source) => source.as_ref(),
        };
        [roots, self.certificate.as_ref(), self.key.as_ref()]
            .into_iter()
            .flatten()
            .any(|source| matches!(source, Source::Named(_)))
    }

    /// Reads the files and makes the configuration and the server's name for a handshake with `host`.
    pub(crate) async fn load(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>)> {
        let (options, host) = (self.clone(), host.to_owned());
        // Files and the system's certificates may be slow to read.
        blocking(move || options.load_now(&host))
            .await
            .map_err(|error| {
                Error::new(
                    ErrorKind::Connect,
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
        let setting = match &self.roots {
            Roots::From(Some(Source::Text(_))) => Setting::Ca,
            _ => Setting::CaFile,
        };
        let verifier = Verifier::new(check, roots.unwrap_or_default(), setting, host, &provider);
        let internal = |error: rustls::Error| {
            Error::configuration(Setting::SslMode, format!("TLS cannot be set up: {error}"))
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(internal)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let (certificate, key) = (self.certificate.as_ref(), self.key.as_ref());
        let client = files::read_client(certificate, key, self.mode, &provider)?;
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

fn asks_for_system_roots(settings: &Settings) -> bool {
    settings.ca_file.as_deref() == Some(SYSTEM_ROOTS)
}

/// The mode that was asked for, or the one that other settings imply.
fn mode(settings: &Settings) -> SslMode {
    settings.ssl_mode.unwrap_or_else(|| {
        if asks_for_system_roots(settings) {
            SslMode::VerifyFull
        } else if settings.requires_tls == Some(true) {
            SslMode::Require
        } else {
            SslMode::Prefer
        }
    })
}

/// Refuses a mode that is too weak for the other settings.
fn check_mode(settings: &Settings, mode: SslMode, negotiation: SslNegotiation) -> Result<()> {
    let weak = |with: String, at_least: &str| {
        Err(Error::configuration(
            Setting::SslMode,
            format!(
                "Expected `{}` to be {at_least} with {with}, got `{}`",
                Setting::SslMode,
                mode.name()
            ),
        ))
    };
    if asks_for_system_roots(settings) && mode != SslMode::VerifyFull {
        let with = format!("the system's roots (`{}`)", Setting::CaFile);
        return weak(with, "`verify-full`");
    }
    if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
        let with = format!("`{}` `direct`", Setting::SslNegotiation);
        return weak(with, "`require`, `verify-ca` or `verify-full`");
    }
    if settings.channel_binding == Some(ChannelBinding::Require) && mode == SslMode::Disable {
        return Err(Error::configuration(
            Setting::ChannelBinding,
            format!(
                "`{}` is `require`, which needs TLS, but `{}` is `disable`",
                Setting::ChannelBinding,
                Setting::SslMode
            ),
        ));
    }
    Ok(())
}

/// The versions of TLS between the bounds that were asked for.
fn versions(settings: &Settings) -> Result<Vec<&'static SupportedProtocolVersion>> {
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
            Setting::Dsn,
            "Expected `ssl_min_protocol_version` to be at most `ssl_max_protocol_version`",
        ));
    }
    Ok(versions)
}

/// Refuses keys that are no files.
fn check_key_file(settings: &Settings) -> Result<()> {
    let path = settings.key_file.as_deref();
    if !path.is_some_and(files::is_engine_key) {
        return Ok(());
    }
    Err(Error::configuration(
        Setting::KeyFile,
        format!(
            "`{}` (`sslkey`) names a key of an OpenSSL engine, which is not supported; expected a path",
            Setting::KeyFile
        ),
    ))
}
