//! `envoy/envoy-mtls.yaml`: Envoy and the server know each other by certificates, which change under load.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::load::Load;
use super::with_replaced;
use crate::support::{Authority, Envoy, Fluxlimit, Issued, Mount, RuleDirectory, eventually};
use crate::tls::{ENVOY, connect_to, files, trusting};

/// So high that it refuses nobody, and yet asked about each request.
const RULES: &str = "domain: edge
descriptors:
- key: action
  value: login
  descriptors:
  - key: remote_address
    rate_limit: { unit: year, requests_per_unit: 4000000000 }
";

/// The name of the server.
const SERVER: &str = "fluxlimit.example.com";

/// Starts the sample, whose certificates are in `certs`, in front of `server`. Its own secrets end with the result.
pub(crate) async fn start_the_sample(server: &Fluxlimit, certs: &Path) -> (Envoy, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let certs = certs.to_str().expect("test paths are UTF-8");
    for name in ["certificate.yaml", "authority.yaml"] {
        let path = format!("envoy/mtls/{name}");
        let text = std::fs::read_to_string(super::in_the_repository(&path)).expect("it is there");
        let text =
            text.replace("certs/", &format!("{certs}/")).replace("path: certs", &format!("path: {certs}"));
        std::fs::write(directory.path().join(name), text).expect("the directory can be written");
    }
    let secrets = format!("{}/", directory.path().display());
    let text = with_replaced(
        "envoy/envoy-mtls.yaml",
        &[
            ("port_value: 10000", "port_value: 0"),
            ("port_value: 9901", "port_value: 0"),
            ("port_value: 8081", &format!("port_value: {}", server.grpc.port())),
            ("path: envoy/mtls/certificate.yaml", &format!("path: {secrets}certificate.yaml")),
            ("path: envoy/mtls/authority.yaml", &format!("path: {secrets}authority.yaml")),
            // Many connections, or the new certificates would not be used.
            ("max_connection_duration: 3600s", "max_requests_per_connection: 20"),
            // They suit production, not the busiest moment of a test run.
            ("timeout: 0.1s", "timeout: 10s"),
            ("- timeout: 1s", "- timeout: 10s"),
            ("connect_timeout: 1s", "connect_timeout: 10s"),
        ],
    );
    (Envoy::start(&text).await, directory)
}

/// The files of Envoy.
fn of_envoy<'a>(pair: &'a Issued, authorities: &'a str) -> [(&'static str, &'a str); 3] {
    [("envoy.pem", &pair.cert), ("envoy.key", &pair.key), ("ca.pem", authorities)]
}

/// Everything that has certificates.
struct Both {
    server: Fluxlimit,
    of_server: Mount,
    envoy: Envoy,
    of_envoy: Mount,
    _rules: RuleDirectory,
    _secrets: TempDir,
}

impl Both {
    async fn start(authority: &Authority) -> Self {
        let of_server = Mount::with(&files(&authority.issue(&[SERVER]), &authority.pem));
        let of_envoy = Mount::with(&of_envoy(&authority.issue(&[ENVOY]), &authority.pem));
        let rules = RuleDirectory::with(RULES);
        let server = Fluxlimit::with_rules_at(rules.path())
            .setting("GRPC_TLS__CERT_FILE", &of_server.path("tls.crt"))
            .setting("GRPC_TLS__KEY_FILE", &of_server.path("tls.key"))
            .setting("GRPC_TLS__CLIENT_CA_FILE", &of_server.path("ca.crt"))
            .setting("GRPC_TLS__CLIENT_SANS", ENVOY)
            .start()
            .await;
        let (envoy, secrets) = start_the_sample(&server, &of_envoy.file("")).await;
        Self { server, of_server, envoy, of_envoy, _rules: rules, _secrets: secrets }
    }

    /// Gives the server these files, and waits until it uses them.
    async fn give_server(&self, pair: &Issued, authorities: &str) {
        let series = "fluxlimit_tls_reloads_total{listener=\"grpc\",result=\"success\"}";
        let before = self.server.metric(series).await;
        self.of_server.swap(&files(pair, authorities));
        eventually("the server to use them", async || {
            (self.server.metric(series).await > before).then_some(())
        })
        .await;
    }

    /// The same for Envoy.
    async fn give_envoy(&self, pair: &Issued, authorities: &str) {
        let before = self.envoy.secrets_so_far().await;
        self.of_envoy.swap(&of_envoy(pair, authorities));
        eventually("Envoy to use them", async || (self.envoy.secrets_so_far().await > before).then_some(()))
            .await;
    }

    /// How many hands were shaken.
    async fn handshakes(&self) -> u64 {
        let series = "fluxlimit_tls_handshakes_total{listener=\"grpc\",result=\"ok\"}";
        self.server.metric(series).await.expect("it is shown")
    }

    /// Waits for answers, and for connections that began meanwhile.
    async fn answers(&self, load: &Load) {
        let before = self.handshakes().await;
        load.more(500).await;
        assert!(self.handshakes().await > before + 5);
    }
}

#[tokio::test]
async fn certificates_and_authorities_that_change_under_load_fail_no_request() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let both = Both::start(&old).await;
    let overlap = format!("{}{}", old.pem, new.pem);
    let in_one_thread = tokio::task::LocalSet::new();
    let changing = async {
        let load = Load::start(both.envoy.address, "/login");
        both.answers(&load).await;
        // Certificates of the same authority.
        let (server, envoy) = (old.issue(&[SERVER]), old.issue(&[ENVOY]));
        both.give_server(&server, &old.pem).await;
        both.give_envoy(&envoy, &old.pem).await;
        both.answers(&load).await;
        // Another authority: first both are trusted on both sides, then it signs, then only it is trusted.
        both.give_server(&server, &overlap).await;
        both.give_envoy(&envoy, &overlap).await;
        both.answers(&load).await;
        let (server, envoy) = (new.issue(&[SERVER]), new.issue(&[ENVOY]));
        both.give_server(&server, &overlap).await;
        both.give_envoy(&envoy, &overlap).await;
        both.answers(&load).await;
        both.give_server(&server, &new.pem).await;
        both.give_envoy(&envoy, &new.pem).await;
        both.answers(&load).await;
        load.stop().await
    };
    in_one_thread.run_until(changing).await;
    // Nobody gets in with what was good before.
    let left = TlsConnector::from(Arc::new(trusting(&new.pem, Some(&old.issue(&[ENVOY])))));
    let address = both.server.grpc;
    assert!(connect_to(&left, SERVER, address).await.is_err());
    let right = TlsConnector::from(Arc::new(trusting(&new.pem, Some(&new.issue(&[ENVOY])))));
    connect_to(&right, SERVER, address).await.unwrap();
}

#[tokio::test]
async fn an_envoy_whose_name_is_not_on_the_list_is_not_answered() {
    let authority = Authority::new("one");
    let mut both = Both::start(&authority).await;
    assert_eq!(both.envoy.get("/login", &[]).await.status, 200);
    both.give_envoy(&authority.issue(&["spiffe://example.com/ns/edge/sa/other"]), &authority.pem).await;
    // The connection that is open goes on; the next one is refused.
    let envoy = &mut both.envoy;
    eventually("a failure", async || (envoy.get("/login", &[]).await.status == 500).then_some(())).await;
    both.server.process.output_with("its name", |log| log.contains("ns/edge/sa/other").then_some(())).await;
}

#[tokio::test]
async fn an_envoy_does_not_ask_a_server_with_another_name() {
    let authority = Authority::new("one");
    let mut both = Both::start(&authority).await;
    both.give_server(&authority.issue(&["elsewhere.example.com"]), &authority.pem).await;
    let envoy = &mut both.envoy;
    eventually("a failure", async || (envoy.get("/login", &[]).await.status == 500).then_some(())).await;
    let series = "fluxlimit_tls_handshakes_total{listener=\"grpc\",result=\"refused_by_client\"}";
    assert!(both.server.metric(series).await > Some(0));
}
