//! How connections to a collector are encrypted: read and checked at the start.

use std::path::PathBuf;

use rustls::{ClientConfig, RootCertStore};

use crate::store::Mistake;
use crate::store::pem::{self, Named, Pair};

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
        let (shown, pair) = match pair {
            None => (None, None),
            Some(Pair { chain, key, chain_text, key_text }) => {
                (Some((chain, key)), Some((chain_text, key_text)))
            }
        };
        let config = pem::client(roots, shown, CERT).map_err(|mistake| vec![mistake])?;
        Ok(Tls { config, ca, pair })
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
