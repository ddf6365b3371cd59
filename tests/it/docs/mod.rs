//! The documentation is tried: its rule files are loaded, its tables are replayed, its Envoy snippets are
//! shown to Envoy, its pictures are drawn again, and its links are followed.

mod blocks;
mod envoy;
mod links;
mod pictures;
#[path = "../../../examples/plot_algorithms/plot.rs"]
mod plot;
mod postgres;
mod redis;
mod replay;
mod rules;
mod security;
mod settings;
mod tls;
mod tracing;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `README.md` and everything in `docs/`.
fn pages() -> Vec<PathBuf> {
    let entries = root().join("docs").read_dir().expect("the folder is part of the repository");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(root().join("README.md"));
    pages.retain(|path| path.exists());
    pages.sort();
    pages
}

/// The text of `docs/<name>.md`.
fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name).with_extension("md")).expect("the page is there")
}
