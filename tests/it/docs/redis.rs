//! What docs/redis.md shows can be used as it stands there.

use fluxlimit::config::StoreKind;

use super::blocks::blocks;
use super::page;
use super::settings::load_examples;
use crate::support::{Fluxlimit, Redis, RuleDirectory, eventually};

#[test]
fn every_settings_example_loads() {
    load_examples("redis", StoreKind::Redis, 5);
}

/// The words of the command that the page shows.
fn command() -> Vec<String> {
    let text = page("redis");
    let block = blocks(&text).into_iter().find(|block| block.text.starts_with("ACL SETUSER")).unwrap();
    block.text.replace("PASSWORD", "secret").split_whitespace().map(ToOwned::to_owned).collect()
}

const RULES: &str =
    "domain: edge\ndescriptors:\n- { key: user, rate_limit: { unit: day, requests_per_unit: 3 } }\n";

/// A Redis with the user that `command` makes, and a server that asks as that user.
async fn served(command: &[String]) -> (RuleDirectory, Redis, Fluxlimit) {
    let redis = Redis::start().await;
    let () = redis.ask(&command.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let rules = RuleDirectory::with(RULES);
    let url = redis.url().replace("//", "//fluxlimit:secret@");
    let server = Fluxlimit::with_rules_at(rules.path()).setting("STORE", &url).start().await;
    (rules, redis, server)
}

#[tokio::test]
async fn a_user_with_the_rights_that_the_page_names_is_enough() {
    let (_rules, redis, server) = served(&command()).await;
    eventually("a decision", async || (server.ask("user", "alice").await.status == 200).then_some(())).await;
    // The script has to be sent anew, by the same user.
    let () = redis.ask(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(server.ask("user", "alice").await.status, 200);
    let denied: Vec<redis::Value> = redis.ask(&["ACL", "LOG"]).await.unwrap();
    assert!(denied.is_empty(), "{denied:?}");
}

#[tokio::test]
async fn every_right_that_the_page_names_is_made_use_of() {
    let command = command();
    let rights: Vec<&String> = command.iter().filter(|word| word.starts_with('+')).collect();
    assert!(rights.len() > 5, "{rights:?}");
    for right in rights {
        let rest: Vec<String> = command.iter().filter(|word| *word != right).cloned().collect();
        let (_rules, redis, server) = served(&rest).await;
        let what = format!("a refusal for want of {right}");
        eventually(&what, async || {
            server.ask("user", "alice").await;
            let denied: Vec<redis::Value> = redis.ask(&["ACL", "LOG"]).await.unwrap();
            (!denied.is_empty()).then_some(())
        })
        .await;
        let optional = ["+info", "+client|setname"].contains(&right.as_str());
        let decided = server.ask("user", "alice").await.status != 503;
        assert_eq!(decided, optional, "without {right}");
    }
}
