//! What a certificate may be used for: the rules of OpenSSL (`crypto/x509/v3_purp.c`, `check_extensions` in
//! `crypto/x509/x509_vfy.c`), with its verdict where RFC 5280 leaves one open.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{NSCertType, ParsedExtension};

use super::certificate::is_self_issued;

/// Microsoft's and Netscape's "server gated cryptography", which count as serving.
const SERVER_GATED: [&str; 2] = ["1.3.6.1.4.1.311.10.3.3", "2.16.840.1.113730.4.1"];
/// `proxyCertInfo`: a certificate that was issued by another end's certificate (RFC 3820).
const PROXY: &str = "1.3.6.1.5.5.7.1.14";

/// How a certificate says that it may issue others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    /// By its basic constraints.
    Stated,
    /// In an older way, which counts for the last certificate of a chain only.
    Implied,
    /// Not at all.
    None,
}

/// Whether and how a certificate may issue others (`check_ca`).
pub(super) fn authority(certificate: &X509Certificate<'_>) -> Authority {
    let (Ok(usage), Ok(constraints)) = (certificate.key_usage(), certificate.basic_constraints())
    else {
        return Authority::None;
    };
    if usage
        .as_ref()
        .is_some_and(|usage| !usage.value.key_cert_sign())
    {
        return Authority::None;
    }
    match constraints {
        Some(constraints) if constraints.value.ca => Authority::Stated,
        Some(_) => Authority::None,
        None => {
            let is_root_of_version_1 = certificate.version().0 == 0 && is_self_issued(certificate);
            let is_netscapes = netscape_type(certificate).is_some_and(NSCertType::ssl_ca);
            if is_root_of_version_1 || usage.is_some() || is_netscapes {
                Authority::Implied
            } else {
                Authority::None
            }
        }
    }
}

/// The most authorities that may stand between this one and the end of the chain.
pub(super) fn path_length(certificate: &X509Certificate<'_>) -> Option<u32> {
    let constraints = certificate.basic_constraints().ok().flatten()?;
    constraints.value.path_len_constraint
}

/// Whether the extended key usage lets a server show the certificate, or one that this authority has issued. "Any usage"
/// is not enough, as in OpenSSL.
pub(super) fn may_serve(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => {
            usage.value.server_auth
                || usage
                    .value
                    .other
                    .iter()
                    .any(|id| SERVER_GATED.contains(&id.to_id_string().as_str()))
        }
        Err(_) => false,
    }
}

/// Whether a server's key may be used as TLS uses it: to sign, or to agree on or encrypt other keys. Netscape's old
/// extension is a way to say so, too.
pub(super) fn key_may_serve(certificate: &X509Certificate<'_>) -> bool {
    let is_usable = match certificate.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => {
            usage.value.digital_signature()
                || usage.value.key_encipherment()
                || usage.value.key_agreement()
        }
        Err(_) => false,
    };
    is_usable && netscape_type(certificate).is_none_or(NSCertType::ssl_server)
}

fn netscape_type<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c NSCertType> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NSCertType(kind) => Some(kind),
            _ => None,
        })
}

/// The identifier of a critical extension that is not understood (`X509_supported_extension`), or of one that is never
/// accepted.
pub(super) fn unknown_demand(certificate: &X509Certificate<'_>) -> Option<String> {
    let is_unknown = |parsed: &ParsedExtension<'_>| {
        !matches!(
            parsed,
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::NameConstraints(_)
                | ParsedExtension::CRLDistributionPoints(_)
                // OpenSSL knows these, and checks policies only when it is told to.
                | ParsedExtension::CertificatePolicies(_)
                | ParsedExtension::PolicyMappings(_)
                | ParsedExtension::PolicyConstraints(_)
                | ParsedExtension::InhibitAnyPolicy(_)
                | ParsedExtension::NSCertType(_)
        )
    };
    certificate
        .extensions()
        .iter()
        .map(|extension| (extension, extension.oid.to_id_string()))
        .find(|(extension, id)| {
            id == PROXY || (extension.critical && is_unknown(extension.parsed_extension()))
        })
        .map(|(_, id)| id)
}
