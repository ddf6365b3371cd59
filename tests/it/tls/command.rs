//! `fluxlimit ask` where TLS is spoken.

use super::{ENVOY, RULES, Site, files};
use crate::commands::{Ran, Shell};
use crate::support::{Authority, Fluxlimit, Issued, Mount, RuleDirectory};

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

#[tokio::test]
async fn operators_are_protected_as_well() {
    let authority = Authority::new("one");
    let mount = Mount::with(&files(&authority.issue(&["127.0.0.1"]), &authority.pem));
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path())
        .setting("ADMIN__ADDRESS", "127.0.0.1:0")
        .setting("ADMIN_TLS__CERT_FILE", &mount.path("tls.crt"))
        .setting("ADMIN_TLS__KEY_FILE", &mount.path("tls.key"))
        .setting("ADMIN_TLS__CLIENT_CA_FILE", &mount.path("ca.crt"))
        .start()
        .await;
    let admin = server
        .process
        .output_with("the admin listener", |log| {
            let line = log.lines().find(|line| line.contains("listening admin="))?;
            Some(line.split_once("admin=")?.1.split(' ').next()?.to_owned())
        })
        .await;
    let Issued { cert, key } = authority.issue(&["operator"]);
    let shell = Shell::with(&[("ca.pem", authority.pem.as_str()), ("me.pem", &cert), ("me.key", &key)]);
    let run = |words: &str, flags: &str| shell.run(&format!("{words} --admin {admin} {flags}"));
    let all = "--cacert ca.pem --cert me.pem --key me.key";
    let ran = run("log-level", all);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run("ask --look --domain edge user=alice", all);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (flags, told) in [
        ("", "answers 400; is that the right port?"),
        ("--cacert ca.pem", "received fatal alert: CertificateRequired"),
        ("--tls --cert me.pem --key me.key", "invalid peer certificate: UnknownIssuer"),
    ] {
        let ran = run("log-level", flags);
        assert!(ran.code == Some(1) && ran.stderr.contains(told), "{flags}: {ran:?}");
    }
}
