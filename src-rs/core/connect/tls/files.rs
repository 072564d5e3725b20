//! Reads certificates and keys from where libpq looks for them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::is_for_key;
use super::{ClientFile, Roots};
use crate::base::Setting;
use crate::base::error::{Error, Result};
use crate::connect::choices::SslMode;

/// A setting by its own name and libpq's.
fn both_names(setting: Setting) -> String {
    let in_libpq = match setting {
        Setting::CaFile => "sslrootcert",
        Setting::CertFile => "sslcert",
        _ => "sslkey",
    };
    format!("`{setting}` (`{in_libpq}`)")
}

/// The error of a file: `problem` follows the names of its setting.
fn file_error(setting: Setting, problem: &str) -> Error {
    Error::configuration(setting, format!("{} {problem}", both_names(setting)))
}

/// The error of a file that was read, but is not as it must be.
fn unusable(setting: Setting, path: &Path, why: &str) -> Error {
    file_error(
        setting,
        &format!("cannot be used: {}: {why}", path.display()),
    )
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
    let missing = |path: &Path, why: &str| {
        file_error(
            Setting::CaFile,
            &format!(
                "cannot be read: {}: {why}. Without it the server's certificate cannot be verified",
                path.display()
            ),
        )
    };
    match roots {
        Roots::System => system_roots().map(Some),
        Roots::File(path) => {
            let pem = fs::read(path).map_err(|error| missing(path, &error.to_string()))?;
            certificates(&pem, Setting::CaFile, path).map(Some)
        }
        Roots::Default(Some(path)) => match fs::read(path) {
            Ok(pem) => certificates(&pem, Setting::CaFile, path).map(Some),
            Err(error) if is_absent(&error) && mode < SslMode::VerifyCa => Ok(None),
            Err(error) => Err(missing(path, &error.to_string())),
        },
        Roots::Default(None) if mode < SslMode::VerifyCa => Ok(None),
        Roots::Default(None) => Err(file_error(
            Setting::CaFile,
            "must be given: the home folder, with its default place, is not known",
        )),
    }
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(file_error(
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
    certificate: Option<&ClientFile>,
    key: Option<&ClientFile>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<CertifiedKey>> {
    let Some(certificate) = certificate else {
        return Ok(None);
    };
    let pem = match fs::read(&certificate.path) {
        Ok(pem) => pem,
        Err(error) if is_absent(&error) && !certificate.is_named => return Ok(None),
        Err(error) => {
            return Err(file_error(
                Setting::CertFile,
                &format!("cannot be read: {}: {error}", certificate.path.display()),
            ));
        }
    };
    let chain = certificates(&pem, Setting::CertFile, &certificate.path)?;
    let Some(key) = key else {
        return Err(file_error(
            Setting::KeyFile,
            &format!(
                "must be given: there is a certificate ({}), and its key is needed too",
                certificate.path.display()
            ),
        ));
    };
    let wrong = |why: &str| unusable(Setting::KeyFile, &key.path, why);
    check_permissions(&key.path).map_err(|why| wrong(&why))?;
    let bytes = fs::read(&key.path).map_err(|error| wrong(&error.to_string()))?;
    let parsed = private_key(bytes).map_err(wrong)?;
    let signing = provider
        .key_provider
        .load_private_key(parsed)
        .map_err(|_| {
            wrong("expected an RSA key of at least 2048 bits, or one of P-256, P-384 or Ed25519")
        })?;
    if let (Some(leaf), Some(public)) = (chain.first(), signing.public_key())
        && !is_for_key(leaf, &public)
    {
        return Err(wrong(&format!(
            "it is not the key of the certificate {}",
            certificate.path.display()
        )));
    }
    Ok(Some(CertifiedKey::new(chain, signing)))
}

fn certificates(pem: &[u8], setting: Setting, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |why: &str| unusable(setting, path, why);
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| wrong(&format!("expected certificates in PEM: {error}")))?;
    if found.is_empty() {
        return Err(wrong("expected certificates in PEM, found none"));
    }
    match found
        .iter()
        .position(|one| !super::certificate::is_readable(one))
    {
        Some(index) => Err(wrong(&format!("certificate {} cannot be read", index + 1))),
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

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
