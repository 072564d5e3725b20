//! Judges a server's certificate as libpq with OpenSSL does.
//!
//! rustls' own verifier refuses what PostgreSQL's manual tells people to make: certificates of the oldest form, without
//! alternative names, or self-signed and used as their own authority
//! (<https://www.postgresql.org/docs/current/ssl-tcp.html#SSL-CERTIFICATE-CREATION>). webpki verifies chains; of the
//! certificates that it refuses, two kinds are accepted by [`Verifier::is_plainly_trusted`].

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;

use super::certificate::{
    Age, Names, age, describe_name, has_unknown_demands, is_authority, is_for_servers,
    is_self_issued, may_vouch_for, parse,
};
use crate::base::Setting;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The server has the certificate's key.
    Nothing,
    /// The server has the certificate's key, and a trusted authority issued the certificate.
    Chain,
    /// As [`Check::Chain`], and the certificate is for the host.
    ChainAndName,
}

/// Judges the certificate of one server, for one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    /// The trusted certificates. They are taken out when they are needed, once: a connection lives long, and a system has
    /// hundreds of certificates.
    roots: Mutex<Vec<CertificateDer<'static>>>,
    host: String,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The whole reason why a certificate is refused, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

fn refusal(why: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal(why)))))
}

impl Verifier {
    pub(super) fn new(
        check: Check,
        roots: Vec<CertificateDer<'static>>,
        host: &str,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            check,
            roots: Mutex::new(roots),
            host: host.to_owned(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Verifies that a trusted authority issued the certificate. Gives whether an authority of the chain may vouch for some
    /// names only.
    fn verify_chain(
        &self,
        roots: &[CertificateDer<'_>],
        der: &CertificateDer<'_>,
        certificate: &X509Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, Error> {
        let until = |time: x509_parser::time::ASN1Time| time.to_string();
        match age(certificate, now) {
            Age::Valid => {}
            Age::Expired => {
                let end = until(certificate.validity().not_after);
                return Err(refusal(format!(
                    "the server's certificate expired on {end}"
                )));
            }
            Age::TooEarly => {
                let start = until(certificate.validity().not_before);
                return Err(refusal(format!(
                    "the server's certificate is not valid before {start}"
                )));
            }
        }
        if self.is_plainly_trusted(roots, der, certificate, now) {
            return Ok(false);
        }
        let anchors: Vec<TrustAnchor<'_>> = roots
            .iter()
            .filter(|root| is_usable_root(root, now))
            .filter_map(|root| anchor_from_trusted_cert(root).ok())
            .collect();
        let problem = match EndEntityCert::try_from(der) {
            Ok(leaf) => match leaf.verify_for_usage(
                self.algorithms.all,
                &anchors,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            ) {
                Ok(path) => {
                    let is_anchor = |root: &&CertificateDer<'_>| {
                        anchor_from_trusted_cert(root).is_ok_and(|root| root == *path.anchor())
                    };
                    let anchor = roots.iter().filter(is_anchor);
                    let between: Vec<_> = path
                        .intermediate_certificates()
                        .map(webpki::Cert::der)
                        .collect();
                    let authorities: Vec<_> = between.iter().chain(anchor).collect();
                    return hold_against_limits(&Names::of(certificate), &authorities);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        Err(explain(&problem, roots, certificate, now))
    }

    /// Whether one of the two cases applies that libpq accepts and webpki does not know. In the first, the certificate is
    /// self-issued and itself trusted. In the second, it is of the oldest form, or an authority's, and a trusted authority
    /// issued it directly.
    fn is_plainly_trusted(
        &self,
        roots: &[CertificateDer<'_>],
        der: &CertificateDer<'_>,
        certificate: &X509Certificate<'_>,
        now: UnixTime,
    ) -> bool {
        if !is_for_servers(certificate) || has_unknown_demands(certificate) {
            return false;
        }
        if is_self_issued(certificate) && roots.iter().any(|root| root == der) {
            return true;
        }
        let is_unknown_to_webpki = certificate.version().0 == 0 || certificate.is_ca();
        is_unknown_to_webpki
            && roots
                .iter()
                .filter(|root| is_usable_root(root, now))
                .filter_map(|root| parse(root))
                .any(|root| self.is_issued_by(certificate, &root))
    }

    fn is_issued_by(&self, certificate: &X509Certificate<'_>, root: &X509Certificate<'_>) -> bool {
        // An authority with name constraints is for webpki to judge.
        if has_name_constraints(root) || root.subject().as_raw() != certificate.issuer().as_raw() {
            return false;
        }
        let key = SubjectPublicKeyInfoDer::from(root.public_key().raw);
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
            return false;
        };
        let (signed, signature) = (
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_value.data,
        );
        self.algorithms
            .all
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, signed, signature).is_ok())
    }

    /// Checks that the peer has the certificate's key. Only the key is handed to webpki, which does not read certificates
    /// of the oldest form.
    fn verify_handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        candidates: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let parsed = parse(certificate).ok_or_else(bad)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
        let (_, algorithms) = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let is_valid = algorithms.iter().take(candidates).any(|algorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        });
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }
}

fn has_name_constraints(certificate: &X509Certificate<'_>) -> bool {
    !matches!(certificate.name_constraints(), Ok(None))
}

/// Checks the common name against the names that the authorities may vouch for, as OpenSSL does for a certificate without
/// other names; webpki checks only the other names. Gives whether an authority is limited at all.
fn hold_against_limits(names: &Names, authorities: &[&CertificateDer<'_>]) -> Result<bool, Error> {
    let mut is_limited = false;
    for authority in authorities.iter().map(|der| parse(der)) {
        let limits = authority.as_ref().map(|one| one.name_constraints());
        let may_vouch = match limits {
            Some(Ok(None)) => continue,
            Some(Ok(Some(limits))) => names
                .common_host()
                .is_none_or(|name| may_vouch_for(limits.value, name)),
            // An authority that cannot be read may have any limit.
            Some(Err(_)) | None => names.common_host().is_none(),
        };
        if !may_vouch {
            return Err(refusal(format!(
                "the server's certificate is for {}, for which an authority of its chain may not vouch",
                names.describe()
            )));
        }
        is_limited = true;
    }
    Ok(is_limited)
}

/// The error of a certificate that is refused, with a reason for a person.
fn explain(
    error: &webpki::Error,
    roots: &[CertificateDer<'_>],
    certificate: &X509Certificate<'_>,
    now: UnixTime,
) -> Error {
    let issuer = describe_name(certificate.issuer());
    let ca_file = Setting::CaFile;
    let why = match error {
        webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::UnsupportedCertVersion => {
            let same_name = |root: &&CertificateDer<'_>| {
                parse(root)
                    .is_some_and(|root| root.subject().as_raw() == certificate.issuer().as_raw())
            };
            match roots.iter().find(same_name) {
                Some(root) if !is_usable_root(root, now) => format!(
                    "the server's certificate was issued by {issuer}, whose certificate in `{ca_file}` is not valid now or not \
                     an authority's"
                ),
                Some(_) => format!(
                    "the server's certificate was not signed with the key that {issuer} has in `{ca_file}`, or is of a form \
                     that is not supported"
                ),
                None => format!(
                    "the server's certificate comes from an unknown issuer, {issuer}, which is not among the trusted \
                     authorities (`{ca_file}`)"
                ),
            }
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            "the server's certificate is not meant for servers".to_owned()
        }
        webpki::Error::CertExpired { .. } => {
            "the certificate of an authority in the server's chain has expired".to_owned()
        }
        webpki::Error::CaUsedAsEndEntity => format!(
            "the server's certificate is an authority's own, and neither it nor its issuer, {issuer}, is among the trusted \
             ones (`{ca_file}`)"
        ),
        other => format!("the server's certificate cannot be verified: {other:?}"),
    };
    refusal(why)
}

/// Whether a root is an authority's certificate that is valid now. Other roots are ignored.
fn is_usable_root(root: &CertificateDer<'_>, now: UnixTime) -> bool {
    parse(root).is_some_and(|root| age(&root, now) == Age::Valid && is_authority(&root))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = parse(end_entity)
            .ok_or_else(|| refusal("the server's certificate cannot be read".to_owned()))?;
        let roots = std::mem::take(&mut *self.roots.lock());
        let is_limited = self.verify_chain(&roots, end_entity, &certificate, intermediates, now)?;
        if self.check == Check::ChainAndName {
            let names = Names::of(&certificate);
            if !names.include(&self.host, is_limited) {
                return Err(refusal(format!(
                    "the server's certificate is for {}, not for `{}`",
                    names.describe(),
                    self.host
                )));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // In TLS 1.2 the scheme does not name the curve, so every algorithm of the scheme is tried.
        self.verify_handshake(message, certificate, signed, usize::MAX)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if matches!(
            signed.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        ) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.verify_handshake(message, certificate, signed, 1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
