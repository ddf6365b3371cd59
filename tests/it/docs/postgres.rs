//! What docs/postgres.md shows can be used as it stands there.

use std::fs;

use fluxlimit::config::{Config, Flags, StoreKind};
use fluxlimit::store::postgres::{SslMode, VARIABLES};

use super::blocks::blocks;
use super::page;
use crate::support::Certificates;

/// Where the examples keep their files.
const FILES: &str = "/etc/fluxlimit/";

#[test]
fn every_settings_example_loads() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let (cert, key) = certificates.client();
    for (name, made) in [("ca.pem", certificates.ca()), ("client.pem", cert), ("client.key", key)] {
        fs::copy(made, directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("password"), "x").unwrap();
    let text = page("postgres");
    let examples: Vec<_> = blocks(&text).into_iter().filter(|block| block.language == "yaml").collect();
    assert!(examples.len() > 3, "{}", examples.len());
    for example in examples {
        let file = directory.path().join("fluxlimit.yaml");
        let files = format!("{}/", directory.path().display());
        fs::write(&file, example.text.replace(FILES, &files)).unwrap();
        let config = Config::load_with(&Flags { config: Some(file), ..Flags::default() }, []);
        let config = config.unwrap_or_else(|error| panic!("docs/postgres.md:{}: {error}", example.line));
        assert_eq!(config.store, StoreKind::Postgres, "docs/postgres.md:{}", example.line);
    }
}

#[test]
fn every_mode_and_every_variable_is_named() {
    let text = page("postgres");
    let modes = SslMode::ALL.into_iter().map(|(name, _)| name);
    // Whoever sets it wants to be told that it means nothing, not how it is used.
    let variables = VARIABLES.into_iter().map(|(name, _)| name).filter(|name| *name != "PGGSSENCMODE");
    for name in modes.chain(variables) {
        assert!(text.contains(&format!("`{name}`")), "{name} is not explained");
    }
}
