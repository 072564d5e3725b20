//! Name constraints: the names that an authority may vouch for (RFC 5280, section 4.2.1.10), as OpenSSL checks them
//! (`crypto/x509/v3_ncons.c`).

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

use super::chain::Link;
use super::distinguished::Canonical;
use super::names::host_in_common_name;

/// A name of a certificate, or the root of a tree of names.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Host(&'a str),
    Address(&'a [u8]),
    Mail(&'a str),
    Uri(&'a str),
    Distinguished(Canonical),
    /// A name of a kind that cannot be compared, by its number.
    Other(u32),
}

impl<'a> Name<'a> {
    fn of(name: &GeneralName<'a>) -> Self {
        match name {
            GeneralName::DNSName(host) => Self::Host(host),
            GeneralName::IPAddress(address) => Self::Address(address),
            GeneralName::RFC822Name(mail) => Self::Mail(mail),
            GeneralName::URI(uri) => Self::Uri(uri),
            GeneralName::DirectoryName(name) => Self::Distinguished(Canonical::of(name)),
            GeneralName::OtherName(..) => Self::Other(0),
            GeneralName::X400Address(_) => Self::Other(3),
            GeneralName::EDIPartyName(_) => Self::Other(5),
            GeneralName::RegisteredID(_) => Self::Other(8),
            GeneralName::Invalid(tag, _) => Self::Other(tag.0),
        }
    }

    /// The number of the kind (`GeneralName` in RFC 5280).
    fn kind(&self) -> u32 {
        match self {
            Self::Mail(_) => 1,
            Self::Host(_) => 2,
            Self::Distinguished(_) => 4,
            Self::Uri(_) => 6,
            Self::Address(_) => 7,
            Self::Other(number) => *number,
        }
    }

    /// Whether the name lies in the tree below `root`, which is of the same kind. `None` if the two cannot be compared.
    fn is_in(&self, root: &Self) -> Option<bool> {
        match (self, root) {
            (Self::Host(host), Self::Host(domain)) => Some(host_is_in(host, domain)),
            (Self::Address(address), Self::Address(range)) => address_is_in(address, range),
            (Self::Mail(mail), Self::Mail(root)) => mail_is_in(mail, root),
            (Self::Uri(uri), Self::Uri(root)) => {
                uri_host(uri).map(|host| equals_or_ends_with(host, root))
            }
            (Self::Distinguished(name), Self::Distinguished(root)) => Some(name.is_below(root)),
            _ => None,
        }
    }
}

/// Checks the names of all certificates of a chain against the limits of the authorities above them. Gives whether there is
/// a limit at all, or the names of the certificate that an authority may not vouch for.
pub(super) fn check(chain: &[&Link<'_>]) -> Result<bool, usize> {
    let mut is_limited = false;
    for (above, authority) in chain.iter().enumerate().skip(1) {
        let limits = match authority.certificate.name_constraints() {
            Ok(None) => continue,
            Ok(Some(limits)) => Some(limits.value),
            // Limits that cannot be read may be any.
            Err(_) => None,
        };
        is_limited = true;
        for (index, link) in chain[..above].iter().enumerate() {
            // An authority's new key for its old one has the same name, and stands for no more.
            if index > 0 && link.is_self_issued() {
                continue;
            }
            if !limits.is_some_and(|limits| may_vouch_for(limits, link, index == 0)) {
                return Err(index);
            }
        }
    }
    Ok(is_limited)
}

fn may_vouch_for(limits: &NameConstraints<'_>, link: &Link<'_>, is_servers: bool) -> bool {
    let Some(names) = names_of(link, is_servers) else {
        return false;
    };
    names.iter().all(|name| allows(limits, name))
}

/// The names of a certificate; `None` if they cannot be read.
fn names_of<'a>(link: &'a Link<'_>, is_servers: bool) -> Option<Vec<Name<'a>>> {
    let certificate: &X509Certificate<'_> = &link.certificate;
    let mut names = Vec::new();
    if !link.subject.is_empty() {
        names.push(Name::Distinguished(link.subject.clone()));
    }
    for mail in certificate.subject().iter_email() {
        names.push(Name::Mail(mail.as_str().ok()?));
    }
    let mut has_host = false;
    if let Some(alternatives) = certificate.subject_alternative_name().ok()? {
        for name in &alternatives.value.general_names {
            let name = Name::of(name);
            has_host |= matches!(name, Name::Host(_));
            names.push(name);
        }
    }
    // A server may have its name as a common name only.
    if is_servers && !has_host {
        let common = certificate.subject().iter_common_name();
        let hosts = common.filter_map(|name| host_in_common_name(name.as_str().ok()?));
        names.extend(hosts.map(Name::Host));
    }
    Some(names)
}

/// Whether limits allow a name: it lies in a tree that is permitted, if there are any of its kind, and in none that is
/// excluded.
fn allows(limits: &NameConstraints<'_>, name: &Name<'_>) -> bool {
    let of_its_kind = |trees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<Option<bool>> {
        let roots = trees.iter().flatten().map(|tree| Name::of(&tree.base));
        roots
            .filter(|root| root.kind() == name.kind())
            .map(|root| name.is_in(&root))
            .collect()
    };
    let permitted = of_its_kind(&limits.permitted_subtrees);
    let excluded = of_its_kind(&limits.excluded_subtrees);
    (permitted.is_empty() || (permitted.contains(&Some(true)) && !permitted.contains(&None)))
        && excluded.iter().all(|is_in| *is_in == Some(false))
}

/// Whether a host lies in a domain, or is it.
fn host_is_in(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    domain.is_empty()
        || host.strip_suffix(&domain).is_some_and(|before| {
            before.is_empty() || before.ends_with('.') || domain.starts_with('.')
        })
}

/// Whether a text is `root`, or ends with it if it begins with a dot.
fn equals_or_ends_with(text: &str, root: &str) -> bool {
    let (text, root) = (text.to_ascii_lowercase(), root.to_ascii_lowercase());
    if root.starts_with('.') {
        text.len() > root.len() && text.ends_with(&root)
    } else {
        text == root
    }
}

/// Whether an address lies in a range: an address and its mask.
fn address_is_in(address: &[u8], range: &[u8]) -> Option<bool> {
    if !matches!(address.len(), 4 | 16) || !matches!(range.len(), 8 | 32) {
        return None;
    }
    let (base, mask) = range.split_at(range.len() / 2);
    let is_same_kind = base.len() == address.len();
    let mut bytes = address.iter().zip(base).zip(mask);
    Some(is_same_kind && bytes.all(|((address, base), mask)| (address ^ base) & mask == 0))
}

/// Whether a mail address is `root`, at the host `root`, or in the domain `root` if that begins with a dot.
fn mail_is_in(mail: &str, root: &str) -> Option<bool> {
    let (mailbox, host) = mail.rsplit_once('@')?;
    Some(match root.rsplit_once('@') {
        None if root.starts_with('.') => equals_or_ends_with(mail, root),
        None => host.eq_ignore_ascii_case(root),
        Some((wanted, at)) => {
            (wanted.is_empty() || wanted == mailbox) && host.eq_ignore_ascii_case(at)
        }
    })
}

/// The host of a URI.
fn uri_host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once(':')?;
    let rest = rest.strip_prefix("//")?;
    let end = rest.find(':').or_else(|| rest.find('/'));
    let host = &rest[..end.unwrap_or(rest.len())];
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees<'a>(bases: &[GeneralName<'a>]) -> Option<Vec<GeneralSubtree<'a>>> {
        let trees = bases.iter().cloned().map(|base| GeneralSubtree { base });
        (!bases.is_empty()).then(|| trees.collect())
    }

    #[test]
    fn an_authority_vouches_for_whole_domains() {
        for (domain, host, is_in) in [
            ("team.example", "team.example", true),
            ("Team.example", "db.TEAM.example", true),
            ("team.example", "steam.example", false),
            ("team.example", "example", false),
            (".team.example", "db.team.example", true),
            (".team.example", "team.example", false),
            ("", "any.example", true),
        ] {
            let base = [GeneralName::DNSName(domain)];
            let permitted = NameConstraints {
                permitted_subtrees: trees(&base),
                excluded_subtrees: None,
            };
            let excluded = NameConstraints {
                permitted_subtrees: None,
                excluded_subtrees: trees(&base),
            };
            assert_eq!(
                allows(&permitted, &Name::Host(host)),
                is_in,
                "{domain} {host}"
            );
            assert_eq!(
                allows(&excluded, &Name::Host(host)),
                !is_in,
                "{domain} {host}"
            );
            // Names of other kinds are not limited.
            assert!(allows(&permitted, &Name::Mail("root@other.example")));
        }
    }

    #[test]
    fn addresses_mail_and_uris_are_limited_too() {
        let range = GeneralName::IPAddress(&[10, 1, 0, 0, 255, 255, 0, 0]);
        let mail = GeneralName::RFC822Name(".example");
        let uri = GeneralName::URI("db.example");
        let limits = NameConstraints {
            permitted_subtrees: trees(&[range, mail, uri]),
            excluded_subtrees: trees(&[GeneralName::RFC822Name("root@db.example")]),
        };
        for (name, is_allowed) in [
            (Name::Address(&[10, 1, 2, 3]), true),
            (Name::Address(&[10, 2, 2, 3]), false),
            (Name::Address(&[0; 16]), false),
            (Name::Address(&[1]), false),
            (Name::Mail("me@db.example"), true),
            (Name::Mail("root@DB.example"), false),
            (Name::Mail("ROOT@db.example"), true),
            (Name::Mail("me@example"), false),
            (Name::Mail("me"), false),
            (Name::Uri("https://db.example:5432/x"), true),
            (Name::Uri("spiffe://DB.example/x"), true),
            (Name::Uri("https://other.example/"), false),
            (Name::Uri("urn:x"), false),
            (Name::Other(8), true),
        ] {
            assert_eq!(allows(&limits, &name), is_allowed, "{name:?}");
        }
        let unknown = NameConstraints {
            permitted_subtrees: None,
            excluded_subtrees: trees(&[GeneralName::Invalid(x509_parser::asn1_rs::Tag(8), &[])]),
        };
        assert!(!allows(&unknown, &Name::Other(8)));
    }
}
