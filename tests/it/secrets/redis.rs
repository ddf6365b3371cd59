//! Passwords of a Redis and of its Sentinels, wherever they stand and whatever becomes of them.

use std::path::Path;

use super::{Talkative, private_file};
use crate::support::{Certificates, Cluster, Redis, Sentinels, free_address};

const RIGHT: &str = "right-Tr0ub4dor";
const WRONG: &str = "wrong-Tr0ub4dor";

/// A Redis that asks for the password, and knows a user of its access control list with the same one.
async fn guarded() -> Redis {
    let password = format!(">{RIGHT}");
    Redis::with(&["--requirepass", RIGHT, "--user", "me", "on", &password, "~*", "&*", "+@all"]).await
}

#[tokio::test]
async fn the_password_of_a_redis_is_never_said_when_it_is_right() {
    let redis = guarded().await;
    let directory = tempfile::tempdir().unwrap();
    let file = private_file(directory.path(), "password", &format!("{RIGHT}\n"));
    let address = redis.address();
    let in_url = format!("redis://:{RIGHT}@{address}");
    let of_user = format!("redis://me:{RIGHT}@{address}");
    let (url, user) = (redis.url(), ("REDIS__USERNAME", "me"));
    for settings in [
        &[("STORE", in_url.as_str())][..],
        &[("STORE", of_user.as_str())],
        &[("STORE", url.as_str()), ("REDIS__PASSWORD", RIGHT)],
        &[("STORE", url.as_str()), user, ("REDIS__PASSWORD_FILE", file.as_str())],
    ] {
        Talkative::start(settings, &[]).await.decides().await;
    }
}

#[tokio::test]
async fn the_password_of_a_redis_is_never_said_when_it_is_refused_or_gets_nowhere() {
    let redis = guarded().await;
    let address = redis.address();
    let nowhere = free_address();
    let refused = format!("redis://:{WRONG}@{address}");
    let of_user = format!("redis://me:{WRONG}@{address}");
    let unreachable = format!("redis://me:{RIGHT}@{nowhere}");
    let in_plain = format!("rediss://me:{RIGHT}@{address}");
    for (store, what) in [
        (refused.as_str(), "WRONGPASS"),
        (of_user.as_str(), "WRONGPASS"),
        (unreachable.as_str(), "Connection refused"),
        (in_plain.as_str(), "no answer within"),
    ] {
        Talkative::start(&[("STORE", store)], &[]).await.says(what).await;
    }
}

#[tokio::test]
async fn the_password_of_a_redis_with_tls_is_never_said() {
    let address = free_address();
    let (ours, others) = (Certificates::of(address.ip()), Certificates::of(address.ip()));
    let mut options = ours.redis_options(address.port(), false);
    options.extend(["--requirepass".to_owned(), RIGHT.to_owned()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let redis = Redis::at(address, &options).await;
    let store = format!("rediss://:{RIGHT}@{}", redis.address());
    let shown = |path: &Path| path.display().to_string();
    let (right, wrong) = (shown(&ours.ca()), shown(&others.ca()));
    Talkative::start(&[("STORE", &store), ("REDIS__TLS_CA_FILE", &right)], &[]).await.decides().await;
    let distrusted = Talkative::start(&[("STORE", &store), ("REDIS__TLS_CA_FILE", &wrong)], &[]).await;
    distrusted.says("invalid peer certificate").await;
}

#[tokio::test]
async fn the_passwords_of_sentinels_and_of_their_master_are_never_said() {
    let master = Redis::start().await;
    let _replica = Redis::replica_of(&master).await;
    let sentinels = Sentinels::with(&master, Some(RIGHT)).await;
    let url = sentinels.url();
    let right = [("STORE", url.as_str()), ("REDIS__SENTINEL_PASSWORD", RIGHT)];
    Talkative::start(&right, &[]).await.decides().await;
    let wrong = [("STORE", url.as_str()), ("REDIS__SENTINEL_PASSWORD", WRONG)];
    Talkative::start(&wrong, &[]).await.says("WRONGPASS").await;
    let unasked = url.replace("://", &format!("://me:{RIGHT}@"));
    let unasked = [("STORE", unasked.as_str()), ("REDIS__SENTINEL_PASSWORD", RIGHT)];
    Talkative::start(&unasked, &[]).await.says("WRONGPASS").await;
}

#[tokio::test]
async fn the_password_of_a_cluster_is_never_said() {
    let password = format!(">{RIGHT}");
    let cluster = Cluster::with(&["--user", "me", "on", &password, "~*", "&*", "+@all"]).await;
    let url = |password: &str| format!("redis+cluster://me:{password}@{}", cluster.addresses());
    Talkative::start(&[("STORE", &url(RIGHT))], &[]).await.decides().await;
    Talkative::start(&[("STORE", &url(WRONG))], &[]).await.says("WRONGPASS").await;
}
