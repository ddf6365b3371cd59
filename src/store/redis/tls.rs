//! How connections to a Redis are encrypted: read and checked once at the start.
//!
//! Certificates of servers are always checked; there is no way to leave that out, because a rate limiter that
//! can be spoken for by anybody limits nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::store::Mistake;
use crate::store::pem::{self, Named, Pair};
use crate::yaml::Message;

const CA: &str = "redis.tls_ca_file";
const CERT: &str = "redis.tls_cert_file";
const KEY: &str = "redis.tls_key_file";

/// The files that settings name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Certificates of authorities that sign servers; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate to show, and those that lead to it.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// What TLS connections are opened with.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<ClientConfig>,
    certificates: redis::TlsCertificates,
}

impl TlsFiles {
    /// The settings that name a file, and the file.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [(CA, &self.ca), (CERT, &self.cert), (KEY, &self.key)]
            .into_iter()
            .filter_map(|(setting, path)| Some((setting, path.as_deref()?)))
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Every file that cannot be used, and why.
    pub fn load(&self) -> Result<Tls, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let roots = self.roots(&mut mistakes);
        let pair = self.pair(&mut mistakes);
        let Some((roots, root_cert)) = roots.filter(|_| mistakes.is_empty()) else { return Err(mistakes) };
        let (shown, client_tls) = match pair {
            None => (None, None),
            Some(Pair { chain, key, chain_text, key_text }) => {
                let pem = redis::ClientTlsConfig { client_cert: chain_text, client_key: key_text };
                (Some((chain, key)), Some(pem))
            }
        };
        let config = pem::client(roots, shown, CERT).map_err(|mistake| vec![mistake])?;
        let certificates = redis::TlsCertificates { client_tls, root_cert };
        Ok(Tls { files: self.clone(), config: Arc::new(config), certificates })
    }

    fn roots(&self, mistakes: &mut Vec<Mistake>) -> Option<(RootCertStore, Option<Vec<u8>>)> {
        let Some(path) = &self.ca else {
            let roots = pem::system_authorities();
            if roots.is_empty() {
                let message = Message::new("the system trusts no certificate authority");
                mistakes.push(Mistake { setting: CA, message: message.expected("a file with certificates") });
                return None;
            }
            return Some((roots, None));
        };
        let (text, certificates) = pem::certificates(CA, path, mistakes)?;
        Some((pem::authorities(CA, path, &certificates, mistakes)?, Some(text)))
    }

    fn pair(&self, mistakes: &mut Vec<Mistake>) -> Option<Pair> {
        let cert = Named { setting: CERT, path: self.cert.as_deref() };
        let key = Named { setting: KEY, path: self.key.as_deref() };
        pem::pair(cert, key, "holds no private key in PEM form", mistakes)
    }
}

impl Tls {
    /// What a handshake begins with.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The same in the form in which the cluster client takes it.
    #[must_use]
    pub fn certificates(&self) -> redis::TlsCertificates {
        self.certificates.clone()
    }
}

/// Whether both were read from the same files.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    fn mistakes(files: &TlsFiles) -> Vec<(&'static str, String)> {
        let found = files.load().expect_err("something is wrong");
        found.into_iter().map(|mistake| (mistake.setting, mistake.message.statement)).collect()
    }

    #[test]
    fn certificates_that_go_together_load_and_are_not_shown() {
        let directory = Directory(tempfile::tempdir().unwrap());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = TlsFiles {
            ca: Some(directory.file("ca.pem", &cert)),
            cert: Some(directory.file("cert.pem", &cert)),
            key: Some(directory.file("key.pem", &key)),
        };
        let tls = files.load().unwrap();
        assert!(!format!("{tls:?}").contains("PRIVATE"));
        assert!(tls.certificates().client_tls.is_some());
    }

    #[test]
    fn each_file_that_cannot_be_used_is_named_with_the_reason() {
        let directory = Directory(tempfile::tempdir().unwrap());
        let files = TlsFiles {
            ca: Some(directory.0.path().join("nothing.pem")),
            cert: Some(directory.file("empty.pem", "")),
            key: Some(directory.file("key.pem", "hunter2")),
        };
        let found = mistakes(&files);
        let said: Vec<(&str, bool)> =
            found.iter().map(|(setting, said)| (*setting, said.contains(".pem`"))).collect();
        assert_eq!(said, [(CA, true), (CERT, true), (KEY, true)]);
        assert!(found[0].1.contains("cannot be read: No such file"), "{found:?}");
        assert!(found[1].1.ends_with("holds no certificate in PEM form"), "{found:?}");
        assert!(found[2].1.ends_with("holds no private key in PEM form"), "{found:?}");
    }

    #[test]
    fn a_key_of_another_certificate_and_half_a_pair_are_mistakes() {
        let directory = Directory(tempfile::tempdir().unwrap());
        let [made, other] =
            ["a", "b"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
        let ca = Some(directory.file("ca.pem", &made.cert.pem()));
        let cert = Some(directory.file("cert.pem", &made.cert.pem()));
        let key = Some(directory.file("key.pem", &other.signing_key.serialize_pem()));
        let strangers = TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() };
        assert!(mistakes(&strangers)[0].1.contains("cannot be used"));
        let half = TlsFiles { ca: ca.clone(), cert, key: None };
        assert_eq!(mistakes(&half), [(CERT, "`redis.tls_key_file` is missing".to_owned())]);
        let half = TlsFiles { ca, cert: None, key };
        assert_eq!(mistakes(&half), [(KEY, "`redis.tls_cert_file` is missing".to_owned())]);
    }
}
