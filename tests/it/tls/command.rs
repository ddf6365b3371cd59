//! `fluxlimit ask` where TLS is spoken.

use super::{ENVOY, Site};
use crate::commands::{Ran, Shell};
use crate::support::{Issued, Mount};

/// Asks with those flags; files stand in the directory of the shell.
fn ask(site: &Site, flags: &str) -> (Shell, Ran) {
    let Issued { cert, key } = site.authority.issue(&[ENVOY]);
    let files = [("ca.pem", site.authority.pem.as_str()), ("me.pem", &cert), ("me.key", &key)];
    let shell = Shell::with(&files);
    let ran = shell.run(&format!("ask --server {} {flags} --domain edge user=alice", site.server.grpc));
    (shell, ran)
}

fn check(site: &Site, flags: &str, code: i32, told: &str) {
    let (_shell, ran) = ask(site, flags);
    assert_eq!(ran.code, Some(code), "{flags}: {ran:?}");
    assert!(ran.stdout.contains(told) || ran.stderr.contains(told), "{flags}: {ran:?}");
}

#[tokio::test]
async fn a_server_that_knows_its_clients_is_asked() {
    let site = Site::start(&[]).await;
    check(&site, "--cacert ca.pem --cert me.pem --key me.key", 0, "OK");
    check(&site, "--tls --ca ca.pem --cert me.pem --key me.key --server-name 127.0.0.1", 0, "OK");
    let with = |flags: &str| format!("--cert me.pem --key me.key {flags}");
    check(
        &site,
        &with("--cacert ca.pem --servername other.example.com"),
        1,
        "certificate not valid for name",
    );
    check(&site, &with(""), 1, "unknownissuer");
    check(&site, "--cacert ca.pem", 1, "received fatal alert: CertificateRequired");
    check(&site, "", 1, "cannot reach a rate-limit server");
    check(&site, "--cacert ca.pem --cert me.pem", 2, "--key");
    check(&site, "--cacert nothing.pem", 1, "--cacert: `nothing.pem` cannot be read");
    check(&site, &with("--cacert me.key"), 1, "--cacert: `me.key` holds no certificate in PEM form");
    let mount = Mount::with(&[("other.key", &site.authority.issue(&[ENVOY]).key)]);
    let flags = format!("--cacert ca.pem --cert me.pem --key {}", mount.path("other.key"));
    check(&site, &flags, 1, "--cert: the certificate and its key cannot be used");
}
