//! `examples/compose/`: against the schema of Compose files, and what they say served by the built program behind a
//! real Envoy.

use serde_json::{Map, Value};

use super::rendered::text;
use super::{documents, read, repository, succeeds, tool};
use crate::support::{Envoy, Fluxlimit, Postgres, Redis, eventually};

fn file(name: &str) -> Value {
    documents(&read(&format!("examples/compose/{name}.yaml"))).swap_remove(0)
}

/// The services of all files.
fn services() -> Vec<(String, Value)> {
    let files = ["compose", "redis", "postgres"].map(file);
    let services = files.iter().flat_map(|file| file["services"].as_object().unwrap());
    services.map(|(name, service)| (name.clone(), service.clone())).collect()
}

#[test]
fn every_file_fits_the_schema_of_compose() {
    for name in ["compose", "redis", "postgres"] {
        let path = repository().join(format!("examples/compose/{name}.yaml"));
        succeeds(tool("check-jsonschema").args(["--builtin-schema", "vendor.compose-spec"]).arg(path));
    }
}

#[test]
fn every_container_is_nobody_and_writes_nothing_but_its_data() {
    // What a second file says about a service that the first one has is merged into it.
    let whole = services().into_iter().filter(|(_, service)| service["image"].is_string());
    let whole: Vec<_> = whole.collect();
    assert_eq!(whole.len(), 5);
    for (name, service) in whole {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"][0], "no-new-privileges:true", "{name}");
        let user: u32 = text(&service["user"]).split(':').next().unwrap().parse().unwrap();
        assert!(user > 0, "{name}");
        let ports = service["ports"].as_array().cloned().unwrap_or_default();
        assert!(ports.iter().all(|port| text(port).starts_with("127.0.0.1:")), "{name} is open to everybody");
    }
}

#[test]
fn compose_waits_longer_for_the_end_than_the_server_takes() {
    let settings = documents(&read("config/fluxlimit.yaml")).swap_remove(0);
    let takes_ms = settings["drain_delay_ms"].as_u64().unwrap() + settings["stop_grace_ms"].as_u64().unwrap();
    let service = &file("compose")["services"]["fluxlimit"];
    let grace_s: u64 = text(&service["stop_grace_period"]).trim_end_matches('s').parse().unwrap();
    assert!(grace_s * 1000 > takes_ms);
}

/// The variables of the server in the first file and in another one, which adds to it.
fn environment(second: Option<&str>) -> Map<String, Value> {
    let mut all = file("compose")["services"]["fluxlimit"]["environment"].as_object().unwrap().clone();
    if let Some(second) = second {
        all.extend(file(second)["services"]["fluxlimit"]["environment"].as_object().unwrap().clone());
    }
    all
}

/// Serves the sample rules with these variables, in which texts are replaced, behind the Envoy of the folder.
async fn start(variables: &Map<String, Value>, replacements: &[(&str, &str)]) -> (Envoy, Fluxlimit) {
    let mut setup = Fluxlimit::with_rules_at(&repository().join("config/rules"));
    for (name, value) in variables {
        let name = name.strip_prefix("FLUXLIMIT_").expect("a setting");
        let value =
            replacements.iter().fold(text(value).to_owned(), |value, (old, new)| value.replace(old, new));
        setup = setup.setting(name, &value);
    }
    let server = setup.start().await;
    server.ready().await;
    let mut config = read("examples/compose/envoy.yaml");
    let ports = [
        ("port_value: 9901", "port_value: 0".to_owned()),
        ("address: 0.0.0.0, port_value: 10000", "address: 127.0.0.1, port_value: 0".to_owned()),
        (
            "address: fluxlimit, port_value: 8081",
            format!("address: 127.0.0.1, port_value: {}", server.grpc.port()),
        ),
        // It suits production, not the busiest moment of a test run.
        ("timeout: 0.1s", "timeout: 10s".to_owned()),
    ];
    for (fixed, free) in ports {
        assert_eq!(config.matches(fixed).count(), 1, "{fixed}");
        config = config.replace(fixed, &free);
    }
    let envoy = Envoy::start(&config).await;
    eventually("the server to be healthy", async || envoy.healthy_servers().await.filter(|&n| n == 1)).await;
    (envoy, server)
}

/// The sixth login in a row is refused; a window may end meanwhile, but not twice.
async fn five_logins_pass(envoy: &mut Envoy) {
    let statuses = envoy.statuses(11, "/login", &[]).await;
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!((5..=10).contains(&passed) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(statuses[..5], [200; 5]);
}

#[tokio::test]
async fn the_first_file_limits_logins_and_its_log_says_which_rule_refused() {
    let (mut envoy, _server) = start(&environment(None), &[]).await;
    five_logins_pass(&mut envoy).await;
    eventually("the rule in the log", async || {
        envoy.process.output().contains("login-attempts").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_file_with_redis_counts_there() {
    let redis = Redis::with(&["--maxmemory-policy", "noeviction"]).await;
    let address = redis.address().to_string();
    let (mut envoy, _server) = start(&environment(Some("redis")), &[("valkey:6379", &address)]).await;
    five_logins_pass(&mut envoy).await;
    assert!(redis.ask::<i64>(&["DBSIZE"]).await.unwrap() > 0);
    let options = file("redis")["services"]["valkey"]["command"].to_string();
    assert!(options.contains(r#""--maxmemory-policy","noeviction""#), "{options}");
}

#[tokio::test]
async fn the_file_with_postgres_counts_in_the_table_of_its_migration() {
    let postgres = Postgres::start().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "x\n").unwrap();
    let address = format!("postgres@{}/", postgres.address());
    let secret = secret.path().to_str().unwrap();
    let replacements = [("postgres@postgres/", address.as_str()), ("/run/secrets/postgres-password", secret)];
    let migrate = file("postgres")["services"]["migrate"].clone();
    let variables = migrate["environment"].as_object().unwrap().iter().map(|(name, value)| {
        let value =
            replacements.iter().fold(text(value).to_owned(), |value, (old, new)| value.replace(old, new));
        (name.clone(), value)
    });
    let variables: Vec<(String, String)> = variables.collect();
    let (status, output) = Fluxlimit::run(&[text(&migrate["command"][0])], &variables).await;
    assert!(status.success() && output.contains("made the table"), "{output}");
    let (mut envoy, _server) = start(&environment(Some("postgres")), &replacements).await;
    five_logins_pass(&mut envoy).await;
    assert!(postgres.number("SELECT count(*) FROM fluxlimit WHERE state <> ''").await > 0);
}
