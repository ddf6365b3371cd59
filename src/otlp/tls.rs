//! How connections to a collector are encrypted: read and checked at the start.

use std::path::{Path, PathBuf};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

use crate::store::{Mistake, read_bounded};
use crate::yaml::{Message, quoted};

/// Largest file with certificates, in bytes: several times what a system trusts in all.
const MAX_FILE_BYTES: u64 = 4 << 20;

const CA: &str = "otlp.tls_ca_file";
const CERT: &str = "otlp.tls_cert_file";
const KEY: &str = "otlp.tls_key_file";

/// The files that settings name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Certificates of authorities that sign collectors; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate to show, and those that lead to it.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// What an encrypted connection is opened with, in the two forms that two libraries take.
pub(super) struct Tls {
    pub(super) config: ClientConfig,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that cannot be used, and why.
    pub(super) fn load(&self) -> Result<Tls, Vec<Mistake>> {
        let ca = self.ca.as_deref().map(|path| read(CA, path)).transpose()?;
        let roots = roots(self.ca.as_deref(), ca.as_deref())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what the protocol needs")
            .with_root_certificates(roots);
        let (config, pair) = match (&self.cert, &self.key) {
            (None, None) => (builder.with_no_client_auth(), None),
            (Some(cert), Some(key)) => {
                let pair = (read(CERT, cert)?, read(KEY, key)?);
                let chain = certificates(CERT, cert, &pair.0)?;
                // What the reader says of a key is left out: it is about the key.
                let key = PrivateKeyDer::from_pem_slice(&pair.1)
                    .map_err(|_| mistake(KEY, key, "holds no private key in PEM form"))?;
                let config = builder.with_client_auth_cert(chain, key);
                (
                    config.map_err(|error| mistake(CERT, cert, &format!("cannot be used: {error}")))?,
                    Some(pair),
                )
            }
            (Some(_), None) => return Err(missing(CERT, KEY)),
            (None, Some(_)) => return Err(missing(KEY, CERT)),
        };
        Ok(Tls { config, ca, pair })
    }
}

fn roots(path: Option<&Path>, ca: Option<&[u8]>) -> Result<RootCertStore, Vec<Mistake>> {
    let mut roots = RootCertStore::empty();
    let (Some(path), Some(ca)) = (path, ca) else {
        // An endpoint without TLS needs none, and the handshake says what is missing.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in certificates(CA, path, ca)? {
        let added = roots.add(certificate);
        added.map_err(|error| {
            mistake(CA, path, &format!("holds a certificate that cannot be used: {error}"))
        })?;
    }
    Ok(roots)
}

fn certificates(
    setting: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Vec<Mistake>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let read = read.map_err(|error| mistake(setting, path, &format!("cannot be read: {error}")))?;
    if read.is_empty() { Err(mistake(setting, path, "holds no certificate in PEM form")) } else { Ok(read) }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Vec<Mistake>> {
    read_bounded(path, MAX_FILE_BYTES)
        .map_err(|error| mistake(setting, path, &format!("cannot be read: {error}")))
}

fn missing(setting: &'static str, other: &str) -> Vec<Mistake> {
    vec![Mistake { setting, message: Message::new(format!("`{other}` is missing")) }]
}

fn mistake(setting: &'static str, path: &Path, what: &str) -> Vec<Mistake> {
    let message = Message::new(format!("{} {what}", quoted(&path.display().to_string())));
    vec![Mistake { setting, message }]
}
