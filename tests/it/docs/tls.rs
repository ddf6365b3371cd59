//! `docs/tls.md`: its certificates are made, and the server, `ask` and Envoy use them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::blocks::{Block, blocks};
use super::{page, root};
use crate::commands::Shell;
use crate::envoy::start_secured_sample;
use crate::support::{Envoy, Fluxlimit};

fn block<'a>(blocks: &'a [Block<'_>], begins: &str) -> &'a Block<'a> {
    let found = blocks.iter().find(|block| block.text.starts_with(begins));
    found.unwrap_or_else(|| panic!("no block begins with `{begins}`"))
}

fn make_certificates(blocks: &[Block<'_>], directory: &Path) {
    let made = Command::new("sh")
        .args(["-euc", &block(blocks, "mkdir -p certs").text])
        .current_dir(directory)
        .output()
        .expect("a shell can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn what_the_page_shows_works_from_openssl_to_envoy() {
    let text = page("tls");
    let blocks = blocks(&text);
    let shell = Shell::with(&[("fluxlimit.yaml", &block(&blocks, "# fluxlimit.yaml").text)]);
    make_certificates(&blocks, shell.path());
    std::os::unix::fs::symlink(root().join("config"), shell.path().join("config")).unwrap();
    let settings = shell.path().join("fluxlimit.yaml").display().to_string();
    let arguments = ["serve", "--config", &settings, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let server = Fluxlimit::start(&arguments, &[]).await;
    server.ready().await;
    let ask = block(&blocks, "fluxlimit ask").text.replace("\\\n", " ");
    let port = format!("localhost:{}", server.grpc.port());
    let ran = shell.run(&ask.replace("localhost:8081", &port).replacen("fluxlimit ", "", 1));
    assert_eq!(ran.code, Some(0), "{}", ran.told());
    let (mut envoy, _secrets) = start_secured_sample(&server, &shell.path().join("certs")).await;
    // Some more than five, for a window may end meanwhile.
    let mut passed = 0;
    while envoy.get("/login", &[]).await.status == 200 {
        passed += 1;
        assert!(passed <= 10, "{passed} logins passed");
    }
    assert_eq!(envoy.get("/login", &[]).await.status, 429);
}

#[test]
fn envoy_accepts_the_cluster_of_the_page() {
    let text = page("tls");
    let blocks = blocks(&text);
    let directory = tempfile::tempdir().unwrap();
    make_certificates(&blocks, directory.path());
    let sample = fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let mut bootstrap: Value = serde_yaml::from_str(&sample).unwrap();
    let snippet: Value = serde_yaml::from_str(&block(&blocks, "# in a cluster").text).unwrap();
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().unwrap();
    let cluster = clusters.iter_mut().find(|cluster| cluster["name"] == "fluxlimit").unwrap();
    cluster["transport_socket"] = snippet["transport_socket"].clone();
    assert_ne!(cluster["transport_socket"], json!(null));
    fs::write(directory.path().join("envoy.yaml"), bootstrap.to_string()).unwrap();
    let checked = Command::new(Envoy::program())
        .args(["--mode", "validate", "--log-level", "warning", "-c", "envoy.yaml"])
        .current_dir(directory.path())
        .output()
        .expect("Envoy can be started");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && !said.to_lowercase().contains("deprecated"), "{said}");
}

#[tokio::test]
async fn the_page_names_every_end_of_a_handshake() {
    let site = crate::tls::Site::start(&[]).await;
    let text = page("tls");
    let metrics = site.server.page("/metrics").await.body;
    let handshakes = metrics.lines().filter(|line| line.starts_with("fluxlimit_tls_handshakes_total{"));
    let mut found = 0;
    for line in handshakes {
        let (_, result) = line.split_once("result=\"").expect("it has a result");
        let result = result.split('"').next().unwrap();
        assert!(text.contains(&format!("\n| `{result}` |")), "{result} is not explained");
        found += 1;
    }
    assert_eq!(found, 9);
}
