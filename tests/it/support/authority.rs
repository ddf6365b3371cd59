//! Certificates for both sides of a listener that knows its clients, and directories in which they change as in
//! Kubernetes.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Somebody who signs certificates.
pub(crate) struct Authority {
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new one, called `name`.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these names: addresses, names of DNS, and URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.sign(&params(names))
    }

    /// The same, expired long ago.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Issued {
        let mut params = params(names);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { cert, key: key.serialize_pem() }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let (uris, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
    let others: Vec<String> = others.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(others).expect("good names");
    // OpenSSL takes a certificate with its authority's name for the authority's own.
    params.distinguished_name.push(DnType::CommonName, "of a test");
    for uri in uris {
        params.subject_alt_names.push(SanType::URI(uri.try_into().expect("ASCII")));
    }
    params
}

/// A directory that changes as Kubernetes changes a mounted Secret: all files at once, by one symbolic link.
#[derive(Debug)]
pub(crate) struct Mount {
    directory: TempDir,
}

impl Mount {
    /// A directory with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let mount = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        mount.swap(files);
        for (name, _) in files {
            let link = Path::new("..data").join(name);
            std::os::unix::fs::symlink(link, mount.file(name)).expect("the directory can be written");
        }
        mount
    }

    /// Puts these files, whose names are those of the first ones, in the place of what is there.
    pub(crate) fn swap(&self, files: &[(&str, &str)]) {
        let at = tempfile::Builder::new().prefix("..").tempdir_in(self.directory.path());
        let at = at.expect("the directory can be written").keep();
        for (name, text) in files {
            std::fs::write(at.join(name), text).expect("the directory can be written");
        }
        let link = self.file("..data_tmp");
        std::os::unix::fs::symlink(at.file_name().expect("it has a name"), &link).expect("as above");
        std::fs::rename(&link, self.file("..data")).expect("as above");
    }

    /// Where a file of that name is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The same as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}
