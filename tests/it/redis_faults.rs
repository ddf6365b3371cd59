//! What a Redis can do to a server that counts in it: each time the answer comes all the same, as the policy
//! says (`error`: no decision, 503), and decisions come again by themselves.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Client, Fluxlimit, Redis, RuleDirectory, Sentinels, Signal, eventually, free_address};

/// Hits that one user has in a day.
const LIMIT: u64 = 300;

/// Longer than any deadline of the server, shorter than what the tests do to Redis goes on.
const PROMPT: Duration = Duration::from_secs(5);

/// A server that is not asked to be ready: some never become so.
async fn started(url: &str, settings: &[(&str, &str)]) -> (RuleDirectory, Fluxlimit) {
    let rules = RuleDirectory::with(&format!(
        "domain: edge\ndescriptors:\n\
         - {{ key: user, rate_limit: {{ unit: day, requests_per_unit: 3, algorithm: sliding_window }} }}\n\
         - {{ key: crowd, rate_limit: {{ unit: day, requests_per_unit: {LIMIT}, algorithm: sliding_window }} }}\n"
    ));
    let mut setup = Fluxlimit::with_rules_at(rules.path()).setting("STORE", url);
    for (name, value) in settings {
        setup = setup.setting(name, value);
    }
    let server = setup.start().await;
    (rules, server)
}

async fn status(server: &Fluxlimit, user: &str) -> u16 {
    let answer = timeout(PROMPT, server.ask("user", user)).await;
    answer.expect("an answer in time").status.as_u16()
}

/// Asks about users that nobody has asked about until one is let pass.
async fn decides_again(server: &Fluxlimit) {
    let mut user = 0;
    eventually("a decision", async || {
        user += 1;
        (status(server, &format!("nobody {user}")).await == 200).then_some(())
    })
    .await;
}

/// Many who ask about one user without a pause.
struct Crowd {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    admitted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Crowd {
    fn at(server: &Fluxlimit) -> Self {
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            tasks.spawn(ask_on(Client::new(server.http), counts.clone()));
        }
        Self { counts, tasks }
    }

    /// Waits until `count` has grown by `by`.
    async fn more(&self, what: &str, count: &AtomicU64, by: u64) {
        let before = count.load(Relaxed);
        eventually(what, async || (count.load(Relaxed) >= before + by).then_some(())).await;
    }

    /// Ends it: how many were let pass.
    async fn admitted(mut self) -> u64 {
        self.counts.over.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("the answers are in time and in form");
        }
        self.counts.admitted.load(Relaxed)
    }
}

async fn ask_on(mut client: Client, counts: Arc<Counts>) {
    let question =
        json!({ "domain": "edge", "descriptors": [{ "entries": [{ "key": "crowd", "value": "all" }] }] });
    while !counts.over.load(Relaxed) {
        let answer = timeout(PROMPT, client.post("/json", question.to_string())).await;
        let answer = answer.expect("an answer in time").expect("an answer");
        let count = match answer.status.as_u16() {
            200 => &counts.admitted,
            429 => &counts.refused,
            503 => &counts.failed,
            other => panic!("{other}: {}", answer.body),
        };
        count.fetch_add(1, Relaxed);
        if answer.status == 503 {
            // Without it a server that answers at once from its breaker is asked a million times.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_found_when_it_comes() {
    let mut redis = Redis::stopped(free_address(), &[]);
    let (_rules, server) = started(&redis.url(), &[]).await;
    assert_eq!(status(&server, "alice").await, 503);
    assert_ne!(server.page("/ready").await.status, 200);
    redis.start_again().await;
    decides_again(&server).await;
    assert_eq!(status(&server, "alice").await, 200);
    eventually("a server that is ready", async || (server.page("/ready").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_killed_redis_forgets_at_most_once_what_it_had_counted_under_load() {
    let mut redis = Redis::start().await;
    let (_rules, server) = started(&redis.url(), &[]).await;
    let crowd = Crowd::at(&server);
    crowd.more("hits that are let pass", &crowd.counts.admitted, LIMIT / 2).await;
    redis.kill();
    crowd.more("answers without a decision", &crowd.counts.failed, 10).await;
    redis.start_again().await;
    crowd.more("hits that are refused", &crowd.counts.refused, 10).await;
    let admitted = crowd.admitted().await;
    assert!((LIMIT..=2 * LIMIT).contains(&admitted), "{admitted} of {LIMIT} and {LIMIT}");
}

#[tokio::test]
async fn a_killed_redis_that_writes_before_it_answers_forgets_nothing_under_load() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let (_rules, server) = started(&redis.url(), &[]).await;
    let crowd = Crowd::at(&server);
    crowd.more("hits that are let pass", &crowd.counts.admitted, LIMIT / 2).await;
    redis.kill();
    crowd.more("answers without a decision", &crowd.counts.failed, 10).await;
    redis.start_again().await;
    crowd.more("hits that are refused", &crowd.counts.refused, 10).await;
    let admitted = crowd.admitted().await;
    // Those that were on the way when it died may be counted without having been let pass.
    assert!((LIMIT / 2..=LIMIT).contains(&admitted), "{admitted} of {LIMIT}");
}

/// What the old master has not yet told its replica when it dies is lost: of one limit at most all of it.
#[tokio::test]
async fn a_failover_loses_at_most_one_limit_under_load() {
    let mut master = Redis::start().await;
    let replica = Redis::replica_of(&master).await;
    let sentinels = Sentinels::watching(&master).await;
    let (_rules, server) = started(&sentinels.url(), &[]).await;
    let crowd = Crowd::at(&server);
    crowd.more("hits that are let pass", &crowd.counts.admitted, LIMIT / 2).await;
    master.kill();
    crowd.more("hits that are refused", &crowd.counts.refused, 10).await;
    assert_eq!(sentinels.master().await, Some(replica.address()));
    let admitted = crowd.admitted().await;
    assert!((LIMIT / 2..=2 * LIMIT).contains(&admitted), "{admitted} of {LIMIT} and {LIMIT}");
}

/// The old master comes back as a replica, and the next failover makes it the master again.
#[tokio::test]
async fn a_switch_of_master_and_replica_is_followed_both_ways() {
    let redis = Redis::start().await;
    let replica = Redis::replica_of(&redis).await;
    let sentinels = Sentinels::watching(&redis).await;
    let (_rules, server) = started(&sentinels.url(), &[]).await;
    decides_again(&server).await;
    for to in [&replica, &redis] {
        sentinels.fail_over().await;
        eventually("the other master", async || {
            (sentinels.master().await == Some(to.address())).then_some(())
        })
        .await;
        decides_again(&server).await;
    }
}

#[tokio::test]
async fn a_redis_that_pauses_is_not_waited_for() {
    let redis = Redis::start().await;
    let (_rules, server) = started(&redis.url(), &[]).await;
    decides_again(&server).await;
    let () = redis.ask(&["CLIENT", "PAUSE", "8000", "ALL"]).await.unwrap();
    assert_eq!(status(&server, "alice").await, 503);
    decides_again(&server).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_not_waited_for_and_a_hit_without_an_answer_is_not_repeated() {
    let redis = Redis::start().await;
    let (_rules, server) = started(&redis.url(), &[]).await;
    decides_again(&server).await;
    redis.signal(Signal::STOP);
    assert_eq!(status(&server, "alice").await, 503);
    redis.signal(Signal::CONT);
    decides_again(&server).await;
    // The hit that had no answer may have been counted, once.
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(status(&server, "alice").await);
    }
    assert!(statuses == [200, 200, 429, 429] || statuses == [200, 200, 200, 429], "{statuses:?}");
}

#[tokio::test]
async fn a_script_that_redis_has_forgotten_costs_no_hit_and_no_answer() {
    let redis = Redis::start().await;
    let (_rules, server) = started(&redis.url(), &[]).await;
    decides_again(&server).await;
    for expected in [200, 200, 200, 429] {
        let () = redis.ask(&["SCRIPT", "FLUSH"]).await.unwrap();
        assert_eq!(status(&server, "alice").await, expected);
    }
}

#[tokio::test]
async fn a_full_redis_that_evicts_nothing_refuses_until_there_is_room() {
    let redis = Redis::start().await;
    let (_rules, server) = started(&redis.url(), &[]).await;
    assert_eq!(decided(&server, "alice").await, 200);
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    assert_eq!(status(&server, "alice").await, 503);
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    // Nothing was counted while it was full.
    assert_eq!(decided(&server, "alice").await, 200);
    assert_eq!(decided(&server, "alice").await, 200);
    assert_eq!(decided(&server, "alice").await, 429);
}

/// The first answer that is a decision.
async fn decided(server: &Fluxlimit, user: &str) -> u16 {
    eventually("a decision", async || Some(status(server, user).await).filter(|status| *status != 503)).await
}

#[tokio::test]
async fn a_password_that_is_put_right_needs_no_restart() {
    let redis = Redis::start().await;
    let () = redis.ask(&["ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "wrong").unwrap();
    let path = file.to_str().unwrap();
    let (_rules, mut server) =
        started(&redis.url(), &[("REDIS__USERNAME", "app"), ("REDIS__PASSWORD_FILE", path)]).await;
    assert_eq!(status(&server, "alice").await, 503);
    server.process.output_with("the reason", |log| log.contains("WRONGPASS").then_some(())).await;
    fs::write(&file, "right").unwrap();
    decides_again(&server).await;
}

#[tokio::test]
async fn a_replica_that_may_not_be_written_to_counts_once_it_is_a_master() {
    let master = Redis::start().await;
    let replica = Redis::replica_of(&master).await;
    let (_rules, server) = started(&replica.url(), &[]).await;
    assert_eq!(status(&server, "alice").await, 503);
    let () = replica.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    decides_again(&server).await;
}
