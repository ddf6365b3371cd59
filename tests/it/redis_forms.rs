//! Every way in which a Redis is deployed, with the whole program: what it counts, another server sees.

use std::fs;
use std::path::Path;

use crate::support::{Certificates, Fluxlimit, Redis, RuleDirectory, Sentinels, eventually, free_address};

/// Three a day for every user.
const THREE_A_DAY: &str = "\
domain: edge
descriptors:
- { key: user, rate_limit: { unit: day, requests_per_unit: 3, algorithm: sliding_window } }
";

/// A server of those rules on that store, once it decides.
pub(crate) async fn ready(settings: &[(&str, &str)]) -> (RuleDirectory, Fluxlimit) {
    let (rules, server) = started(settings).await;
    server.decides().await;
    // Both, because a directory that is being removed is an empty one for a moment: no rules.
    (rules, server)
}

async fn started(settings: &[(&str, &str)]) -> (RuleDirectory, Fluxlimit) {
    let rules = RuleDirectory::with(THREE_A_DAY);
    let mut setup = Fluxlimit::with_rules_at(rules.path());
    for (name, value) in settings {
        setup = setup.setting(name, value);
    }
    let server = setup.start().await;
    (rules, server)
}

/// The statuses of `count` questions about one user.
pub(crate) async fn statuses(server: &Fluxlimit, user: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(server.ask("user", user).await.status.as_u16());
    }
    statuses
}

/// A server whose log says `what` about a store that it cannot use.
pub(crate) async fn complains(settings: &[(&str, &str)], what: &str) {
    let (_rules, mut server) = started(settings).await;
    server.process.output_with(what, |log| log.contains(what).then_some(())).await;
    assert_ne!(server.page("/ready").await.status, 200);
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[tokio::test]
async fn servers_on_one_redis_count_as_one() {
    let redis = Redis::start().await;
    let (_first_rules, first) = ready(&[("STORE", &redis.url())]).await;
    let (_second_rules, second) = ready(&[("STORE", &redis.url())]).await;
    assert_eq!(statuses(&first, "alice", 2).await, [200, 200]);
    assert_eq!(statuses(&second, "alice", 2).await, [200, 429]);
    assert_eq!(statuses(&first, "alice", 1).await, [429]);
}

#[tokio::test]
async fn a_valkey_counts_like_a_redis() {
    let valkey = Redis::valkey().await;
    let info: String = valkey.ask(&["INFO", "server"]).await.unwrap();
    assert!(info.contains("valkey_version"), "{info}");
    let (_rules, server) = ready(&[("STORE", &valkey.url().replace("redis://", "valkey://"))]).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn a_redis_on_a_unix_socket_counts_in_the_database_that_the_url_names() {
    let redis = Redis::start().await;
    let url = format!("redis+unix://{}?db=5", shown(&redis.socket()));
    let (_rules, server) = ready(&[("STORE", &url)]).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
    assert_eq!(databases(&redis).await, ["db5"]);
}

#[tokio::test]
async fn the_database_is_that_of_the_settings() {
    let redis = Redis::start().await;
    let (_rules, server) = ready(&[("STORE", &redis.url()), ("REDIS__DATABASE", "3")]).await;
    assert_eq!(statuses(&server, "alice", 1).await, [200]);
    assert_eq!(databases(&redis).await, ["db3"]);
}

/// The databases in which there are keys.
async fn databases(redis: &Redis) -> Vec<String> {
    let info: String = redis.ask(&["INFO", "keyspace"]).await.unwrap();
    info.lines().filter_map(|line| line.split_once(":keys=")).map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn a_prefix_of_keys_keeps_two_installations_apart() {
    let redis = Redis::start().await;
    let url = redis.url();
    let (_rules_of_one, one) = ready(&[("STORE", &url), ("REDIS__KEY_PREFIX", "one:")]).await;
    let (_rules_of_two, two) = ready(&[("STORE", &url), ("REDIS__KEY_PREFIX", "two:")]).await;
    assert_eq!(statuses(&one, "alice", 4).await, [200, 200, 200, 429]);
    assert_eq!(statuses(&two, "alice", 4).await, [200, 200, 200, 429]);
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await.unwrap();
    let of = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!((of("one:"), of("two:"), keys.len()), (1, 1, 2), "{keys:?}");
}

#[tokio::test]
async fn a_redis_with_tls_is_checked_and_checks_who_comes() {
    let address = free_address();
    let certificates = Certificates::of(address.ip());
    let options = certificates.redis_options(address.port(), true);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let redis = Redis::at(address, &options).await;
    let url = format!("rediss://{}", redis.address());
    let (ca, (cert, key)) = (certificates.ca(), certificates.client());
    let all = [
        ("STORE", url.as_str()),
        ("REDIS__TLS_CA_FILE", shown(&ca)),
        ("REDIS__TLS_CERT_FILE", shown(&cert)),
        ("REDIS__TLS_KEY_FILE", shown(&key)),
    ];
    let (_rules, server) = ready(&all).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
    complains(&all[..2], "ertificate").await;
    let stranger = Certificates::of(address.ip());
    let stranger = stranger.ca();
    let others = [all[0], ("REDIS__TLS_CA_FILE", shown(&stranger)), all[2], all[3]];
    complains(&others, "invalid peer certificate").await;
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let address = free_address();
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let options = certificates.redis_options(address.port(), false);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let _redis = Redis::at(address, &options).await;
    let (url, ca) = (format!("rediss://{address}"), certificates.ca());
    complains(&[("STORE", &url), ("REDIS__TLS_CA_FILE", shown(&ca))], "certificate not valid for name").await;
}

/// A Redis where only the user `app` may do anything, with the password `sesame-1`.
async fn with_user() -> Redis {
    let redis = Redis::start().await;
    let () = redis.ask(&["ACL", "SETUSER", "app", "on", ">sesame-1", "~*", "&*", "+@all"]).await.unwrap();
    redis
}

#[tokio::test]
async fn a_changed_password_file_counts_for_the_next_connection() {
    let redis = with_user().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "sesame-1\n").unwrap();
    let settings = [
        ("STORE", redis.url()),
        ("REDIS__USERNAME", "app".into()),
        ("REDIS__PASSWORD_FILE", shown(&file).into()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (_rules, server) = ready(&settings).await;
    assert_eq!(statuses(&server, "alice", 2).await, [200, 200]);
    fs::write(&file, "sesame-2\n").unwrap();
    let () = redis.ask(&["ACL", "SETUSER", "app", "resetpass", ">sesame-2"]).await.unwrap();
    let _: i64 = redis.ask(&["CLIENT", "KILL", "USER", "app"]).await.unwrap();
    eventually("an answer over a new connection", async || {
        (server.ask("user", "bob").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(statuses(&server, "alice", 2).await, [200, 429]);
}

#[tokio::test]
async fn a_redis_that_wants_a_password_says_so_in_the_log() {
    let redis = Redis::start().await;
    let () = redis.ask(&["CONFIG", "SET", "requirepass", "sesame"]).await.unwrap();
    let address = redis.address();
    complains(&[("STORE", &redis.url())], &format!("redis at {address}: NOAUTH Authentication required"))
        .await;
    let url = format!("redis://:wrong@{}", redis.address());
    complains(&[("STORE", &url)], "WRONGPASS invalid username-password pair").await;
}

#[tokio::test]
async fn the_master_that_the_sentinels_name_counts() {
    let redis = with_user().await;
    let replica = Redis::replica_of(&redis).await;
    let sentinels = Sentinels::with(&redis, Some("watch")).await;
    let url = sentinels.url().replace("//", "//app:sesame-1@");
    let settings = [("STORE", url.as_str()), ("REDIS__SENTINEL_PASSWORD", "watch")];
    let (_rules, server) = ready(&settings).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
    assert_eq!(databases(&redis).await, ["db0"]);
    drop(server);
    complains(&settings[..1], "sentinel: redis at").await;
    complains(&[("STORE", &url.replace("/main", "/other")), settings[1]], "it knows no master of this name")
        .await;
    drop(replica);
}

/// With Redis' own words: what is refused tells nothing.
#[tokio::test]
async fn what_a_bad_url_says_is_not_repeated() {
    let rules = RuleDirectory::with(THREE_A_DAY);
    for url in ["redis://app:hunter2@cache:port", "redis://hunter2@cache", "redis+cluster://app:hunter2"] {
        let arguments = ["serve", "--rules", shown(rules.path()), "--store", url];
        let (status, output) = Fluxlimit::run(&arguments, &[]).await;
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(!output.contains("hunter2"), "{output}");
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_warned_of_once() {
    let redis = Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let (_rules, server) = ready(&[("STORE", &redis.url())]).await;
    assert_eq!(server.metric("fluxlimit_redis_evicting_servers").await, Some(1));
    assert_eq!(statuses(&server, "alice", 1).await, [200]);
    let log = server.process.output();
    assert_eq!(log.matches("set maxmemory-policy to noeviction").count(), 1, "{log}");
}
