//! What docs/postgres.md shows can be used as it stands there.

use fluxlimit::config::StoreKind;
use fluxlimit::store::postgres::{SslMode, VARIABLES};

use super::page;
use super::settings::load_examples;

#[test]
fn every_settings_example_loads() {
    load_examples("postgres", StoreKind::Postgres, 3);
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
