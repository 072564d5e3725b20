//! The way from a server's certificate to a trusted authority, found and checked as OpenSSL does it (`build_chain` and
//! `check_extensions` in `crypto/x509/x509_vfy.c`), with the settings that libpq leaves it.
//!
//! One chain is built, and judged when it is complete. At each step a trusted issuer is preferred, then one that the server
//! sent; it ends at a trusted certificate that has issued itself. Another chain is not tried, so a certificate of ours has
//! the same verdict as with psql.

use std::cell::Cell;

use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use webpki::RawPublicKeyEntity;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    AuthorityKeyIdentifier, GeneralName, ParsedExtension, X509Extension,
};

use super::certificate::{Age, age, describe_name, parse};
use super::constraints;
use super::distinguished::Canonical;
use super::names::Names;
use super::purpose::{Authority, authority, key_may_serve, may_serve, path_length, unknown_demand};
use crate::base::Setting;

/// A server can send many certificates of one name, to keep us busy. No chain needs as many signatures.
const MAX_SIGNATURES: usize = 100;

/// A certificate that may stand in a chain.
#[derive(Debug)]
pub(super) struct Link<'a> {
    der: &'a [u8],
    pub(super) certificate: X509Certificate<'a>,
    pub(super) subject: Canonical,
    issuer: Canonical,
}

impl<'a> Link<'a> {
    /// Reads a certificate. `None` if it is malformed.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let certificate = parse(der)?;
        Some(Self {
            der,
            subject: Canonical::of(certificate.subject()),
            issuer: Canonical::of(certificate.issuer()),
            certificate,
        })
    }

    /// Whether the certificate bears the name of its issuer.
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether the certificate bears the name and the key of its issuer, as far as it says.
    fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.names_key_of(self)
    }

    /// Whether the names are those of an issuer and its certificate.
    fn may_be_issued_by(&self, issuer: &Link<'_>) -> bool {
        self.issuer == issuer.subject && self.names_key_of(issuer)
    }

    /// Whether the certificate's hints at its issuer's key are right for this one (`X509_check_akid`).
    fn names_key_of(&self, issuer: &Link<'_>) -> bool {
        let Some(AuthorityKeyIdentifier {
            key_identifier,
            authority_cert_issuer,
            authority_cert_serial,
        }) = self.hints()
        else {
            return true;
        };
        let is_key = match (key_identifier, issuer.key_identifier()) {
            (Some(wanted), Some(key)) => wanted.0 == key,
            _ => true,
        };
        let is_serial =
            authority_cert_serial.is_none_or(|serial| serial == issuer.certificate.raw_serial());
        let mut names = authority_cert_issuer.iter().flatten();
        let name = names.find_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(Canonical::of(name)),
            _ => None,
        });
        is_key && is_serial && name.is_none_or(|name| name == issuer.issuer)
    }

    fn hints(&self) -> Option<&AuthorityKeyIdentifier<'a>> {
        self.parsed().find_map(|extension| match extension {
            ParsedExtension::AuthorityKeyIdentifier(hints) => Some(hints),
            _ => None,
        })
    }

    fn key_identifier(&self) -> Option<&[u8]> {
        self.parsed().find_map(|extension| match extension {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        })
    }

    fn parsed(&self) -> impl Iterator<Item = &ParsedExtension<'a>> {
        let extensions = self.certificate.extensions().iter();
        extensions.map(X509Extension::parsed_extension)
    }

    /// The subject's name as an error shows it.
    fn describe(&self) -> String {
        describe_name(self.certificate.subject())
    }
}

/// Finds the way to a trusted authority.
pub(super) struct Builder<'a> {
    trusted: &'a [Link<'a>],
    /// What the server sent beside its own certificate.
    sent: &'a [Link<'a>],
    /// The setting that names what is trusted.
    setting: Setting,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    now: UnixTime,
    signatures_left: Cell<usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        trusted: &'a [Link<'a>],
        sent: &'a [Link<'a>],
        setting: Setting,
        algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
        now: UnixTime,
    ) -> Self {
        Self {
            trusted,
            sent,
            setting,
            algorithms,
            now,
            signatures_left: Cell::new(MAX_SIGNATURES),
        }
    }

    /// The chain from the server's certificate to a trusted one that has issued itself, with good signatures, or the reason
    /// why there is none.
    pub(super) fn build(&self, leaf: &'a Link<'a>) -> Result<Vec<&'a Link<'a>>, String> {
        let mut chain = vec![leaf];
        let mut is_trusted = false;
        loop {
            let last = chain[chain.len() - 1];
            if last.is_self_signed() {
                // What the server sent is replaced by the trusted certificate only if it is the same.
                return if is_trusted || self.trusted.iter().any(|one| one.der == last.der) {
                    Ok(chain)
                } else {
                    Err(self.unknown_issuer(&chain))
                };
            }
            let issuer = match self.issuer(&chain, self.trusted)? {
                Some(issuer) => {
                    is_trusted = true;
                    issuer
                }
                // Above a trusted certificate only trusted ones count.
                None if is_trusted => return Err(self.unknown_issuer(&chain)),
                None => match self.issuer(&chain, self.sent)? {
                    Some(issuer) => issuer,
                    None => return Err(self.unknown_issuer(&chain)),
                },
            };
            chain.push(issuer);
        }
    }

    /// The certificate among `from` that has issued the last one of a chain: one that is valid now, or else the one that
    /// expired last.
    fn issuer(
        &self,
        chain: &[&'a Link<'a>],
        from: &'a [Link<'a>],
    ) -> Result<Option<&'a Link<'a>>, String> {
        let last = chain[chain.len() - 1];
        let mut candidates: Vec<&Link<'_>> = from
            .iter()
            .filter(|one| last.may_be_issued_by(one))
            .filter(|one| chain.iter().all(|link| link.der != one.der))
            .collect();
        candidates.sort_by_key(|one| {
            let is_valid = age(&one.certificate, self.now) == Age::Valid;
            let end = one.certificate.validity().not_after.timestamp();
            (!is_valid, if is_valid { 0 } else { -end })
        });
        for candidate in &candidates {
            if self.is_signed_by(last, candidate)? {
                return Ok(Some(candidate));
            }
        }
        if candidates.is_empty() {
            Ok(None)
        } else {
            let place = if std::ptr::eq(from, self.trusted) {
                format!("`{}`", self.setting)
            } else {
                "the chain that the server sent".to_owned()
            };
            Err(format!(
                "{} was not signed with the key that {} has in {place}, or is of a form that is not supported",
                whose(chain.len() - 1, last),
                candidates[0].describe(),
            ))
        }
    }

    /// The reason why a chain that ends here is refused.
    fn unknown_issuer(&self, chain: &[&Link<'_>]) -> String {
        let ca_file = self.setting;
        let last = chain[chain.len() - 1];
        let issuer = describe_name(last.certificate.issuer());
        if self.trusted.iter().any(|one| one.der == last.der) {
            return format!(
                "`{ca_file}` has the certificate of {}, but not that of its issuer, {issuer}; a chain must end at an authority \
                 that has issued itself, so that one is needed too",
                last.describe()
            );
        }
        match chain {
            [leaf] if leaf.is_self_issued() => format!(
                "the server's certificate was issued by itself, {issuer}, and is not among the trusted ones (`{ca_file}`)"
            ),
            [_] => format!(
                "the server's certificate comes from an unknown issuer, {issuer}, which is not among the trusted authorities \
                 (`{ca_file}`)"
            ),
            _ => format!(
                "the server's certificate comes, by way of {}, from an unknown issuer, {issuer}, which is not among the trusted \
                 authorities (`{ca_file}`)",
                last.describe()
            ),
        }
    }

    fn is_signed_by(&self, link: &Link<'_>, issuer: &Link<'_>) -> Result<bool, String> {
        let left = self.signatures_left.get().checked_sub(1);
        self.signatures_left
            .set(left.ok_or("the server sent too many certificates of the same name")?);
        let key = SubjectPublicKeyInfoDer::from(issuer.certificate.public_key().raw);
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
            return Ok(false);
        };
        let signed = link.certificate.tbs_certificate.as_ref();
        let signature = &link.certificate.signature_value.data;
        Ok(self
            .algorithms
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, signed, signature).is_ok()))
    }
}

/// The certificate in the place `index` of a chain, as an error names it.
fn whose(index: usize, link: &Link<'_>) -> String {
    if index == 0 {
        "the server's certificate".to_owned()
    } else {
        format!("the certificate of the authority {}", link.describe())
    }
}

/// Checks each certificate of a chain in its place. Gives whether an authority may vouch for some names only.
pub(super) fn check(chain: &[&Link<'_>], now: UnixTime) -> Result<bool, String> {
    // The authorities between the server and the one that is looked at. An authority's new key for its old one is none.
    let mut between = 0;
    for (index, link) in chain.iter().enumerate() {
        check_link(link, index, index + 1 == chain.len(), now)
            .map_err(|problem| format!("{} {problem}", whose(index, link)))?;
        if index == 0 {
            continue;
        }
        if let Some(most) = path_length(&link.certificate).filter(|most| between > *most) {
            return Err(format!(
                "{} allows {most} further authorities below it, but there are {between}",
                whose(index, link)
            ));
        }
        if !link.is_self_issued() {
            between += 1;
        }
    }
    constraints::check(chain).map_err(|index| match index {
        0 => format!(
            "the server's certificate is for {}, for which an authority of its chain may not vouch",
            Names::of(&chain[0].certificate).describe()
        ),
        _ => format!(
            "an authority of the chain may not vouch for the authority {}",
            chain[index].describe()
        ),
    })
}

/// Checks one certificate. The error follows the certificate's name.
fn check_link(link: &Link<'_>, index: usize, is_last: bool, now: UnixTime) -> Result<(), String> {
    let certificate = &link.certificate;
    match age(certificate, now) {
        Age::Valid => {}
        Age::Expired => return Err(format!("expired on {}", certificate.validity().not_after)),
        Age::TooEarly => {
            let start = certificate.validity().not_before;
            return Err(format!("is not valid before {start}"));
        }
    }
    if let Some(id) = unknown_demand(certificate) {
        return Err(format!(
            "has a demand that is not understood (extension {id})"
        ));
    }
    if !may_serve(certificate) {
        return Err("is not meant for servers (its extended key usage)".to_owned());
    }
    if index == 0 {
        if !key_may_serve(certificate) {
            return Err("is not meant for servers (its key usage)".to_owned());
        }
        return Ok(());
    }
    match authority(certificate) {
        Authority::Stated => Ok(()),
        Authority::Implied if is_last => Ok(()),
        _ => Err(
            "is not an authority's: its basic constraints or its key usage do not let it issue others"
                .to_owned(),
        ),
    }
}
