//! The settings that the pages of the stores show can be loaded as they stand there.

use std::fs;

use fluxlimit::config::{Config, Flags, StoreKind};

use super::blocks::blocks;
use super::page;
use crate::support::Certificates;

/// Where the examples keep their files.
const FILES: &str = "/etc/fluxlimit/";

/// Loads every example of a page, of which there are more than `least`; each is about `store`.
pub(super) fn load_examples(of: &str, store: StoreKind, least: usize) {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let (cert, key) = certificates.client();
    for (name, made) in [("ca.pem", certificates.ca()), ("client.pem", cert), ("client.key", key)] {
        fs::copy(made, directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("password"), "x").unwrap();
    let text = page(of);
    let examples: Vec<_> = blocks(&text).into_iter().filter(|block| block.language == "yaml").collect();
    assert!(examples.len() > least, "{}", examples.len());
    for example in examples {
        let file = directory.path().join("fluxlimit.yaml");
        let files = format!("{}/", directory.path().display());
        fs::write(&file, example.text.replace(FILES, &files)).unwrap();
        let config = Config::load_with(&Flags { config: Some(file), ..Flags::default() }, []);
        let config = config.unwrap_or_else(|error| panic!("docs/{of}.md:{}: {error}", example.line));
        assert_eq!(config.store, store, "docs/{of}.md:{}", example.line);
    }
}
