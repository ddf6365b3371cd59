//! Every command and every promise of the README, tried.

use std::path::Path;
use std::process::Command;

use fluxlimit::rules::load::{LoadOptions, Source, load};

use crate::support::{Fluxlimit, Postgres, Redis, eventually};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The fenced blocks of one language in the README, in order.
fn blocks(language: &str) -> Vec<String> {
    let readme = read("README.md");
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if let Some(of) = line.strip_prefix("```").filter(|of| !of.is_empty()) {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if of == language {
                blocks.push(block.join("\n"));
            }
        }
    }
    blocks
}

/// A new command needs a test of its own here. What the two with Envoy do is tried by `envoy::sample`, what those of
/// Docker and Kubernetes do, as far as that goes without them, by `deploy`, and `.ci/test` is what runs this test.
#[test]
fn every_command_of_the_readme_is_tried() {
    let commands = blocks("sh");
    let starts: Vec<&str> = commands.iter().map(|command| command.lines().next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "cargo run --release -- serve --rules config/rules",
            "docker build -t fluxlimit .",
            "kubectl apply -k examples/kubernetes/base",
            "for attempt in 1 2 3 4 5 6; do",
            "envoy -c envoy/envoy.yaml",
            "curl -i localhost:10000/login",
            "cargo run --release -- ask --look --domain edge action=login remote_address=10.0.0.1",
            "cargo run --release -- ask --reset --domain edge action=login remote_address=10.0.0.1",
            "cargo run --release -- serve --rules config/rules --store redis://localhost:6379",
            "cargo run --release -- serve --rules config/rules --store postgres://postgres@localhost/postgres",
            ".ci/test",
            "cargo run --release -- explain --rules config/rules --domain edge action=login remote_address=10.0.0.1",
        ]
    );
    assert!(read(".ci/run").contains("/test\""), "CI runs something else than the README says");
}

#[tokio::test]
async fn the_first_command_serves_and_the_sixth_login_is_refused() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules");
    let server = Fluxlimit::with_rules_at(&rules).start().await;
    let asking = &blocks("sh")[3];
    let expected = &blocks("text")[0];
    let mut answers = Vec::new();
    // A window of a quarter of an hour may end during the first try, but not during the second one, too.
    for address in ["10.0.0.1", "10.0.0.2"] {
        let script = asking.replace("localhost:8080", &server.http.to_string()).replace("10.0.0.1", address);
        let output = tokio::task::spawn_blocking(move || {
            Command::new("bash").arg("-c").arg(script).output().expect("bash and curl: run .ci/setup")
        });
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        answers.push(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    assert!(answers.contains(expected), "{answers:?}");
}

#[tokio::test]
async fn the_commands_for_a_blocked_customer_look_and_let_in_again() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules");
    let mut server = Fluxlimit::with_rules_at(&rules).admin().start().await;
    let admin = server.admin().await.to_string();
    let grpc = server.grpc.to_string();
    let run = |command: &str, at: [&str; 2]| {
        let arguments = command.strip_prefix("cargo run --release -- ").unwrap().split(' ');
        let mut program = Command::new(env!("CARGO_BIN_EXE_fluxlimit"));
        let output = program.args(arguments).args(at).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let commands = blocks("sh");
    let (look, reset) = (&commands[6], &commands[7]);
    let ask = || run(&format!("{} --hits 5", look.replace(" --look", "")), ["--server", &grpc]).0;
    // A window may end between the two, but not twice in a row.
    for _ in 0..2 {
        ask();
        if ask() == Some(4) {
            break;
        }
    }
    let (code, told) = run(look, ["--admin", &admin]);
    assert!(code == Some(4) && told.contains("WOULD BE REFUSED"), "{told}");
    let (code, told) = run(reset, ["--admin", &admin]);
    assert!(code == Some(0) && told.contains("RESET: 1 limit unused now"), "{told}");
    let (code, told) = run(look, ["--admin", &admin]);
    assert!(code == Some(0) && told.contains("WOULD PASS"), "{told}");
}

#[tokio::test]
async fn the_command_with_redis_serves_from_it() {
    let redis = Redis::start().await;
    let server = serving(&blocks("sh")[8].replace("redis://localhost:6379", &redis.url())).await;
    eventually("a key in Redis", async || {
        server.ask("remote_address", "10.0.0.1").await;
        redis.ask::<i64>(&["DBSIZE"]).await.ok().filter(|keys| *keys > 0)
    })
    .await;
}

#[tokio::test]
async fn the_command_with_postgres_serves_from_it() {
    let postgres = Postgres::start().await;
    let command = blocks("sh")[9].replace("postgres://postgres@localhost/postgres", &postgres.url());
    let server = serving(&command).await;
    eventually("a row in Postgres", async || {
        // There is no table before it is ready.
        (server.ask("remote_address", "10.0.0.1").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(postgres.number("SELECT count(*) FROM fluxlimit WHERE state <> '' AND key <> ''").await, 1);
}

/// A server started by a command of the README, on free ports.
async fn serving(command: &str) -> Fluxlimit {
    let mut arguments: Vec<&str> =
        command.strip_prefix("cargo run --release -- ").unwrap().split(' ').collect();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules");
    arguments[2] = rules.to_str().unwrap();
    arguments.extend(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let environment = [("NO_COLOR", "1"), ("FLUXLIMIT_ADMIN__ADDRESS", "off")];
    Fluxlimit::start(&arguments, &environment.map(|(name, value)| (name.to_owned(), value.to_owned()))).await
}

#[test]
fn the_rule_that_the_readme_asks_for_is_explained() {
    let command = &blocks("sh")[11];
    let arguments = command.strip_prefix("cargo run --release -- ").unwrap().split(' ');
    let output = Command::new(env!("CARGO_BIN_EXE_fluxlimit"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .contains("limited by the rule `action=login > remote_address`")
    );
}

#[test]
fn the_rules_of_the_readme_load_without_a_warning() {
    for (index, text) in blocks("yaml").into_iter().enumerate() {
        let source = Source { name: format!("README.md#{index}"), text: text.into_bytes() };
        assert_eq!(load(&[source], &LoadOptions::default()).problems, []);
    }
}

#[test]
fn the_mistake_that_the_readme_shows_is_told_as_it_shows_it() {
    let shown = &blocks("text")[1];
    let mistaken = read("config/rules/edge.yaml").replacen("unit: second", "unit: secnod", 1);
    let source = Source { name: "config/rules/edge.yaml".to_owned(), text: mistaken.into_bytes() };
    let problems = load(&[source], &LoadOptions::default()).problems;
    let lines: Vec<String> =
        problems.iter().map(|problem| problem.to_string().replace("\n  hint: ", "; hint: ")).collect();
    assert_eq!(lines, [shown.as_str()]);
}
