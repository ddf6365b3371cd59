//! Brings the table up to date, or sees that somebody else has.
//!
//! The version of the table stands in its comment, so there is no second table and no second right to grant.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::connect::Link;
use super::connector::Connector;
use super::error::said;
use super::settings::{Durability, Migrations, Settings};
use super::sql::{Sql, quoted};
use crate::store::StoreError;

/// The steps, each from the version before it; forward only.
const STEPS: [&str; 1] = [include_str!("../../../sql/0001_counters.sql")];

/// What stands before the version in the table's comment.
const COMMENT: &str = "fluxlimit counters, version ";

/// Of the advisory lock that lets one program at a time change the table. It is one of ours by its first letters.
const LOCK: i64 = i64::from_be_bytes(*b"fluxlmt1");

/// How long a change of the table may wait for those who use it, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// The table, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// 0 is no table.
    version: usize,
    is_unlogged: bool,
    has_schema: bool,
}

/// What a migration did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The version of the table before; 0 is no table.
    pub from: usize,
    /// Its version after.
    pub to: usize,
    /// The statements between them.
    pub statements: Vec<String>,
}

/// Brings the table of the settings up to date, whatever they say of migrations. With `dry_run` it only says what
/// there is to do.
///
/// # Errors
/// The database cannot be reached or refuses, or the table is newer than this program.
pub async fn migrate(settings: &Settings, dry_run: bool) -> Result<Migrated, StoreError> {
    let client = Connector::new(settings).connect().await?.client;
    if dry_run {
        let found = find(&client, settings).await?;
        return plan(found, settings);
    }
    apply(&client, settings).await
}

/// Sees that the table is as this program needs it, and makes it so if the settings say so.
pub(super) async fn look(link: &mut Link, settings: &Settings) -> Result<(), StoreError> {
    if settings.migrations == Migrations::Off {
        return Ok(());
    }
    let found = find(&link.client, settings).await?;
    let plan = plan(found, settings)?;
    if !plan.statements.is_empty() {
        if settings.migrations == Migrations::Check {
            return Err(refused(match found.version {
                0 => format!("there is no table {}: run `fluxlimit migrate`", name(settings)),
                version => format!(
                    "the table {} is version {version}, not {}: run `fluxlimit migrate`",
                    name(settings),
                    STEPS.len()
                ),
            }));
        }
        link.busy = true;
        let done = apply(&link.client, settings).await?;
        link.busy = false;
        tracing::info!(table = name(settings), version = done.to, "brought the table up to date");
    }
    let wants_unlogged = settings.durability == Durability::Unlogged;
    if found.version > 0 && found.is_unlogged != wants_unlogged {
        let is = if found.is_unlogged { "UNLOGGED" } else { "LOGGED" };
        tracing::warn!(
            table = name(settings),
            "the table is {is}, which its durability in the settings is not; it stays so until somebody alters it"
        );
    }
    Ok(())
}

/// Under a lock, so that of several programs that start at once one does it and the others find it done.
async fn apply(client: &Client, settings: &Settings) -> Result<Migrated, StoreError> {
    let run = async |statement: &str| client.batch_execute(statement).await.map_err(|error| failed(&error));
    run(&format!("BEGIN; SET LOCAL lock_timeout = {PATIENCE_MS}; SET LOCAL statement_timeout = 0")).await?;
    let done = async {
        run(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
        let plan = plan(find(client, settings).await?, settings)?;
        for statement in &plan.statements {
            run(statement).await?;
        }
        run("COMMIT").await?;
        Ok(plan)
    };
    let done = done.await;
    if done.is_err() {
        // It fails only when the connection is gone, and then there is nothing to roll back.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    done
}

async fn find(client: &Client, settings: &Settings) -> Result<Found, StoreError> {
    const FIND: &str = "SELECT obj_description(c.oid, 'pg_class'), c.relpersistence = 'u' \
        FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2 \
        WHERE n.nspname = $1";
    let names = [
        (&settings.schema as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
        (&settings.table as _, Type::TEXT),
    ];
    let found = client.query_typed(FIND, &names).await.map_err(|error| failed(&error))?;
    let Some(row) = found.first() else {
        return Ok(Found { version: 0, is_unlogged: false, has_schema: false });
    };
    let is_unlogged: Option<bool> = row.try_get(1).map_err(|error| failed(&error))?;
    let Some(is_unlogged) = is_unlogged else {
        return Ok(Found { version: 0, is_unlogged: false, has_schema: true });
    };
    let comment: Option<&str> = row.try_get(0).map_err(|error| failed(&error))?;
    let version = comment.and_then(|comment| comment.strip_prefix(COMMENT)?.parse().ok());
    let Some(version) = version.filter(|version| *version > 0) else {
        return Err(refused(format!("the table {} exists and is not one of fluxlimit's", name(settings))));
    };
    Ok(Found { version, is_unlogged, has_schema: true })
}

/// What leads from the table that was found to the one that this program needs.
fn plan(found: Found, settings: &Settings) -> Result<Migrated, StoreError> {
    let (from, to) = (found.version, STEPS.len());
    if from > to {
        return Err(refused(format!(
            "the table {} is version {from}, newer than version {to} of this program",
            name(settings)
        )));
    }
    let (schema, table) = (quoted(&settings.schema), Sql::new(settings).table);
    let unlogged = if settings.durability == Durability::Unlogged { " UNLOGGED" } else { "" };
    let mut statements = Vec::new();
    if !found.has_schema {
        statements.push(format!("CREATE SCHEMA {schema};\n"));
    }
    for (index, step) in STEPS.iter().enumerate().skip(from) {
        statements.push(step.replace("{table}", &table).replace("{unlogged}", unlogged));
        statements.push(format!("COMMENT ON TABLE {table} IS '{COMMENT}{}';\n", index + 1));
    }
    Ok(Migrated { from, to, statements })
}

fn name(settings: &Settings) -> String {
    format!("`{}.{}`", settings.schema, settings.table)
}

fn refused(reason: String) -> StoreError {
    StoreError::Refused { reason }
}

fn failed(error: &Error) -> StoreError {
    let reason = said(error);
    if error.as_db_error().is_some() {
        StoreError::Refused { reason }
    } else {
        StoreError::Unavailable { reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: usize) -> Found {
        Found { version, is_unlogged: false, has_schema: version > 0 }
    }

    #[test]
    fn a_table_that_is_up_to_date_needs_nothing() {
        let plan = plan(found(STEPS.len()), &Settings::default()).unwrap();
        assert_eq!(plan, Migrated { from: STEPS.len(), to: STEPS.len(), statements: Vec::new() });
    }

    #[test]
    fn names_and_durability_stand_in_the_statements() {
        let settings =
            Settings { schema: "a\"b".to_owned(), durability: Durability::Unlogged, ..Settings::default() };
        let statements = plan(found(0), &settings).unwrap().statements;
        assert_eq!(statements[0], "CREATE SCHEMA \"a\"\"b\";\n");
        assert!(statements[1].contains("CREATE UNLOGGED TABLE \"a\"\"b\".\"fluxlimit\" ("), "{statements:?}");
        assert!(!statements.concat().contains('{'), "{statements:?}");
    }

    #[test]
    fn a_newer_table_is_left_alone() {
        let error = plan(found(STEPS.len() + 1), &Settings::default()).unwrap_err().to_string();
        assert!(error.contains("is version 2, newer than version 1 of this program"), "{error}");
    }
}
