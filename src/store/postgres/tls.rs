//! TLS: which certificate of a server is good enough, and which one is shown to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::server::SslMode;
use crate::store::Mistake;
use crate::store::files::read_bounded;
use crate::yaml::{Message, quoted};

/// Largest file with certificates or a key, in bytes: several times that of all authorities of a system.
const MAX_FILE_BYTES: u64 = 4 << 20;

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
        let Some((chain, key)) = pair else { return Ok(builder.with_no_client_auth()) };
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let message = Message::new(format!("the certificate and its key cannot be used: {error}"));
            vec![Mistake { setting: CERT, message }]
        })
    }

    fn pair(
        &self,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let missing =
            |setting, other| Mistake { setting, message: Message::new(format!("`{other}` is missing")) };
        let (cert, key) = match (&self.cert, &self.key) {
            (None, None) => return None,
            (Some(cert), Some(key)) => (cert, key),
            (Some(_), None) => {
                mistakes.push(missing(CERT, KEY));
                return None;
            }
            (None, Some(_)) => {
                mistakes.push(missing(KEY, CERT));
                return None;
            }
        };
        let chain = certificates(CERT, cert, mistakes);
        let text = read(KEY, key, mistakes)?;
        // What the reader says of a key is left out: it is about the key.
        let Ok(key) = PrivateKeyDer::from_pem_slice(&text) else {
            mistakes.push(mistake(KEY, key, "holds no private key in PEM form without a passphrase"));
            return None;
        };
        Some((chain?, key))
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
        let mut store = RootCertStore::empty();
        match roots {
            Roots::System => {
                // Those that cannot be read are missed by whoever needs them: the handshake says so.
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if store.is_empty() {
                    let message = Message::new("the system trusts no certificate authority");
                    mistakes.push(Mistake {
                        setting: ROOT,
                        message: message.expected("a file with certificates"),
                    });
                    return None;
                }
                Some(Self { roots: store, certificates: Vec::new() })
            }
            Roots::File(path) => {
                let certificates = certificates(ROOT, path, mistakes)?;
                for certificate in &certificates {
                    if let Err(error) = store.add(certificate.clone()) {
                        let what = format!("holds a certificate that cannot be used: {error}");
                        mistakes.push(mistake(ROOT, path, &what));
                        return None;
                    }
                }
                Some(Self { roots: store, certificates })
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

fn mistake(setting: &'static str, path: &Path, what: &str) -> Mistake {
    Mistake { setting, message: Message::new(format!("{} {what}", quoted(&path.display().to_string()))) }
}

fn read(setting: &'static str, path: &Path, mistakes: &mut Vec<Mistake>) -> Option<Vec<u8>> {
    read_bounded(path, MAX_FILE_BYTES)
        .map_err(|error| mistakes.push(mistake(setting, path, &format!("cannot be read: {error}"))))
        .ok()
}

/// The certificates in a file, at least one.
fn certificates(
    setting: &'static str,
    path: &Path,
    mistakes: &mut Vec<Mistake>,
) -> Option<Vec<CertificateDer<'static>>> {
    let text = read(setting, path, mistakes)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let what = match found {
        Ok(certificates) if !certificates.is_empty() => return Some(certificates),
        Ok(_) => "holds no certificate in PEM form".to_owned(),
        Err(error) => format!("holds what is no certificate in PEM form: {error}"),
    };
    mistakes.push(mistake(setting, path, &what));
    None
}

#[cfg(test)]
mod tests;
