//! `fluxlimit migrate`: brings the table of a Postgres store up to date.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::config::{Config, Flags, StoreKind};
use crate::store::postgres::{Migrated, migrate};

/// Brings the table of a Postgres store up to date
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit migrate --store postgres://owner@db/limits
  fluxlimit migrate --config /etc/fluxlimit.yaml --dry-run    prints the SQL and changes nothing

The role needs the right to create a table. The role that serves needs none: with `migrations: check` it only \
looks whether the table is as it should be. See docs/postgres.md.")]
pub(super) struct Migrate {
    /// Settings file of the server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where states are kept, such as `postgres://owner@db/limits`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Print the SQL that is missing, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Migrate {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let Self { config, store, dry_run } = self;
        let config = Config::load_without_rules(&Flags { config, store, ..Flags::default() })?;
        if config.store != StoreKind::Postgres {
            return Err("the store of the settings is no Postgres, so there is nothing to migrate".into());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let migrated = runtime.block_on(migrate(&config.postgres, dry_run))?;
        output::print(&if dry_run { missing(&migrated) } else { done(&migrated) })?;
        Ok(())
    }
}

/// A script that `psql` takes.
fn missing(migrated: &Migrated) -> String {
    if migrated.statements.is_empty() {
        return format!("-- the table is version {}, and nothing is missing\n", migrated.to);
    }
    let mut script = format!("-- from version {} of the table to {}\nBEGIN;\n", migrated.from, migrated.to);
    for statement in &migrated.statements {
        // A string takes everything.
        let _ = writeln!(script, "{}", statement.trim_end());
    }
    script.push_str("COMMIT;\n");
    script
}

fn done(migrated: &Migrated) -> String {
    match migrated {
        Migrated { from, to, .. } if from == to => format!("the table is version {to} already\n"),
        Migrated { from: 0, to, .. } => format!("made the table, version {to}\n"),
        Migrated { from, to, .. } => format!("brought the table from version {from} to {to}\n"),
    }
}
