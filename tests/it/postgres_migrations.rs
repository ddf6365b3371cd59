//! How the table of the Postgres store comes to be, and who may make it.

use fluxlimit::store::postgres::{Durability, Migrations, Settings, migrate};
use fluxlimit::store::{Store, StoreError};

use crate::commands::Shell;
use crate::postgres::{open, settings};
use crate::support::Postgres;

const TABLES: &str = "SELECT count(*) FROM pg_class WHERE relname = 'fluxlimit'";

fn reason(answer: &Result<(), StoreError>) -> &str {
    match answer {
        Err(StoreError::Refused { reason }) => reason,
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_stores_that_start_at_once_one_makes_the_table_and_all_work() {
    let server = Postgres::start().await;
    let stores: Vec<_> = (0..6).map(|_| open(&settings(&server.url()))).collect();
    for store in &stores {
        store.ping().await.unwrap();
    }
    assert_eq!(server.number(TABLES).await, 1);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[tokio::test]
async fn a_table_that_somebody_else_has_to_make_is_waited_for() {
    let server = Postgres::start().await;
    let checking = Settings { migrations: Migrations::Check, ..settings(&server.url()) };
    let store = open(&checking);
    let missing = "there is no table `public.fluxlimit`: run `fluxlimit migrate`";
    assert_eq!(reason(&store.ping().await), missing);
    assert_eq!(server.number(TABLES).await, 0);
    migrate(&checking, false).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn nobody_looks_at_the_table_with_migrations_off() {
    let server = Postgres::start().await;
    let store = open(&Settings { migrations: Migrations::Off, ..settings(&server.url()) });
    assert_eq!(reason(&store.ping().await), "relation \"public.fluxlimit\" does not exist (42P01)");
    assert_eq!(server.number(TABLES).await, 0);
    migrate(&settings(&server.url()), false).await.unwrap();
    server.run("COMMENT ON TABLE fluxlimit IS 'of another kind'").await;
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_newer_or_not_ours_is_refused() {
    let server = Postgres::start().await;
    server.run("CREATE TABLE fluxlimit (mine int); COMMENT ON TABLE fluxlimit IS 'fluxlimit counters, version 7'").await;
    for migrations in [Migrations::Auto, Migrations::Check] {
        let store = open(&Settings { migrations, ..settings(&server.url()) });
        let newer = "the table `public.fluxlimit` is version 7, newer than version 1 of this program";
        assert_eq!(reason(&store.ping().await), newer);
    }
    server.run("COMMENT ON TABLE fluxlimit IS NULL").await;
    let store = open(&settings(&server.url()));
    let strange = "the table `public.fluxlimit` exists and is not one of fluxlimit's";
    assert_eq!(reason(&store.ping().await), strange);
    assert_eq!(server.number("SELECT count(*) FROM pg_attribute WHERE attname = 'mine'").await, 1);
}

#[tokio::test]
async fn a_table_that_is_dropped_while_it_serves_is_made_again() {
    let server = Postgres::start().await;
    let store = open(&settings(&server.url()));
    store.ping().await.unwrap();
    server.run("DROP TABLE fluxlimit").await;
    assert!(store.ping().await.is_err());
    store.ping().await.unwrap();
}

#[tokio::test]
async fn names_and_durability_are_as_the_settings_say() {
    let server = Postgres::start().await;
    let odd = Settings {
        schema: "rate \"limits\"".to_owned(),
        table: "o'Brien; DROP TABLE x".to_owned(),
        durability: Durability::Unlogged,
        sweep_ms: 1,
        ..settings(&server.url())
    };
    open(&odd).ping().await.unwrap();
    let found = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE nspname = 'rate \"limits\"' AND relname = 'o''Brien; DROP TABLE x' AND relpersistence = 'u'";
    assert_eq!(server.number(found).await, 1);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_missing_and_then_makes_it() {
    let server = Postgres::start().await;
    let shell = Shell::with(&[]);
    let store = server.url();
    let migrate = async |flags: &str| {
        let line = format!("migrate --store {store} {flags}");
        let shell = &shell;
        tokio::task::block_in_place(|| shell.run(&line))
    };
    let script = migrate("--dry-run").await.stdout;
    assert!(script.starts_with("-- from version 0 of the table to 1\nBEGIN;\n"), "{script}");
    assert_eq!(server.number(TABLES).await, 0);
    // It is a script that an administrator can run instead.
    server.run(&script).await;
    assert_eq!(migrate("").await.stdout, "the table is version 1 already\n");
    server.run("DROP TABLE fluxlimit").await;
    assert_eq!(migrate("").await.stdout, "made the table, version 1\n");
    assert_eq!(migrate("--dry-run").await.stdout, "-- the table is version 1, and nothing is missing\n");
    let failed = shell.run("migrate --store memory");
    assert_eq!(failed.code, Some(1));
    let told = "fluxlimit: the store of the settings is no Postgres, so there is nothing to migrate\n";
    assert_eq!(failed.stderr, told);
}
