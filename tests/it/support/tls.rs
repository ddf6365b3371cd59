//! Certificates for servers that a test starts, in files that end with the test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority, a certificate of a server that it has signed, and one of a client.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// For a server at `address`.
    pub(crate) fn of(address: IpAddr) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = Self { directory };
        let mut params = CertificateParams::new([]).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(made.ca(), certificate.pem()).expect("the directory can be written");
        let authority = Issuer::new(params, key);
        for name in [address.to_string(), "client".to_owned()] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new([name.clone()]).expect("a good name");
            // OpenSSL takes a certificate with its authority's name for the authority's own.
            params.distinguished_name.push(DnType::CommonName, name.as_str());
            let certificate = params.signed_by(&key, &authority).expect("a certificate");
            let (cert_file, key_file) = if name == "client" { made.client() } else { made.server() };
            std::fs::write(cert_file, certificate.pem()).expect("the directory can be written");
            std::fs::write(key_file, key.serialize_pem()).expect("the directory can be written");
        }
        made
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The server's certificate and key.
    pub(crate) fn server(&self) -> (PathBuf, PathBuf) {
        self.pair("server")
    }

    /// The client's certificate and key.
    pub(crate) fn client(&self) -> (PathBuf, PathBuf) {
        self.pair("client")
    }

    /// The options with which a Redis listens with TLS on `port` and nowhere else, and asks its clients for
    /// certificates or not.
    pub(crate) fn redis_options(&self, port: u16, asks_clients: bool) -> Vec<String> {
        let (cert, key) = self.server();
        let asks = if asks_clients { "yes" } else { "no" };
        let (port, shown) = (port.to_string(), |path: &Path| path.display().to_string());
        let options = [
            ("--port", "0".to_owned()),
            ("--tls-port", port),
            ("--tls-ca-cert-file", shown(&self.ca())),
            ("--tls-cert-file", shown(&cert)),
            ("--tls-key-file", shown(&key)),
            ("--tls-auth-clients", asks.to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = |what: &str| self.directory.path().join(format!("{name}-{what}.pem"));
        (file("cert"), file("key"))
    }
}
