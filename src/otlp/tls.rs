//! How connections to a collector are encrypted: read and checked at the start.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::store::Mistake;
use crate::store::pem::{self, Named, Pair};
use crate::yaml::Message;

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
    /// Reads the files. What the system trusts is read only where it `is_needed`, for it takes a while.
    ///
    /// # Errors
    /// Every file that cannot be used, and why.
    pub(super) fn load(&self, is_needed: bool) -> Result<Tls, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let roots = self.roots(is_needed, &mut mistakes);
        let cert = Named { setting: CERT, path: self.cert.as_deref() };
        let key = Named { setting: KEY, path: self.key.as_deref() };
        let pair = pem::pair(cert, key, "holds no private key in PEM form", &mut mistakes);
        let Some((roots, ca)) = roots.filter(|_| mistakes.is_empty()) else { return Err(mistakes) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what the protocol needs")
            .with_root_certificates(roots);
        let Some(Pair { chain, key, chain_text, key_text }) = pair else {
            return Ok(Tls { config: builder.with_no_client_auth(), ca, pair: None });
        };
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
            let message = Message::new(format!("the certificate and its key cannot be used: {error}"));
            vec![Mistake { setting: CERT, message }]
        })?;
        Ok(Tls { config, ca, pair: Some((chain_text, key_text)) })
    }

    fn roots(
        &self,
        is_needed: bool,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<(RootCertStore, Option<Vec<u8>>)> {
        let Some(path) = &self.ca else {
            let roots = if is_needed { pem::system_authorities() } else { RootCertStore::empty() };
            return Some((roots, None));
        };
        let (text, certificates) = pem::certificates(CA, path, mistakes)?;
        Some((pem::authorities(CA, path, &certificates, mistakes)?, Some(text)))
    }
}
