//! The errors of TLS in words.

use rustls::{AlertDescription, CertificateError, Error};

use super::verify::Refusal;
use crate::base::Setting;

/// The meaning of an error of TLS, for a person.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<Refusal>() {
                Some(refusal) => refusal.0.clone(),
                None => format!("the server's certificate cannot be verified: {other}"),
            }
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "the server did not prove that it has the key of its certificate".to_owned()
        }
        Error::InvalidCertificate(other) => {
            format!("the server's certificate cannot be verified: {other}")
        }
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                format!(
                    "the server requires a certificate of the client (`{}`, `{}`)",
                    Setting::CertFile,
                    Setting::KeyFile
                )
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => {
                format!(
                    "the server does not accept the client's certificate (`{}`): {alert:?}",
                    Setting::CertFile
                )
            }
            AlertDescription::NoApplicationProtocol => {
                "the server does not speak PostgreSQL's protocol over TLS (NoApplicationProtocol)"
                    .to_owned()
            }
            AlertDescription::ProtocolVersion => {
                "the server speaks none of the versions of TLS that are allowed".to_owned()
            }
            other => format!("the server refused the TLS handshake: {other:?}"),
        },
        Error::PeerIncompatible(why) => {
            format!("the server and this client have no way of TLS in common: {why:?}")
        }
        Error::InvalidMessage(_) => "the server's answer is not TLS".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}
