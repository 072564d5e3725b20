//! Reads certificates: names, time, purpose, and the limits of authorities.

use std::net::IpAddr;

use ring::digest::{self, Algorithm};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints, ParsedExtension};
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

/// The names that a certificate is for.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) hosts: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) common: Option<String>,
}

impl Names {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self {
            common: certificate
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(ToOwned::to_owned),
            ..Self::default()
        };
        if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.hosts.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        names
    }

    /// Whether `host` is one of the names, by libpq's rules (`pq_verify_peer_name_matches_certificate_guts` in
    /// src/interfaces/libpq/fe-secure-openssl.c): the common name counts when no other name is of the host's kind.
    ///
    /// `is_limited` says that an authority of the chain may vouch for some names only. Then a common name that could not be
    /// checked against the limits counts only for a host without a dot.
    pub(super) fn include(&self, host: &str, is_limited: bool) -> bool {
        let common_counts = !is_limited || !host.contains('.') || self.common_host().is_some();
        let address: Option<IpAddr> = host.parse().ok();
        let has_kind = match address {
            Some(_) => !self.addresses.is_empty(),
            None => !self.hosts.is_empty(),
        };
        self.hosts.iter().any(|name| covers(name, host))
            || address.is_some_and(|address| self.addresses.contains(&address))
            || (common_counts && !has_kind && self.common.iter().any(|name| covers(name, host)))
    }

    /// The common name, if it is that of a host with dots and there are no alternative names. Such a name OpenSSL checks
    /// against the names that authorities may vouch for (`cn2dnsid` in `crypto/x509/v3_ncons.c`).
    pub(super) fn common_host(&self) -> Option<&str> {
        let name = self.common.as_deref()?;
        let is_label = |label: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            !label.is_empty()
                && label.chars().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_host = name.contains('.') && name.split('.').all(is_label);
        (is_host && self.hosts.is_empty()).then_some(name)
    }

    /// The names as an error shows them.
    pub(super) fn describe(&self) -> String {
        let mut all: Vec<String> = self.hosts.iter().map(|name| format!("`{name}`")).collect();
        all.extend(self.addresses.iter().map(|address| format!("`{address}`")));
        if all.is_empty() {
            all.extend(self.common.iter().map(|name| format!("`{name}`")));
        }
        if all.is_empty() {
            "no name".to_owned()
        } else {
            all.join(", ").escape_debug().to_string()
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether a name covers `host`. A name may begin with `*.`, which stands for any one label.
fn covers(name: &str, host: &str) -> bool {
    if name.is_empty() || name.contains('\0') {
        return false;
    }
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(domain), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !domain.is_empty() && !label.is_empty() && rest.eq_ignore_ascii_case(domain)
}

/// Whether an authority with these limits may vouch for a host: it lies in a domain that is permitted, if any is, and in
/// none that is excluded (<https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.10>).
pub(super) fn may_vouch_for(limits: &NameConstraints<'_>, host: &str) -> bool {
    let domains = |trees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<String> {
        let names = trees.iter().flatten().filter_map(|tree| match &tree.base {
            GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
            _ => None,
        });
        names.collect()
    };
    let host = host.to_ascii_lowercase();
    let is_in = |domain: &String| {
        domain.is_empty()
            || host.strip_suffix(domain.as_str()).is_some_and(|before| {
                before.is_empty() || before.ends_with('.') || domain.starts_with('.')
            })
    };
    let permitted = domains(&limits.permitted_subtrees);
    (permitted.is_empty() || permitted.iter().any(is_in))
        && !domains(&limits.excluded_subtrees).iter().any(is_in)
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

/// Whether a certificate may issue others. A certificate of the oldest form, which has no extensions, may if it is
/// self-signed.
pub(super) fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    if certificate.version().0 == 0 {
        return is_self_issued(certificate);
    }
    let signs = match certificate.key_usage() {
        Ok(usage) => usage.map(|usage| usage.value.key_cert_sign()),
        Err(_) => Some(false),
    };
    match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca && signs.unwrap_or(true),
        // OpenSSL accepts a certificate without basic constraints if its key usage allows to sign certificates (`check_ca`
        // in crypto/x509/v3_purp.c).
        Ok(None) => signs == Some(true),
        Err(_) => false,
    }
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Whether a server may show the certificate: its purposes are not restricted, or serving is among them.
pub(super) fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.any || usage.value.server_auth,
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether a certificate has a critical extension that is not understood here.
pub(super) fn has_unknown_demands(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| {
        extension.critical
            && !matches!(
                extension.parsed_extension(),
                ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::KeyUsage(_)
                    | ParsedExtension::ExtendedKeyUsage(_)
                    | ParsedExtension::SubjectAlternativeName(_)
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &[&str], addresses: &[&str], common: &str) -> Names {
        Names {
            hosts: hosts.iter().map(ToString::to_string).collect(),
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            common: Some(common.to_owned()),
        }
    }

    #[test]
    fn names_match_as_in_libpq() {
        for (hosts, addresses, common, host, matches) in [
            (&["db.example"][..], &[][..], "", "DB.example", true),
            (
                &["db.example"],
                &[],
                "other.example",
                "other.example",
                false,
            ),
            (&[], &[], "db.example", "db.example", true),
            (&[], &["10.0.0.1"], "db.example", "db.example", true),
            (&["*.example"], &[], "", "db.example", true),
            (&["*.example"], &[], "", "a.db.example", false),
            (&["*.example"], &[], "", ".example", false),
            (&["*.example"], &[], "", "example", false),
            (&["*"], &[], "", "example", false),
            (&["a*.example"], &[], "", "ab.example", false),
            (&[], &["10.0.0.1"], "10.0.0.2", "10.0.0.1", true),
            (&[], &["10.0.0.1"], "10.0.0.2", "10.0.0.2", false),
            (&["db.example"], &[], "10.0.0.2", "10.0.0.2", true),
            (&["10.0.0.2"], &[], "", "10.0.0.2", true),
            (&[], &["::1"], "", "0:0::1", true),
            (&["db.example\0.evil"], &[], "", "db.example", false),
        ] {
            assert_eq!(
                names(hosts, addresses, common).include(host, false),
                matches,
                "{hosts:?} {addresses:?} {common} {host}"
            );
        }
    }

    #[test]
    fn what_limits_an_authority_limits_the_common_name_too() {
        assert!(names(&["db.example"], &[], "").include("db.example", true));
        assert!(names(&[], &[], "db").include("db", true));
        // This name was checked against the limits before.
        assert_eq!(
            names(&[], &[], "db.example").common_host(),
            Some("db.example")
        );
        assert!(names(&[], &[], "db.example").include("db.example", true));
        // These names were not checked against the limits.
        assert_eq!(names(&[], &[], "*.example").common_host(), None);
        assert!(!names(&[], &[], "*.example").include("db.example", true));
        assert_eq!(names(&[], &[], "db").common_host(), None);
        assert_eq!(names(&["other"], &[], "db.example").common_host(), None);
    }

    #[test]
    fn an_authority_vouches_for_whole_domains() {
        let domain = |name| {
            Some(vec![GeneralSubtree {
                base: GeneralName::DNSName(name),
            }])
        };
        for (name, host, is_in) in [
            ("team.example", "team.example", true),
            ("Team.example", "db.TEAM.example", true),
            ("team.example", "steam.example", false),
            ("team.example", "example", false),
            (".team.example", "db.team.example", true),
            (".team.example", "team.example", false),
            ("", "any.example", true),
        ] {
            let permitted = NameConstraints {
                permitted_subtrees: domain(name),
                excluded_subtrees: None,
            };
            let excluded = NameConstraints {
                permitted_subtrees: None,
                excluded_subtrees: domain(name),
            };
            assert_eq!(may_vouch_for(&permitted, host), is_in, "{name} {host}");
            assert_eq!(may_vouch_for(&excluded, host), !is_in, "{name} {host}");
        }
    }
}
