//! Reads certificates and keys from where libpq looks for them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificate::is_for_key;
use super::{Roots, Source};
use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::choices::SslMode;

/// A setting by its own name and libpq's.
fn both_names(setting: Setting) -> String {
    let in_libpq = match setting {
        Setting::CaFile => "sslrootcert",
        Setting::CertFile => "sslcert",
        Setting::KeyFile => "sslkey",
        _ => return format!("`{setting}`"),
    };
    format!("`{setting}` (`{in_libpq}`)")
}

/// The error of a setting: `problem` follows its names.
fn setting_error(setting: Setting, problem: &str) -> Error {
    Error::configuration(setting, format!("{} {problem}", both_names(setting)))
}

/// Something to read.
#[derive(Clone, Copy)]
struct Item<'a> {
    /// The settings for a file and for a text.
    settings: (Setting, Setting),
    source: &'a Source,
}

impl<'a> Item<'a> {
    fn roots(source: &'a Source) -> Self {
        let settings = (Setting::CaFile, Setting::Ca);
        Self { settings, source }
    }

    fn certificate(source: &'a Source) -> Self {
        let settings = (Setting::CertFile, Setting::Cert);
        Self { settings, source }
    }

    fn key(source: &'a Source) -> Self {
        let settings = (Setting::KeyFile, Setting::Key);
        Self { settings, source }
    }

    /// The setting that says where it is.
    fn setting(self) -> Setting {
        match self.source {
            Source::Text(_) => self.settings.1,
            Source::Named(_) | Source::Own(_) => self.settings.0,
        }
    }

    /// Whether it is not in libpq's own place, as far as can be seen. With `or_hidden` what cannot be looked at, such as the home
    /// folder of another user, is not there either.
    fn is_absent(self, or_hidden: bool) -> bool {
        let Source::Own(path) = self.source else {
            return false;
        };
        match fs::metadata(path) {
            Ok(_) => false,
            Err(error) => {
                or_hidden || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
            }
        }
    }

    fn read(self) -> io::Result<Vec<u8>> {
        match self.source {
            Source::Text(text) => Ok(text.as_bytes().to_vec()),
            Source::Named(path) | Source::Own(path) => fs::read(path),
        }
    }

    /// Where it is, as an error names it.
    fn place(self) -> String {
        match self.source {
            Source::Text(_) => format!("`{}`", self.setting()),
            Source::Named(path) | Source::Own(path) => path.display().to_string(),
        }
    }

    /// The error of a file that cannot be read.
    fn unreadable(self, why: &str) -> Error {
        let problem = format!("cannot be read: {}: {why}", self.place());
        setting_error(self.setting(), &problem)
    }

    /// The error of what was read, but is not as it must be. `why` has none of the content.
    fn unusable(self, why: &str) -> Error {
        let problem = match self.source {
            Source::Text(_) => format!("cannot be used: {why}"),
            Source::Named(_) | Source::Own(_) => format!("cannot be used: {}: {why}", self.place()),
        };
        setting_error(self.setting(), &problem)
    }
}

/// Where libpq keeps a user's files.
pub(crate) fn default_folder() -> Option<PathBuf> {
    #[cfg(windows)]
    return std::env::var_os("APPDATA").map(|folder| PathBuf::from(folder).join("postgresql"));
    #[cfg(not(windows))]
    return std::env::home_dir().map(|folder| folder.join(".postgresql"));
}

/// Whether a path is of the form `engine:key`, which libpq takes for a key of an OpenSSL engine. On Windows a path may have
/// a colon, after the drive's letter.
pub(super) fn is_engine_key(path: &str) -> bool {
    !cfg!(windows) && path.contains(':') && !path.contains('/')
}

/// Reads the certificates of the authorities to trust. `None` if there are none and `mode` does not ask for any.
pub(super) fn read_roots(
    roots: &Roots,
    mode: SslMode,
) -> Result<Option<Vec<CertificateDer<'static>>>> {
    let source = match roots {
        Roots::System => return system_roots().map(Some),
        Roots::From(Some(source)) => source,
        Roots::From(None) if mode < SslMode::VerifyCa => return Ok(None),
        Roots::From(None) => {
            return Err(setting_error(
                Setting::CaFile,
                "must be given: the home folder, with its default place, is not known",
            ));
        }
    };
    let item = Item::roots(source);
    if mode < SslMode::VerifyCa && item.is_absent(true) {
        return Ok(None);
    }
    match item.read() {
        Ok(pem) => certificates(&pem, item).map(Some),
        Err(error) => Err(item.unreadable(&format!(
            "{error}. Without it the server's certificate cannot be verified"
        ))),
    }
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(setting_error(
            Setting::CaFile,
            &format!(
                "is `system`, but the operating system has no certificates of authorities (on Linux they come \
                 with a package like ca-certificates){}{}",
                if reasons.is_empty() { "" } else { ": " },
                reasons.join("; ")
            ),
        ));
    }
    Ok(found.certs)
}

/// Reads the client's certificate with its key. `None` if there is no certificate.
pub(super) fn read_client(
    certificate: Option<&Source>,
    key: Option<&Source>,
    mode: SslMode,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<CertifiedKey>> {
    let Some(certificate) = certificate else {
        return Ok(None);
    };
    let Some(chain) = read_certificate(certificate, mode)? else {
        return Ok(None);
    };
    let place = Item::certificate(certificate).place();
    let Some(key) = key else {
        return Err(setting_error(
            Setting::KeyFile,
            &format!("must be given: there is a certificate ({place}), and its key is needed too"),
        ));
    };
    let signing = read_key(key, provider)?;
    if let (Some(leaf), Some(public)) = (chain.first(), signing.public_key())
        && !is_for_key(leaf, &public)
    {
        let why = format!("it is not the key of the certificate {place}");
        return Err(Item::key(key).unusable(&why));
    }
    Ok(Some(CertifiedKey::new(chain, signing)))
}

/// Reads the client's certificate and those of its issuers. `None` if there is none in libpq's own place. Where that cannot be looked
/// at, only the modes that can do without TLS do without a certificate: libpq's do without both.
pub(super) fn read_certificate(
    source: &Source,
    mode: SslMode,
) -> Result<Option<Vec<CertificateDer<'static>>>> {
    let item = Item::certificate(source);
    if item.is_absent(mode < SslMode::Require) {
        return Ok(None);
    }
    match item.read() {
        Ok(pem) => certificates(&pem, item).map(Some),
        Err(error) => Err(item.unreadable(&error.to_string())),
    }
}

/// Reads the key of the client's certificate.
pub(super) fn read_key(
    source: &Source,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn SigningKey>> {
    let item = Item::key(source);
    if let Source::Named(path) | Source::Own(path) = source {
        check_permissions(path).map_err(|why| item.unusable(&why))?;
    }
    let bytes = item
        .read()
        .map_err(|error| item.unusable(&error.to_string()))?;
    let parsed = private_key(bytes).map_err(|why| item.unusable(why))?;
    let loaded = provider.key_provider.load_private_key(parsed);
    loaded.map_err(|_| {
        item.unusable(
            "expected an RSA key of at least 2048 bits, or one of P-256, P-384 or Ed25519",
        )
    })
}

fn certificates(pem: &[u8], item: Item<'_>) -> Result<Vec<CertificateDer<'static>>> {
    // The library's error is not shown: it has a line of the text, which may be all of it.
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .unwrap_or_default();
    if found.is_empty() {
        let of_escaped = if pem.windows(2).any(|pair| pair == br"\n") {
            r"; there is a `\n` in two characters where a line must end"
        } else {
            ""
        };
        return Err(item.unusable(&format!(
            "expected certificates in PEM (`-----BEGIN CERTIFICATE-----` on a line of its own), found none{of_escaped}"
        )));
    }
    match found
        .iter()
        .position(|one| !super::certificate::is_readable(one))
    {
        Some(index) => Err(item.unusable(&format!("certificate {} cannot be read", index + 1))),
        None => Ok(found),
    }
}

fn private_key(bytes: Vec<u8>) -> std::result::Result<PrivateKeyDer<'static>, &'static str> {
    let has = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "it is encrypted, which is not supported; `openssl pkey -in it -out decrypted` decrypts it",
        );
    }
    if has("-----BEGIN") {
        return PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| "expected a private key in PEM");
    }
    PrivateKeyDer::try_from(bytes).map_err(|_| "expected a private key in PEM or DER")
}

/// Refuses a key that others can read. The rule is libpq's (`initialize_SSL` in
/// src/interfaces/libpq/fe-secure-openssl.c).
fn check_permissions(path: &Path) -> std::result::Result<(), String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let forbidden = if about.uid() == 0 { 0o037 } else { 0o077 };
        if about.mode() & forbidden != 0 {
            return Err(format!(
                "others have access to it; its permissions must be u=rw (0600) or less, or u=rw,g=r (0640) or less if it \
                 belongs to root, but are {:04o}",
                about.mode() & 0o7777
            ));
        }
    }
    Ok(())
}
