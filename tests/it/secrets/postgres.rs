//! Passwords of a Postgres, wherever they stand and whatever becomes of them.

use std::path::Path;

use super::{Talkative, holds_no_secret, private_file};
use crate::support::{Certificates, Fluxlimit, Postgres, free_address};

const RIGHT: &str = "right-Tr0ub4dor";
const WRONG: &str = "wrong-Tr0ub4dor";

/// A Postgres with a user `app` who has a password and may make tables; `method` says how it is asked for.
async fn guarded(method: &str) -> Postgres {
    let postgres = Postgres::start().await;
    let statements =
        format!("CREATE ROLE app LOGIN PASSWORD '{RIGHT}'; GRANT CREATE ON SCHEMA public TO app");
    postgres.run(&statements).await;
    postgres.admit(&format!("host all app all {method}")).await;
    postgres
}

fn with_password(postgres: &Postgres, password: &str) -> String {
    format!("postgres://app:{password}@{}/postgres", postgres.address())
}

#[tokio::test]
async fn the_password_of_a_postgres_is_never_said_when_it_is_right() {
    let postgres = guarded("scram-sha-256").await;
    let directory = tempfile::tempdir().unwrap();
    let file = private_file(directory.path(), "password", &format!("{RIGHT}\n"));
    let passfile = private_file(directory.path(), "pgpass", &format!("*:*:*:app:{RIGHT}\n"));
    let url = postgres.url_of("app");
    let in_url = with_password(&postgres, RIGHT);
    let pairs = format!(
        "host={} port={} dbname=postgres user=app password={RIGHT}",
        postgres.address().ip(),
        postgres.address().port()
    );
    Talkative::start(&[("STORE", &in_url)], &[]).await.decides().await;
    Talkative::start(&[("STORE", &pairs)], &[]).await.decides().await;
    Talkative::start(&[("STORE", &url), ("POSTGRES__PASSWORD", RIGHT)], &[]).await.decides().await;
    Talkative::start(&[("STORE", &url), ("POSTGRES__PASSWORD_FILE", &file)], &[]).await.decides().await;
    Talkative::start(&[("STORE", &url)], &[("PGPASSWORD", RIGHT)]).await.decides().await;
    Talkative::start(&[("STORE", &url)], &[("PGPASSFILE", &passfile)]).await.decides().await;
    let arguments = ["migrate", "--store", &in_url];
    let trace = [("FLUXLIMIT_LOG__FILTER".to_owned(), "trace".to_owned())];
    let (_, output) = Fluxlimit::run(&arguments, &trace).await;
    holds_no_secret("migrate", &output);
}

#[tokio::test]
async fn the_password_of_a_postgres_is_never_said_when_it_is_sent_as_it_is() {
    let postgres = guarded("password").await;
    Talkative::start(&[("STORE", &with_password(&postgres, RIGHT))], &[]).await.decides().await;
    let refused = Talkative::start(&[("STORE", &with_password(&postgres, WRONG))], &[]).await;
    refused.says("password authentication failed").await;
}

#[tokio::test]
async fn the_password_of_a_postgres_is_never_said_when_it_is_refused_or_gets_nowhere() {
    let postgres = guarded("scram-sha-256").await;
    let directory = tempfile::tempdir().unwrap();
    let passfile = private_file(directory.path(), "pgpass", &format!("*:*:*:app:{WRONG}\n"));
    let (refused, url) = (with_password(&postgres, WRONG), postgres.url_of("app"));
    let failed = "password authentication failed";
    Talkative::start(&[("STORE", &refused)], &[]).await.says(failed).await;
    Talkative::start(&[("STORE", &url), ("POSTGRES__PASSWORD", WRONG)], &[]).await.says(failed).await;
    Talkative::start(&[("STORE", &url)], &[("PGPASSWORD", WRONG)]).await.says(failed).await;
    Talkative::start(&[("STORE", &url)], &[("PGPASSFILE", &passfile)]).await.says(failed).await;
    let unreachable = format!("postgres://app:{RIGHT}@{}/postgres", free_address());
    Talkative::start(&[("STORE", &unreachable)], &[]).await.says("Connection refused").await;
    let in_plain = format!("{}?sslmode=require", with_password(&postgres, RIGHT));
    Talkative::start(&[("STORE", &in_plain)], &[]).await.says("server does not support TLS").await;
    let (_, output) = Fluxlimit::run(&["migrate", "--store", &refused], &[]).await;
    assert!(output.contains(failed), "{output}");
    holds_no_secret("migrate", &output);
}

#[tokio::test]
async fn the_password_of_a_postgres_with_tls_is_never_said() {
    let postgres = guarded("scram-sha-256").await;
    let (ours, others) =
        (Certificates::of(postgres.address().ip()), Certificates::of(postgres.address().ip()));
    postgres.secure(&ours).await;
    let store = |ca: &Path| {
        format!("{}?sslmode=verify-full&sslrootcert={}", with_password(&postgres, RIGHT), ca.display())
    };
    Talkative::start(&[("STORE", &store(&ours.ca()))], &[]).await.decides().await;
    let distrusted = Talkative::start(&[("STORE", &store(&others.ca()))], &[]).await;
    distrusted.says("invalid peer certificate").await;
}
