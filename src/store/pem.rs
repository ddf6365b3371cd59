//! Certificates and keys in files that settings name, whoever is reached with them.
//!
//! What cannot be used is collected, so that one start tells everything that is wrong.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Mistake;
use super::files::read_bounded;
use crate::yaml::{Message, quoted};

/// Largest file with certificates or a key, in bytes: several times what a system trusts in all.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A setting that names a file, and the file if it is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) setting: &'static str,
    pub(crate) path: Option<&'a Path>,
}

/// A certificate to show, with those that lead to its authority, and its key; and what stands in their files.
pub(crate) struct Pair {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) chain_text: Vec<u8>,
    pub(crate) key_text: Vec<u8>,
}

/// What is wrong with the file that `setting` names.
pub(crate) fn mistake(setting: &'static str, path: &Path, what: &str) -> Mistake {
    Mistake { setting, message: Message::new(format!("{} {what}", quoted(&path.display().to_string()))) }
}

/// What stands in a file and the certificates in it, at least one.
pub(crate) fn certificates(
    setting: &'static str,
    path: &Path,
    mistakes: &mut Vec<Mistake>,
) -> Option<(Vec<u8>, Vec<CertificateDer<'static>>)> {
    let text = read(setting, path, mistakes)?;
    let what = match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => return Some((text, certificates)),
        Ok(_) => "holds no certificate in PEM form".to_owned(),
        Err(error) => format!("holds what is no certificate in PEM form: {error}"),
    };
    mistakes.push(mistake(setting, path, &what));
    None
}

/// The authorities that `certificates`, from that file, are of.
pub(crate) fn authorities(
    setting: &'static str,
    path: &Path,
    certificates: &[CertificateDer<'static>],
    mistakes: &mut Vec<Mistake>,
) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        if let Err(error) = roots.add(certificate.clone()) {
            let what = format!("holds a certificate that cannot be used: {error}");
            mistakes.push(mistake(setting, path, &what));
            return None;
        }
    }
    Some(roots)
}

/// The authorities that the system trusts. Those that cannot be read are missed by whoever needs them: the
/// handshake says so.
pub(crate) fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The certificate and the key in these files, if both are named; `no_key` says what a file without a key is.
pub(crate) fn pair(
    cert: Named<'_>,
    key: Named<'_>,
    no_key: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<Pair> {
    let missing = |of: Named<'_>, other: Named<'_>| Mistake {
        setting: of.setting,
        message: Message::new(format!("`{}` is missing", other.setting)),
    };
    let (cert_path, key_path) = match (cert.path, key.path) {
        (None, None) => return None,
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            mistakes.push(missing(cert, key));
            return None;
        }
        (None, Some(_)) => {
            mistakes.push(missing(key, cert));
            return None;
        }
    };
    let chain = certificates(cert.setting, cert_path, mistakes);
    let key_text = read(key.setting, key_path, mistakes)?;
    // What the reader says of a key is left out: it is about the key.
    let Ok(read_key) = PrivateKeyDer::from_pem_slice(&key_text) else {
        mistakes.push(mistake(key.setting, key_path, no_key));
        return None;
    };
    let (chain_text, chain) = chain?;
    Some(Pair { chain, key: read_key, chain_text, key_text })
}

/// What connections are opened with that trust `roots` and show `pair`, whose certificate `cert_setting` names.
pub(crate) fn client(
    roots: RootCertStore,
    pair: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    cert_setting: &'static str,
) -> Result<ClientConfig, Mistake> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has what the protocol needs")
        .with_root_certificates(roots);
    let Some((chain, key)) = pair else { return Ok(builder.with_no_client_auth()) };
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let message = Message::new(format!("the certificate and its key cannot be used: {error}"));
        Mistake { setting: cert_setting, message }
    })
}

/// What stands in a file.
pub(crate) fn read(setting: &'static str, path: &Path, mistakes: &mut Vec<Mistake>) -> Option<Vec<u8>> {
    read_bounded(path, MAX_FILE_BYTES)
        .map_err(|error| mistakes.push(mistake(setting, path, &format!("cannot be read: {error}"))))
        .ok()
}
