//! Who may connect and who may not.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ENVOY, GREETING, Site, connect, trusting};
use crate::support::{Authority, Client, Issued};

#[tokio::test]
async fn a_client_with_one_of_the_names_is_answered() {
    let site = Site::start(&[("GRPC_TLS__CLIENT_SANS", &format!("{ENVOY}, *.edge.example.com"))]).await;
    for names in [&[ENVOY][..], &["a.edge.example.com"], &["unknown.example.com", "10.0.0.1", ENVOY]] {
        let pair = site.authority.issue(names);
        let stream = connect(&site.client(Some(&pair)), site.server.grpc).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
    site.counts("ok", 3).await;
}

#[tokio::test]
async fn without_names_every_client_of_the_authority_is_answered() {
    let site = Site::start(&[]).await;
    let pair = site.authority.issue(&[]);
    connect(&site.client(Some(&pair)), site.server.grpc).await.unwrap();
}

/// Holds that a client that shows `pair` is refused, counted as `result`, and logged with `reason`.
async fn check_refused(site: &mut Site, pair: Option<&Issued>, result: &str, reason: &str) {
    let before = site.counted(result).await;
    let refused = connect(&site.client(pair), site.server.grpc).await.unwrap_err();
    assert!(refused.to_string().contains("alert"), "{refused}");
    site.counts(result, before + 1).await;
    site.server
        .process
        .output_with(reason, |log| {
            log.lines().find(|line| line.contains("handshake failed") && line.contains(reason)).map(drop)
        })
        .await;
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_refused_counted_and_logged() {
    let mut site = Site::start(&[]).await;
    check_refused(&mut site, None, "bad_certificate", "peer sent no certificates").await;
    // The log has one line of a kind a second, so each of the others has a server of its own.
    let mut site = Site::start(&[]).await;
    let stranger = Authority::new("another").issue(&[ENVOY]);
    check_refused(&mut site, Some(&stranger), "bad_certificate", "UnknownIssuer").await;
    let mut site = Site::start(&[]).await;
    let expired = site.authority.issue_expired(&[ENVOY]);
    check_refused(&mut site, Some(&expired), "bad_certificate", "certificate expired").await;
    assert_eq!(site.counted("ok").await, 0);
}

#[tokio::test]
async fn a_client_with_another_name_is_refused_and_its_names_are_logged() {
    let mut site = Site::start(&[("GRPC_TLS__CLIENT_SANS", ENVOY)]).await;
    let other = site.authority.issue(&["spiffe://example.com/ns/edge/sa/other", "other.example.com"]);
    let told = "none of its names may connect: other.example.com, spiffe://example.com/ns/edge/sa/other";
    check_refused(&mut site, Some(&other), "not_allowed", told).await;
    let mut site = Site::start(&[("GRPC_TLS__CLIENT_SANS", ENVOY)]).await;
    let nameless = site.authority.issue(&[]);
    check_refused(&mut site, Some(&nameless), "not_allowed", "it has none").await;
}

#[tokio::test]
async fn a_client_that_refuses_the_server_is_counted_and_logged() {
    let mut site = Site::start(&[]).await;
    let elsewhere = Authority::new("another");
    let client = TlsConnector::from(Arc::new(trusting(&elsewhere.pem, None)));
    connect(&client, site.server.grpc).await.unwrap_err();
    site.server
        .process
        .output_with("the alert", |log| log.contains("received fatal alert").then_some(()))
        .await;
    site.counts("refused_by_client", 1).await;
}

/// Whether OpenSSL shakes hands with this version of TLS. It speaks the old ones only at its lowest level.
fn openssl_connects(site: &Site, version: &str) -> bool {
    let pair = site.authority.issue(&[ENVOY]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.pem");
    std::fs::write(&file, format!("{}{}", pair.cert, pair.key)).unwrap();
    let output = Command::new("openssl")
        .args(["s_client", version, "-cipher", "DEFAULT@SECLEVEL=0", "-alpn", "h2", "-connect"])
        .arg(site.server.grpc.to_string())
        .arg("-cert")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("OpenSSL can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    told.contains("Cipher is") && !told.contains("Cipher is (NONE)")
}

#[tokio::test]
async fn versions_below_the_least_are_refused() {
    let site = Site::start(&[]).await;
    assert!(!openssl_connects(&site, "-tls1"));
    assert!(!openssl_connects(&site, "-tls1_1"));
    site.counts("incompatible", 2).await;
    assert!(openssl_connects(&site, "-tls1_2"));
    assert!(openssl_connects(&site, "-tls1_3"));
    let site = Site::start(&[("GRPC_TLS__MIN_VERSION", "1.3")]).await;
    assert!(!openssl_connects(&site, "-tls1_2"));
    site.counts("incompatible", 1).await;
    assert!(openssl_connects(&site, "-tls1_3"));
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let site = Site::start(&[]).await;
    let pair = site.authority.issue(&[ENVOY]);
    let mut config: ClientConfig = trusting(&site.authority.pem, Some(&pair));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    connect(&TlsConnector::from(Arc::new(config)), site.server.grpc).await.unwrap_err();
    site.counts("incompatible", 1).await;
}

/// What the server answers to these bytes, up to the end of the connection.
async fn answer(site: &Site, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(site.server.grpc).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    answer
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_told_and_closed() {
    let site = Site::start(&[]).await;
    for bytes in [GREETING, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(site.server.grpc).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", text.len())), "{head}");
        assert_eq!(text, "this port speaks TLS\r\n");
    }
    assert_eq!(answer(&site, b"\0\0\0").await, b"");
    site.counts("not_tls", 3).await;
    // One that begins as TLS does, and goes on otherwise.
    answer(&site, b"\x16\x03\x01\x00\x05hello").await;
    site.counts("broken", 1).await;
    assert_eq!(site.counted("ok").await, 0);
}

#[tokio::test]
async fn http_is_protected_as_well() {
    let site = Site::start(&[]).await;
    let pair = site.authority.issue(&["127.0.0.1"]);
    let mount = crate::support::Mount::with(&[("cert.pem", &pair.cert), ("key.pem", &pair.key)]);
    let rules = crate::support::RuleDirectory::with(super::RULES);
    let server = crate::support::Fluxlimit::with_rules_at(rules.path())
        .setting("HTTP_TLS__CERT_FILE", &mount.path("cert.pem"))
        .setting("HTTP_TLS__KEY_FILE", &mount.path("key.pem"))
        .start()
        .await;
    let mut config = trusting(&site.authority.pem, None);
    config.alpn_protocols.clear();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(server.http).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(page.contains("fluxlimit_tls_handshakes_total{listener=\"http\",result=\"ok\"} 1"), "{page}");
    assert!(!page.contains("fluxlimit_tls_handshakes_total{listener=\"grpc\""), "{page}");
    assert_eq!(Client::new(server.http).get("/ready", &[]).await.unwrap().status, 400);
}
