//! Which clients may connect: those that an authority has signed, and of those the ones with the right names.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::AllowedName;
use super::names::{ClientName, client_names, is_allowed};

/// The most names of a refused client that are told.
const MAX_TOLD: usize = 8;

/// The longest name that is told whole, in characters.
const MAX_TOLD_CHARACTERS: usize = 256;

/// Checks a client's certificate as `signed` does, and then its names.
#[derive(Debug)]
pub(super) struct AllowedClients {
    pub(super) signed: Arc<dyn ClientCertVerifier>,
    pub(super) allowed: Vec<AllowedName>,
}

/// A client has a good certificate with none of the names that may connect.
#[derive(Debug, thiserror::Error)]
#[error("its certificate is signed by a known authority, but none of its names may connect: {names}")]
pub(super) struct NotAllowed {
    names: String,
}

impl NotAllowed {
    fn with(names: &[ClientName]) -> Self {
        let mut told: Vec<String> = names
            .iter()
            .take(MAX_TOLD)
            .map(|name| name.to_string().chars().take(MAX_TOLD_CHARACTERS).collect())
            .collect();
        match names.len() {
            0 => told.push("it has none".to_owned()),
            all if all > MAX_TOLD => told.push(format!("and {} more", all - MAX_TOLD)),
            _ => {}
        }
        Self { names: told.join(", ") }
    }

    /// It, if that is why a handshake failed.
    pub(super) fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.downcast_ref(),
            _ => None,
        }
    }
}

/// The names of a certificate cannot be read.
#[derive(Debug)]
struct Unreadable(x509_cert::der::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the names of the client's certificate cannot be read: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl ClientCertVerifier for AllowedClients {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let other = |error| Error::InvalidCertificate(CertificateError::Other(OtherError(error)));
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        let names = client_names(end_entity).map_err(|error| other(Arc::new(Unreadable(error))))?;
        if is_allowed(&self.allowed, &names) {
            Ok(verified)
        } else {
            Err(other(Arc::new(NotAllowed::with(&names))))
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
