//! Certificates that change while the server runs.

use std::sync::Arc;

use rustls::HandshakeKind;
use tokio_rustls::TlsConnector;

use super::{ENVOY, Site, connect, files, speaking, trusting};
use crate::support::{Authority, Fluxlimit, Issued, Mount, RuleDirectory, Signal, eventually};

const FAILED: &str = "fluxlimit_tls_reload_failed{listener=\"grpc\"}";
const RELOADED: &str = "fluxlimit_tls_reloads_total{listener=\"grpc\",result=\"success\"}";
const NOT_RELOADED: &str = "fluxlimit_tls_reloads_total{listener=\"grpc\",result=\"error\"}";
const EXPIRY: &str = "fluxlimit_tls_certificate_expiry_timestamp_seconds{listener=\"grpc\"}";

/// No reading but for a change that was noticed, or a signal.
const UNPOLLED: (&str, &str) = ("RELOAD__POLL_MS", "3600000");

async fn shows(server: &Fluxlimit, series: &str, value: u64) {
    eventually(&format!("{series} {value}"), async || {
        (server.metric(series).await == Some(value)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_swapped_directory_counts_for_new_connections_and_open_ones_go_on() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let site = Site::start(&[UNPOLLED]).await;
    let pair = site.authority.issue(&[ENVOY]);
    let old = site.client(Some(&pair));
    let mut open = connect(&old, site.server.grpc).await.unwrap();
    let other = Authority::new("two");
    site.mount.swap(&files(&other.issue(&["127.0.0.1"]), &format!("{}{}", site.authority.pem, other.pem)));
    let new = TlsConnector::from(Arc::new(trusting(&other.pem, Some(&pair))));
    eventually("the other certificate", async || connect(&new, site.server.grpc).await.ok()).await;
    // The new authority of clients is known, and the old one still.
    let newer = TlsConnector::from(Arc::new(trusting(&other.pem, Some(&other.issue(&[ENVOY])))));
    connect(&newer, site.server.grpc).await.unwrap();
    connect(&old, site.server.grpc).await.unwrap_err();
    shows(&site.server, RELOADED, 1).await;
    // Of HTTP/2: a ping, and among what comes back its answer.
    open.write_all(b"\0\0\x08\x06\0\0\0\0\0longlife").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\0\0\x08\x06\x01\0\0\0\0longlife") {
        assert_ne!(open.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
}

#[tokio::test]
async fn a_bad_new_certificate_keeps_the_old_one_and_raises_an_alarm_until_a_good_one_comes() {
    let mut site = Site::start(&[UNPOLLED]).await;
    let pair = site.authority.issue(&[ENVOY]);
    let client = site.client(Some(&pair));
    shows(&site.server, FAILED, 0).await;
    let expiry = site.server.metric(EXPIRY).await.expect("it is shown");
    let good = site.authority.issue(&["127.0.0.1"]);
    let expired = site.authority.issue_expired(&["127.0.0.1"]);
    let mismatched = Issued { key: pair.key.clone(), cert: good.cert.clone() };
    let unreadable = Issued { key: good.key.clone(), cert: "-----BEGIN CERTIFICATE-----\n?".to_owned() };
    let ca = site.authority.pem.clone();
    let cases = [
        (&unreadable, ca.as_str(), "tls.crt` holds what is no certificate in PEM form"),
        (&mismatched, ca.as_str(), "tls.crt` and its key cannot be used"),
        (&expired, ca.as_str(), "tls.crt` holds a certificate that expired at 2021-01-01T00:00:00Z"),
        (&good, "", "ca.crt` holds no certificate in PEM form"),
    ];
    for (round, (bad, clients, reason)) in (1..).zip(cases) {
        site.mount.swap(&files(bad, clients));
        site.server
            .process
            .output_with(reason, |log| {
                log.lines().find(|line| line.contains("ERROR") && line.contains(reason)).map(drop)
            })
            .await;
        shows(&site.server, FAILED, 1).await;
        shows(&site.server, NOT_RELOADED, round).await;
        connect(&client, site.server.grpc).await.unwrap();
        assert_eq!(site.server.metric(EXPIRY).await, Some(expiry), "{reason}");
        let better = site.authority.issue(&["127.0.0.1"]);
        site.mount.swap(&files(&better, &ca));
        shows(&site.server, FAILED, 0).await;
        shows(&site.server, RELOADED, round).await;
        connect(&client, site.server.grpc).await.unwrap();
    }
}

#[tokio::test]
async fn the_old_certificate_put_back_ends_the_alarm() {
    let site = Site::start(&[UNPOLLED]).await;
    let read = |name: &str| std::fs::read_to_string(site.mount.file(name)).unwrap();
    let (cert, key, ca) = (read("tls.crt"), read("tls.key"), read("ca.crt"));
    site.mount.swap(&[("tls.crt", "?"), ("tls.key", &key), ("ca.crt", &ca)]);
    shows(&site.server, FAILED, 1).await;
    site.mount.swap(&[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &ca)]);
    shows(&site.server, FAILED, 0).await;
}

#[tokio::test]
async fn a_hangup_reads_certificates_again_and_the_log_says_again_what_is_wrong() {
    let site = Site::start(&[UNPOLLED]).await;
    let key = std::fs::read_to_string(site.mount.file("tls.key")).unwrap();
    site.mount.swap(&[("tls.crt", "?"), ("tls.key", &key), ("ca.crt", "?")]);
    shows(&site.server, NOT_RELOADED, 1).await;
    site.server.process.signal(Signal::HUP);
    shows(&site.server, NOT_RELOADED, 2).await;
    // Rules were read as well.
    shows(&site.server, "fluxlimit_rule_loads_total{result=\"success\"}", 2).await;
}

#[tokio::test]
async fn certificates_that_nobody_tells_of_are_found_by_looking() {
    let site = Site::start(&[("RELOAD__POLL_MS", "100")]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    // A link to a directory that is not watched.
    let other = site.authority.issue(&["127.0.0.1"]);
    for (name, text) in files(&other, &site.authority.pem) {
        std::fs::write(elsewhere.path().join(name), text).unwrap();
    }
    std::fs::remove_file(site.mount.file("..data")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), site.mount.file("..data")).unwrap();
    shows(&site.server, RELOADED, 1).await;
    let next = site.authority.issue(&["127.0.0.1"]);
    for (name, text) in files(&next, &site.authority.pem) {
        std::fs::write(elsewhere.path().join(name), text).unwrap();
    }
    eventually("one more", async || {
        site.server.metric(RELOADED).await.filter(|count| *count >= 2)?;
        site.server.metric(FAILED).await.filter(|failed| *failed == 0)
    })
    .await;
}

/// How hands were shaken; `None` if they were not.
async fn kind(client: &TlsConnector, site: &Site) -> Option<HandshakeKind> {
    let stream = connect(client, site.server.grpc).await.ok()?;
    stream.get_ref().1.handshake_kind()
}

#[tokio::test]
async fn a_client_taken_off_the_list_cannot_resume_its_session() {
    let names = Mount::with(&[("names", ENVOY)]);
    let site = Site::start(&[UNPOLLED, ("GRPC_TLS__CLIENT_SANS_FILE", &names.path("names"))]).await;
    let pair = site.authority.issue(&[ENVOY]);
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        // One client for all of its connections, which keeps what it is given to resume sessions with.
        let config = speaking(versions, &site.authority.pem, Some(&pair));
        let client = TlsConnector::from(Arc::new(config));
        assert_eq!(kind(&client, &site).await, Some(HandshakeKind::Full), "{versions:?}");
        assert_eq!(kind(&client, &site).await, Some(HandshakeKind::Full), "{versions:?}");
        names.swap(&[("names", "somebody.else")]);
        eventually("to be refused", async || connect(&client, site.server.grpc).await.err()).await;
        assert_eq!(kind(&client, &site).await, None, "{versions:?}");
        names.swap(&[("names", ENVOY)]);
        eventually("to be let in again", async || connect(&client, site.server.grpc).await.ok()).await;
    }
}

#[tokio::test]
async fn where_clients_are_not_known_sessions_are_resumed() {
    let authority = Authority::new("one");
    let mount = Mount::with(&files(&authority.issue(&["127.0.0.1"]), &authority.pem));
    let rules = RuleDirectory::with(super::RULES);
    let server = Fluxlimit::with_rules_at(rules.path())
        .setting("GRPC_TLS__CERT_FILE", &mount.path("tls.crt"))
        .setting("GRPC_TLS__KEY_FILE", &mount.path("tls.key"))
        .start()
        .await;
    let client = TlsConnector::from(Arc::new(trusting(&authority.pem, None)));
    connect(&client, server.grpc).await.unwrap();
    let again = connect(&client, server.grpc).await.unwrap();
    assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
}
