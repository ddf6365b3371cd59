//! What a Postgres can do to a server that counts in it: each time the answer comes all the same, as the policy
//! says (`error`: no decision, 503), decisions come again by themselves, and nothing is half charged.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use fluxlimit::limit::{Algorithm, Unit};
use fluxlimit::store::Store;
use futures_util::future::join_all;
use rustix::process::{Pid, kill_process};

use crate::postgres::{ask, limit, open, settings, used};
use crate::redis_faults::{Crowd, LIMIT, decided, decides_again, started, status};
use crate::support::{Fluxlimit, Postgres, Signal, eventually};

/// The first four decisions about a user who may ask three times.
async fn decisions(server: &Fluxlimit, user: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(decided(server, user).await);
    }
    statuses
}

/// What is wrong stands in the log.
async fn says(server: &mut Fluxlimit, what: &str) {
    server.process.output_with(what, |log| log.contains(what).then_some(())).await;
}

const THREE: [u16; 4] = [200, 200, 200, 429];

#[tokio::test]
async fn a_postgres_that_is_not_there_at_the_start_is_found_when_it_comes() {
    let mut postgres = Postgres::start().await;
    postgres.kill();
    let (_rules, server) = started(&postgres.url(), &[]).await;
    assert_eq!(status(&server, "alice").await, 503);
    assert_ne!(server.page("/ready").await.status, 200);
    postgres.start_again().await;
    decides_again(&server).await;
    assert_eq!(decisions(&server, "alice").await, THREE);
    eventually("a server that is ready", async || (server.page("/ready").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_killed_postgres_forgets_nothing_under_load() {
    let mut postgres = Postgres::start().await;
    let (_rules, server) = started(&postgres.url(), &[]).await;
    decides_again(&server).await;
    let crowd = Crowd::at(&server);
    crowd.more("hits that are let pass", &crowd.counts.admitted, LIMIT / 3).await;
    postgres.kill_all().await;
    crowd.more("answers without a decision", &crowd.counts.failed, 10).await;
    postgres.start_again().await;
    crowd.more("hits that are refused", &crowd.counts.refused, 10).await;
    let admitted = crowd.admitted().await;
    // Those that were on the way when it died may be counted without having been let pass.
    assert!((LIMIT / 2..=LIMIT).contains(&admitted), "{admitted} of {LIMIT}");
}

#[tokio::test]
async fn connections_that_are_ended_at_random_let_nobody_pass_twice() {
    let postgres = Postgres::start().await;
    let (_rules, server) = started(&postgres.url(), &[("BREAKER__FAILURES", "1000")]).await;
    decides_again(&server).await;
    let other = postgres.client().await;
    let crowd = Crowd::at(&server);
    while crowd.counts.refused.load(Relaxed) == 0 {
        let before = crowd.counts.admitted.load(Relaxed);
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fluxlimit'";
        other.batch_execute(end).await.unwrap();
        // Some get through between one end and the next, or it would prove nothing.
        eventually("a hit that gets through", async || {
            let moved = crowd.counts.admitted.load(Relaxed) > before;
            (moved || crowd.counts.refused.load(Relaxed) > 0).then_some(())
        })
        .await;
    }
    let failed = crowd.counts.failed.load(Relaxed);
    let admitted = crowd.admitted().await;
    assert!(admitted <= LIMIT, "{admitted} of {LIMIT}");
    // Whoever was counted without being let pass had no answer.
    assert!(admitted + failed >= LIMIT, "{admitted} and {failed} of {LIMIT}");
}

/// Each request charges two keys, and what became of many of them nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_at_random_charge_all_keys_of_a_request_or_none() {
    let postgres = Postgres::start().await;
    let store = Arc::new(open(&settings(&postgres.url())));
    let limit = limit(Algorithm::FixedWindow, 1_000_000, Unit::Year);
    store.ping().await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (store, ended) = (store.clone(), ended.clone());
        async move {
            let (mut booked, mut failed) = (0, 0);
            while !ended.load(Relaxed) {
                let charges = [("one", limit, 1), ("two", limit, 1)];
                for outcome in join_all((0..20).map(|_| ask(&store, &charges))).await {
                    *(if outcome.is_ok() { &mut booked } else { &mut failed }) += 1;
                }
            }
            (booked, failed)
        }
    });
    let other = postgres.client().await;
    for _ in 0..100 {
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fluxlimit'";
        other.batch_execute(end).await.unwrap();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    ended.store(true, Relaxed);
    let (booked, failed) = asking.await.unwrap();
    assert!(booked > 0 && failed > 0, "{booked} and {failed} prove nothing");
    let patient = open(&settings(&postgres.url()));
    let (one, two) = (used(&patient, "one", &limit).await, used(&patient, "two", &limit).await);
    assert_eq!(one, two);
    assert!(
        (booked..=booked + failed).contains(&one),
        "{one} are counted; {booked} were told so, {failed} not"
    );
}

#[tokio::test]
async fn a_lock_of_another_session_costs_answers_and_no_hits() {
    let postgres = Postgres::start().await;
    let (_rules, server) = started(&postgres.url(), &[]).await;
    decides_again(&server).await;
    assert_eq!(decided(&server, "alice").await, 200);
    let other = postgres.client().await;
    other.batch_execute("BEGIN; LOCK TABLE fluxlimit IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert_eq!(status(&server, "alice").await, 503);
    assert_eq!(status(&server, "bob").await, 503);
    other.batch_execute("ROLLBACK").await.unwrap();
    decides_again(&server).await;
    assert_eq!(decisions(&server, "alice").await, [200, 200, 429, 429]);
    assert_eq!(decisions(&server, "bob").await, THREE);
}

/// The processes that serve us stop without a word, as on a machine that hangs.
#[tokio::test]
async fn a_postgres_that_hangs_is_not_waited_for_and_a_hit_without_an_answer_is_not_repeated() {
    let postgres = Postgres::start().await;
    let (_rules, server) = started(&postgres.url(), &[]).await;
    decides_again(&server).await;
    let rows = postgres.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'fluxlimit'").await;
    let pids: Vec<Pid> = rows.iter().filter_map(|row| Pid::from_raw(row.get(0))).collect();
    let signal = |signal| pids.iter().for_each(|pid| kill_process(*pid, signal).expect("a process of ours"));
    signal(Signal::STOP);
    postgres.signal(Signal::STOP);
    assert_eq!(status(&server, "alice").await, 503);
    postgres.signal(Signal::CONT);
    signal(Signal::CONT);
    decides_again(&server).await;
    // The hit that had no answer may have been counted, once.
    let statuses = decisions(&server, "alice").await;
    assert!(statuses == [200, 200, 429, 429] || statuses == THREE, "{statuses:?}");
}

#[tokio::test]
async fn a_postgres_that_takes_no_writes_refuses_until_it_does() {
    let postgres = Postgres::start().await;
    let (_rules, mut server) = started(&postgres.url(), &[]).await;
    assert_eq!(decided(&server, "alice").await, 200);
    for (value, expected) in [("on", 503), ("off", 200)] {
        postgres.run(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await;
        postgres.reload().await;
        eventually("what the setting says", async || {
            (status(&server, &format!("in {value}")).await == expected).then_some(())
        })
        .await;
    }
    says(&mut server, "read-only").await;
    assert_eq!(decisions(&server, "alice").await, [200, 200, 429, 429]);
}

#[tokio::test]
async fn a_server_that_takes_no_more_writes_is_left_for_one_that_does() {
    let (first, second) = (Postgres::start().await, Postgres::start().await);
    let both = format!("postgres://postgres@{},{}/postgres", first.address(), second.address());
    let (_rules, server) = started(&both, &[]).await;
    decides_again(&server).await;
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fluxlimit'";
    assert_eq!(second.number(connected).await, 0);
    first.run("ALTER SYSTEM SET default_transaction_read_only = on").await;
    first.reload().await;
    // Its session is not a new one, so it meets the setting at the next transaction.
    eventually("a refusal and then a decision", async || {
        status(&server, "alice").await;
        (second.number(connected).await > 0).then_some(())
    })
    .await;
    decides_again(&server).await;
}

/// The error of a full disk, as Postgres says it.
#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room() {
    let postgres = Postgres::start().await;
    let (_rules, mut server) = started(&postgres.url(), &[]).await;
    assert_eq!(decided(&server, "alice").await, 200);
    postgres
        .run(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; \
             CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON fluxlimit EXECUTE FUNCTION full_disk()",
        )
        .await;
    assert_eq!(status(&server, "alice").await, 503);
    assert_eq!(status(&server, "bob").await, 503);
    says(&mut server, "No space left on device (53100)").await;
    postgres.run("DROP TRIGGER full_disk ON fluxlimit").await;
    decides_again(&server).await;
    assert_eq!(decisions(&server, "alice").await, [200, 200, 429, 429]);
    assert_eq!(decisions(&server, "bob").await, THREE);
}

#[tokio::test]
async fn a_table_that_is_missing_is_used_once_it_is_there() {
    let postgres = Postgres::start().await;
    let (_rules, mut server) = started(&postgres.url(), &[("POSTGRES__MIGRATIONS", "off")]).await;
    assert_eq!(status(&server, "alice").await, 503);
    says(&mut server, "relation \"public.fluxlimit\" does not exist (42P01)").await;
    let settings = fluxlimit::store::postgres::Settings::of(&postgres.url()).unwrap();
    fluxlimit::store::postgres::migrate(&settings, false).await.unwrap();
    assert_eq!(decisions(&server, "alice").await, THREE);
    // It is dropped under the server's hands, and made again.
    postgres.run("DROP TABLE fluxlimit").await;
    assert_eq!(status(&server, "bob").await, 503);
    fluxlimit::store::postgres::migrate(&settings, false).await.unwrap();
    assert_eq!(decisions(&server, "bob").await, THREE);
}

#[tokio::test]
async fn what_keeps_a_role_out_is_said_and_what_it_is_set_to_does_not_matter() {
    let postgres = Postgres::start().await;
    postgres.run("CREATE ROLE app LOGIN CONNECTION LIMIT 0; GRANT CREATE ON SCHEMA public TO app").await;
    let no_database = format!("postgres://postgres@{}/nowhere", postgres.address());
    let (_rules, mut stranger) = started(&no_database, &[]).await;
    assert_eq!(status(&stranger, "alice").await, 503);
    says(&mut stranger, "database \"nowhere\" does not exist (3D000)").await;

    let (_rules, mut server) = started(&postgres.url_of("app"), &[]).await;
    assert_eq!(status(&server, "alice").await, 503);
    says(&mut server, "too many connections for role \"app\" (53300)").await;
    postgres
        .run(
            "ALTER ROLE app CONNECTION LIMIT -1; \
             ALTER ROLE app SET default_transaction_isolation = 'serializable'; \
             ALTER ROLE app SET synchronous_commit = off",
        )
        .await;
    decides_again(&server).await;
    let crowd = Crowd::at(&server);
    crowd.more("hits that are refused", &crowd.counts.refused, 10).await;
    let failed = crowd.counts.failed.load(Relaxed);
    let admitted = crowd.admitted().await;
    assert!(admitted <= LIMIT && admitted + failed >= LIMIT, "{admitted} and {failed} of {LIMIT}");
}

#[tokio::test]
async fn a_password_that_is_put_right_needs_no_restart() {
    let postgres = Postgres::start().await;
    postgres.run("CREATE ROLE app LOGIN PASSWORD 'right'; GRANT CREATE ON SCHEMA public TO app").await;
    postgres.admit("host all app all scram-sha-256").await;
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("password");
    fs::write(&file, "wrong").unwrap();
    let settings = [("POSTGRES__PASSWORD_FILE", file.to_str().unwrap())];
    let (_rules, mut server) = started(&postgres.url_of("app"), &settings).await;
    assert_eq!(status(&server, "alice").await, 503);
    says(&mut server, "password authentication failed for user \"app\" (28P01)").await;
    fs::write(&file, "right").unwrap();
    decides_again(&server).await;
    assert_eq!(decisions(&server, "alice").await, THREE);
}
