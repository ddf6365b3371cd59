//! A real Prometheus, started for one test, on an address of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Process, eventually};
use super::{Client, free_address};

/// A running Prometheus that scrapes as `examples/prometheus/prometheus.yaml` says, but faster.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

/// The folder of its examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus")
}

impl Prometheus {
    /// One of its programs: `prometheus` or `promtool`.
    pub(crate) fn program(name: &str) -> PathBuf {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus").join(name);
        assert!(program.exists(), "there is no {name} at {}: run .ci/setup once", program.display());
        program
    }

    /// Runs `promtool` in the folder of the examples: whether it is content, and what it says.
    pub(crate) fn tool(arguments: &[&str]) -> (bool, String) {
        let ran = Command::new(Self::program("promtool")).args(arguments).current_dir(examples()).output();
        let output = ran.expect("promtool can be started");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Scrapes `targets`, and waits until it answers.
    pub(crate) async fn scraping(targets: &[SocketAddr]) -> Self {
        let text = std::fs::read_to_string(examples().join("prometheus.yaml")).expect("it is there");
        let mut config: Value = serde_yaml::from_str(&text).expect("it is YAML");
        config["global"] = json!({ "scrape_interval": "300ms", "evaluation_interval": "300ms" });
        config["rule_files"][0] = json!(examples().join("alerts.yaml"));
        let targets: Vec<_> = targets.iter().map(SocketAddr::to_string).collect();
        config["scrape_configs"][0]["static_configs"][0]["targets"] = json!(targets);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("prometheus.yaml");
        std::fs::write(&path, config.to_string()).expect("the directory can be written");
        let address = free_address();
        let arguments = [
            format!("--config.file={}", path.display()),
            format!("--storage.tsdb.path={}", directory.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let program = Self::program("prometheus");
        let mut process = Process::start("prometheus", &program, &arguments, &[]);
        process
            .output_with("a Prometheus that is ready", |log| {
                log.contains("Server is ready to receive web requests").then_some(())
            })
            .await;
        Self { address, _process: process, _directory: directory }
    }

    /// What its API answers: the data of a success, or the error.
    pub(crate) async fn api(&self, path: &str) -> Result<Value, String> {
        let answer = eventually("an answer of Prometheus", async || {
            Client::new(self.address).get(&format!("/api/v1/{path}"), &[]).await.ok()
        })
        .await;
        let mut answer: Value = serde_json::from_str(&answer.body).expect("its API speaks JSON");
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(answer.to_string()) }
    }

    /// The samples that a query comes to now.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut data = self.api(&format!("query?query={}", encoded(query))).await?;
        Ok(data["result"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// The names of all metrics that it has seen.
    pub(crate) async fn names(&self) -> Vec<String> {
        let names = self.api("label/__name__/values").await.expect("it has seen something");
        serde_json::from_value(names).expect("a list of names")
    }
}

fn encoded(query: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    query.bytes().map(byte).collect()
}
