//! Judges a server's certificate as libpq with OpenSSL does.
//!
//! rustls' own verifier refuses what PostgreSQL's manual tells people to make: certificates of the oldest form, without
//! alternative names, or self-signed and used as their own authority
//! (<https://www.postgresql.org/docs/current/ssl-tcp.html#SSL-CERTIFICATE-CREATION>). It also accepts what psql refuses, such
//! as an authority whose own limits are not kept. So `chain` follows OpenSSL's way to a trusted authority, and
//! webpki verifies the signatures.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, SignatureScheme,
};
use webpki::RawPublicKeyEntity;

use super::certificate::parse;
use super::chain::{self, Builder, Link};
use super::names::Names;
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
    /// The setting that names them.
    setting: Setting,
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
        setting: Setting,
        host: &str,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            check,
            roots: Mutex::new(roots),
            setting,
            host: host.to_owned(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Verifies that a trusted authority issued the certificate. Gives whether an authority of the chain may vouch for some
    /// names only.
    fn verify_chain(
        &self,
        leaf: &Link<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, Error> {
        let roots = std::mem::take(&mut *self.roots.lock());
        let trusted: Vec<Link<'_>> = roots.iter().filter_map(|root| Link::read(root)).collect();
        // What cannot be read cannot be needed.
        let sent: Vec<Link<'_>> = intermediates
            .iter()
            .filter_map(|der| Link::read(der))
            .collect();
        let builder = Builder::new(&trusted, &sent, self.setting, self.algorithms.all, now);
        let chain = builder.build(leaf).map_err(refusal)?;
        chain::check(&chain, now).map_err(refusal)
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
        let leaf = Link::read(end_entity)
            .ok_or_else(|| refusal("the server's certificate cannot be read".to_owned()))?;
        let is_limited = self.verify_chain(&leaf, intermediates, now)?;
        if self.check == Check::ChainAndName {
            let names = Names::of(&leaf.certificate);
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
