//! Certificates that cannot be used keep a server from starting, and it says why.

use crate::support::{Authority, Fluxlimit, Issued, Mount, RuleDirectory};

/// Holds that a server with these settings ends with 1 and says `expected`, `DIR` being the directory of files.
async fn check(files: &[(&str, &str)], settings: &[(&str, &str)], expected: &[&str]) {
    let mount = Mount::with(files);
    let rules = RuleDirectory::with(super::RULES);
    let value = |value: &str| value.replace("DIR", &mount.path(""));
    let variable = |(name, of): &(&str, &str)| (format!("FLUXLIMIT_{name}"), value(of));
    let environment: Vec<(String, String)> = settings.iter().map(variable).collect();
    let path = rules.path().display().to_string();
    let arguments = ["serve", "--rules", &path, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let (status, output) = Fluxlimit::run(&arguments, &environment).await;
    assert_eq!(status.code(), Some(1), "{output}");
    for line in expected {
        assert!(output.contains(&value(line)), "no `{line}` in:\n{output}");
    }
}

const BOTH: [(&str, &str); 2] =
    [("GRPC_TLS__CERT_FILE", "DIRcert.pem"), ("GRPC_TLS__KEY_FILE", "DIRkey.pem")];

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let authority = Authority::new("one");
    let Issued { cert, key } = &authority.issue(&["a"]);
    let other = authority.issue(&["a"]);
    check(
        &[("key.pem", key)],
        &BOTH,
        &["settings: grpc_tls.cert_file: `DIRcert.pem` cannot be read: No such"],
    )
    .await;
    check(
        &[("cert.pem", "x"), ("key.pem", "y")],
        &BOTH,
        &[
            "2 mistakes in the settings",
            "grpc_tls.cert_file: `DIRcert.pem` holds no certificate in PEM form",
            "grpc_tls.key_file: `DIRkey.pem` holds no private key in PEM form",
        ],
    )
    .await;
    let mismatch = "grpc_tls.cert_file: `DIRcert.pem` and its key cannot be used: ";
    check(&[("cert.pem", cert), ("key.pem", &other.key)], &BOTH, &[mismatch]).await;
    let expired = authority.issue_expired(&["a"]);
    let message =
        "grpc_tls.cert_file: `DIRcert.pem` holds a certificate that expired at 2021-01-01T00:00:00Z";
    check(&[("cert.pem", &expired.cert), ("key.pem", &expired.key)], &BOTH, &[message]).await;
    let files = [("cert.pem", cert.as_str()), ("key.pem", key), ("ca.pem", key), ("names", "# nobody\n\n")];
    let [cert_file, key_file] = BOTH;
    let ca = ("GRPC_TLS__CLIENT_CA_FILE", "DIRca.pem");
    let message = "grpc_tls.client_ca_file: `DIRca.pem` holds no certificate in PEM form";
    check(&files, &[cert_file, key_file, ca], &[message]).await;
    let names = ("GRPC_TLS__CLIENT_SANS_FILE", "DIRnames");
    let message = "grpc_tls.client_sans_file: `DIRnames` names nobody, so no client could connect";
    check(&files, &[cert_file, key_file, ca, names], &[message]).await;
    let files = [("names", "good.example.com\n*\n")];
    let message = "`DIRnames` holds in line 2 what cannot be compared: `*` ";
    check(&files, &[cert_file, key_file, ca, names], &[message]).await;
}

#[tokio::test]
async fn half_of_the_settings_are_a_mistake_and_no_open_door() {
    let check =
        async |name: &str, value: &str, expected: &str| check(&[], &[(name, value)], &[expected]).await;
    check("GRPC_TLS__CERT_FILE", "x", "grpc_tls.cert_file: `grpc_tls.key_file` is missing").await;
    check("HTTP_TLS__KEY_FILE", "x", "http_tls.key_file: `http_tls.cert_file` is missing").await;
    check("GRPC_TLS__CLIENT_CA_FILE", "x", "grpc_tls.client_ca_file: `grpc_tls.cert_file` is missing").await;
    check("GRPC_TLS__CLIENT_SANS", "x", "grpc_tls.client_sans: `grpc_tls.client_ca_file` is missing").await;
    check("HTTP_TLS__CLIENT_SANS_FILE", "x", "`http_tls.client_ca_file` is missing").await;
    check("GRPC_TLS__CLIENT_SANS", "a,b*", "FLUXLIMIT_GRPC_TLS__CLIENT_SANS: `b*` may hold `*` only").await;
    check("GRPC_TLS__MIN_VERSION", "1.1", "unknown value `1.1`; expected `1.2` or `1.3`").await;
    check("GRPC_TLS__MAX_HANDSHAKES", "0", "a whole number from 1 to ").await;
}
