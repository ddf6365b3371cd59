//! TLS: which certificate of a server is good enough, and which one is shown to it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::server::SslMode;
use crate::store::Mistake;
use crate::store::pem::{self, Named, Pair};
use crate::yaml::Message;

const ROOT: &str = "postgres.sslrootcert";
const CERT: &str = "postgres.sslcert";
const KEY: &str = "postgres.sslkey";

/// The files that TLS needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// The authorities that certificates of servers are trusted from.
    pub roots: Option<Roots>,
    /// The certificate to show to the server, and after it those that lead to its authority.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// Authorities that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts.
    System,
    /// Those in a file.
    File(PathBuf),
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// Every file that cannot be used, and why.
    pub(super) fn load(&self, mode: SslMode) -> Result<ClientConfig, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let trusted = self.roots.as_ref().and_then(|roots| Trusted::load(roots, &mut mistakes));
        let pair = self.pair(&mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let provider = Arc::new(ring::default_provider());
        let verifier =
            Verifier { trusted, checks_name: mode == SslMode::VerifyFull, provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what the protocol needs")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let Some(Pair { chain, key, .. }) = pair else { return Ok(builder.with_no_client_auth()) };
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let message = Message::new(format!("the certificate and its key cannot be used: {error}"));
            vec![Mistake { setting: CERT, message }]
        })
    }

    fn pair(&self, mistakes: &mut Vec<Mistake>) -> Option<Pair> {
        let cert = Named { setting: CERT, path: self.cert.as_deref() };
        let key = Named { setting: KEY, path: self.key.as_deref() };
        pem::pair(cert, key, "holds no private key in PEM form without a passphrase", mistakes)
    }
}

/// Whom a certificate may come from.
#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    /// The certificates of the file as they stand there: a server may show one of them as its own.
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn load(roots: &Roots, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        match roots {
            Roots::System => {
                let roots = pem::system_authorities();
                if roots.is_empty() {
                    let message = Message::new("the system trusts no certificate authority");
                    mistakes.push(Mistake {
                        setting: ROOT,
                        message: message.expected("a file with certificates"),
                    });
                    return None;
                }
                Some(Self { roots, certificates: Vec::new() })
            }
            Roots::File(path) => {
                let (_, certificates) = pem::certificates(ROOT, path, mistakes)?;
                let roots = pem::authorities(ROOT, path, &certificates, mistakes)?;
                Some(Self { roots, certificates })
            }
        }
    }
}

/// Checks as much of a server's certificate as the mode asks for.
///
/// That the server has the certificate's key is checked in every mode, for a login may be bound to the certificate.
#[derive(Debug)]
struct Verifier {
    /// `None`: anybody.
    trusted: Option<Trusted>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A certificate that signed itself, which is what Postgres' manual makes first, is its own authority.
        // The library takes no authority for a server; but this very one was named by the operator.
        if !trusted.certificates.contains(end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &trusted.roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if self.checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
