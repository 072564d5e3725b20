//! The names that a certificate is for, matched as libpq matches them.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

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

    /// The common name, if it was checked against the names that authorities may vouch for.
    fn common_host(&self) -> Option<&str> {
        let name = host_in_common_name(self.common.as_deref()?)?;
        self.hosts.is_empty().then_some(name)
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

/// A common name, if it is that of a host with dots. Such a name OpenSSL checks against the names that authorities may
/// vouch for (`cn2dnsid` in `crypto/x509/v3_ncons.c`).
pub(super) fn host_in_common_name(name: &str) -> Option<&str> {
    let is_label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !label.is_empty()
            && label.chars().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.contains('.') && name.split('.').all(is_label)).then_some(name)
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
}
