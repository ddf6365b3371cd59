//! What `fluxlimit explain` prints: for a hit of each kind, and for each reason of a miss.

use insta::assert_snapshot;

use crate::commands::Shell;

const SHOP: &str = "domain: shop
descriptors:
- key: remote_address
  rate_limit: {name: per-address, algorithm: token_bucket, requests_per_unit: 20, unit: second, burst: 50}
- key: action
  value: login
  descriptors:
  - key: remote_address
    rate_limit: {name: attempts, requests_per_unit: 5, unit: minute, unit_multiplier: 15}
- key: action
  value: search
  rate_limit: {algorithm: leaky_bucket, requests_per_unit: 2, unit: second}
- key: path
  value: /api/*
  share_threshold: true
  quota_mode: true
  rate_limit:
  - {name: pace, algorithm: sliding_window, requests_per_unit: 10, unit: second}
  - {requests_per_unit: 50, unit: hour, shadow_mode: true, replaces: [{name: per-address}]}
- key: path
  value: /health
- key: path
  rate_limit: {name: any-path, requests_per_unit: 100, unit: minute}
- key: tenant
  rate_limit: {name: per-tenant, requests_per_unit: 1000, unit: day}
  descriptors:
  - key: user
    rate_limit: {name: per-user, requests_per_unit: 100, unit: day}
- key: tenant
  value: acme
  descriptors:
  - key: plan
    value: gold
    rate_limit: {requests_per_unit: 5000, unit: day}
- key: staff
  rate_limit: {unlimited: true}
- key: nothing
  rate_limit: {requests_per_unit: 0, unit: day}
";

const OTHER: &str =
    "domain: staff-only\ndescriptors:\n- key: badge\n  rate_limit: {unit: day, requests_per_unit: 5}\n";

fn explain(words: &str) -> String {
    let shell = Shell::with(&[("rules/shop.yaml", SHOP), ("rules/staff.yaml", OTHER)]);
    shell.run(&format!("explain --rules rules {words}")).told()
}

/// Several lines of one kind in one snapshot.
macro_rules! explained {
    ($($test:ident: $($words:literal),+;)+) => {$(
        #[test]
        fn $test() {
            let told = [$(explain($words)),+];
            assert_snapshot!(told.join("\n\n"));
        }
    )+};
}

explained! {
    a_hit_names_the_rule_and_what_its_limit_means:
        "--domain shop action=login remote_address=10.0.0.1", "--domain shop tenant=blue";
    several_limits_shadow_quota_and_shared_counters_are_told:
        "--domain shop path=/api/v1/orders";
    a_cost_that_can_never_pass_is_told:
        "--domain shop action=search", "--domain shop --hits 5 action=search", "--domain shop nothing=x";
    a_replaced_limit_names_the_rule_that_replaces_it:
        "--domain shop path=/api/v1 + remote_address=10.0.0.1";
    an_override_takes_the_place_of_the_rules:
        "--domain shop --limit 10/30second session=1";
    unlimited_and_exempt_rules_limit_nothing:
        "--domain shop staff=ann", "--domain shop path=/health";
    a_miss_of_the_domain_names_the_nearest: "--domain shp remote_address=10.0.0.1";
    a_miss_of_the_domain_names_one_that_has_the_rule: "--domain web badge=7";
    a_miss_of_a_key_names_the_nearest: "--domain shop remote_adress=10.0.0.1";
    a_miss_of_a_value_names_the_nearest: "--domain shop action=Login remote_address=10.0.0.1";
    a_miss_shows_the_first_entry_that_failed: "--domain shop action=login user=7 page=2";
    another_order_is_offered: "--domain shop remote_address=10.0.0.1 action=login";
    a_rule_that_wants_one_more_entry_is_told: "--domain shop action=login";
    a_rule_that_wants_an_entry_before_is_told: "--domain shop user=7";
    two_descriptors_where_the_rule_wants_one_are_told: "--domain shop tenant=blue + user=7";
    one_descriptor_where_the_rules_want_two_is_told: "--domain shop path=/x remote_address=10.0.0.1";
    an_extra_entry_is_told: "--domain shop colour=red action=search";
    a_limit_that_is_passed_by_is_told: "--domain shop tenant=blue colour=red";
    no_way_back_is_told: "--domain shop tenant=acme user=7";
    a_key_that_nobody_knows_gets_a_rule_to_paste: "--domain shop session=a:b";
}

#[test]
fn what_a_file_says_of_a_store_that_fails_is_told() {
    let check = |policy: &str, told: &str| {
        let rules = format!("on_store_failure: {policy}\n{SHOP}");
        let shell = Shell::with(&[("rules/shop.yaml", &rules)]);
        let ran = shell.run("explain --rules rules --domain shop tenant=blue");
        assert!(ran.stdout.contains(&format!("\nif the store fails, {told}")), "{}", ran.stdout);
    };
    check("error", "Envoy's `failure_mode_deny` decides");
    check("allow", "everything passes");
    check("deny", "what is limited is refused");
}

#[test]
fn what_stays_together_in_a_cluster_is_told() {
    let check = |tag: &str, told: &str| {
        let rules = format!("hash_tag: {tag}\n{SHOP}");
        let shell = Shell::with(&[("rules/shop.yaml", &rules)]);
        let ran = shell.run("explain --rules rules --domain shop tenant=blue");
        assert!(ran.stdout.contains(&format!("\nin a Redis Cluster, {told}\n")), "{}", ran.stdout);
        let ran = shell.run("explain --json --rules rules --domain shop tenant=blue");
        assert!(ran.stdout.contains(&format!("\"hash_tag\": \"{tag}\"")), "{}", ran.stdout);
    };
    check("domain", "the whole domain is in one slot (`hash_tag: domain`)");
    check("tenant", "what has the same `tenant` is in one slot (`hash_tag: tenant`)");
}

#[test]
fn machines_get_json() {
    assert_snapshot!("explain_json_of_a_hit", explain("--json --domain shop path=/api/v1"));
    assert_snapshot!("explain_json_of_a_miss", explain("--json --domain shop tenant=acme user=7"));
}

#[test]
fn bad_rules_are_told_instead() {
    let shell = Shell::with(&[("a.yaml", "domain: shop\nx: 1\n")]);
    assert_snapshot!(shell.run("explain --rules a.yaml --domain shop a=1").told());
}

#[test]
fn exit_codes_tell_hits_from_misses() {
    let shell = Shell::with(&[("rules/shop.yaml", SHOP)]);
    let code = |words: &str| shell.run(&format!("explain --rules rules --domain {words}")).code;
    assert_eq!(code("shop tenant=blue"), Some(0));
    assert_eq!(code("shop nobody=x + tenant=blue"), Some(0));
    assert_eq!(code("shop --limit 1/day nobody=x"), Some(0));
    assert_eq!(code("shop nobody=x"), Some(3));
    assert_eq!(code("shop staff=ann"), Some(3));
    assert_eq!(code("elsewhere tenant=blue"), Some(3));
}
