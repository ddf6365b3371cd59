//! Listeners that speak TLS: who may connect, and certificates that change.

mod changes;
mod command;
mod handshakes;
mod places;
mod start;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Authority, Fluxlimit, Issued, Mount, RuleDirectory, eventually};

pub(crate) const RULES: &str =
    "domain: edge\ndescriptors:\n- key: user\n  rate_limit: {unit: year, requests_per_unit: 5}\n";

/// The name of the client that may connect, unless a test says otherwise.
pub(crate) const ENVOY: &str = "spiffe://example.com/ns/edge/sa/envoy";

/// How HTTP/2 begins: the preface, and a frame without a setting.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What stands in a mounted directory: a server's pair and the authorities of its clients.
pub(crate) fn files<'a>(server: &'a Issued, clients: &'a str) -> [(&'static str, &'a str); 3] {
    [("tls.crt", server.cert.as_str()), ("tls.key", server.key.as_str()), ("ca.crt", clients)]
}

/// A server whose gRPC listener knows its clients by an authority.
pub(crate) struct Site {
    pub(crate) server: Fluxlimit,
    mount: Mount,
    authority: Authority,
    _rules: RuleDirectory,
}

impl Site {
    /// With these settings besides those of the files.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let authority = Authority::new("one");
        let mount = Mount::with(&files(&authority.issue(&["127.0.0.1"]), &authority.pem));
        let rules = RuleDirectory::with(RULES);
        let mut setup = Fluxlimit::with_rules_at(rules.path())
            .setting("GRPC_TLS__CERT_FILE", &mount.path("tls.crt"))
            .setting("GRPC_TLS__KEY_FILE", &mount.path("tls.key"))
            .setting("GRPC_TLS__CLIENT_CA_FILE", &mount.path("ca.crt"));
        for (name, value) in settings {
            setup = setup.setting(name, value);
        }
        Self { server: setup.start().await, mount, authority, _rules: rules }
    }

    /// A client of the server's authority that shows `pair`.
    fn client(&self, pair: Option<&Issued>) -> TlsConnector {
        TlsConnector::from(Arc::new(trusting(&self.authority.pem, pair)))
    }

    /// Waits until so many handshakes have ended so: who is refused may know it before it is counted.
    async fn counts(&self, result: &str, count: u64) {
        let what = format!("{count} handshakes {result}");
        eventually(&what, async || (self.counted(result).await == count).then_some(())).await;
    }

    async fn counted(&self, result: &str) -> u64 {
        let series = format!("fluxlimit_tls_handshakes_total{{listener=\"grpc\",result=\"{result}\"}}");
        self.server.metric(&series).await.expect("the series is there")
    }
}

/// A client that trusts the authorities in `roots`, and shows `pair`.
pub(crate) fn trusting(roots: &str, pair: Option<&Issued>) -> ClientConfig {
    speaking(rustls::ALL_VERSIONS, roots, pair)
}

/// The same of some versions of TLS.
fn speaking(
    versions: &[&'static SupportedProtocolVersion],
    roots: &str,
    pair: Option<&Issued>,
) -> ClientConfig {
    let mut trusted = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        trusted.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(trusted);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(Issued { cert, key }) => {
            let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Shakes hands and greets: with TLS 1.3, only an answer says that the client was accepted.
pub(crate) async fn connect_to(
    client: &TlsConnector,
    name: &'static str,
    address: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = client.connect(ServerName::try_from(name).unwrap(), stream).await?;
    stream.write_all(GREETING).await?;
    // The head of the server's own settings.
    stream.read_exact(&mut [0; 9]).await?;
    Ok(stream)
}

/// The same with a server whose certificate is for its address.
async fn connect(client: &TlsConnector, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    connect_to(client, "127.0.0.1", address).await
}
