//! Reads certificates: keys, time, the hash that SCRAM is bound to.

use ring::digest::{self, Algorithm};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::X509Name;

/// Reads a certificate. `None` if it is malformed, or bytes are left over.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

pub(super) fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_some()
}

/// Whether a certificate is about this key.
pub(super) fn is_for_key(
    certificate: &CertificateDer<'_>,
    key: &SubjectPublicKeyInfoDer<'_>,
) -> bool {
    parse(certificate).is_some_and(|certificate| certificate.public_key().raw == key.as_ref())
}

/// The channel binding `tls-server-end-point`: the hash of the server's certificate. The hash is that of the certificate's
/// signature, or SHA-256 if that is weaker (<https://www.rfc-editor.org/rfc/rfc5929#section-4.1>). `None` for signatures
/// without a defined hash, such as Ed25519.
pub(crate) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = parse(certificate)?;
    let identifier = parsed.signature_algorithm.algorithm.to_id_string();
    let hash: &Algorithm = match identifier.as_str() {
        // MD5 and SHA-1, with RSA; SHA-1 with ECDSA; SHA-256 with both.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.10045.4.1"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        // RSASSA-PSS names its hash in a parameter.
        "1.2.840.113549.1.1.10" => {
            let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) =
                SignatureAlgorithm::try_from(&parsed.signature_algorithm)
            else {
                return None;
            };
            match parameters.hash_algorithm_oid().to_id_string().as_str() {
                "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
                "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
                "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// A name as an error shows it, on one line.
pub(super) fn describe_name(name: &X509Name<'_>) -> String {
    format!("`{}`", name.to_string().escape_debug())
}

/// Where a moment lies before or after a certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    TooEarly,
    Valid,
    Expired,
}

pub(super) fn age(certificate: &X509Certificate<'_>, now: UnixTime) -> Age {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        Age::TooEarly
    } else if now > validity.not_after.timestamp() {
        Age::Expired
    } else {
        Age::Valid
    }
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}
