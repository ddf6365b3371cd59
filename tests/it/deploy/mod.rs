//! What is there to deploy: the Dockerfile, Compose files and manifests, shown to the programs that know their
//! formats, and what they say served by the built program and a real Envoy.

mod components;
mod compose;
mod gateway;
mod gateways;
mod image;
mod istio;
mod kubernetes;
mod rendered;
mod root;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A program that `.ci/setup` installs.
fn tool(name: &str) -> Command {
    let path = repository().join(".tools/deploy/bin").join(name);
    assert!(path.exists(), "there is no {}: run .ci/setup once", path.display());
    let mut command = Command::new(path);
    command.current_dir(repository());
    command
}

/// What a command that has to succeed prints.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

/// The documents of a YAML text.
fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let documents = documents.map(|document| document.unwrap_or_else(|error| panic!("{error} in:\n{text}")));
    documents.filter(|document| !document.is_null()).collect()
}

/// The YAML files of a folder of the repository and of the folders in it.
fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut open = vec![repository().join(folder)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder} has no YAML files");
    files
}
