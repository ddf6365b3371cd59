//! Secrets stand in no output: no message about settings, no log line at any level, no page, no panic.

mod collectors;
mod panics;
mod postgres;
mod redis;
mod settings;

use std::fs;
use std::path::Path;

use crate::support::{Client, Fluxlimit, RuleDirectory, Signal};

/// A word that every secret of these tests holds, and nothing else. It reads the same percent-encoded and in JSON.
const SECRET: &str = "Tr0ub4dor";

const RULES: &str = "\
domain: edge
descriptors:
- { key: user, rate_limit: { unit: day, requests_per_unit: 3, algorithm: sliding_window } }
";

/// Everything that our own code and every library of ours says: the most that an operator can ask for.
const EVERYTHING: &str =
    "trace,h2=trace,hyper=trace,hyper_util=trace,tonic=trace,tower=trace,rustls=trace,notify=trace";

#[track_caller]
fn holds_no_secret(what: &str, text: &str) {
    let found = text.lines().find(|line| line.contains(SECRET));
    assert_eq!(found, None, "{what}");
}

/// A server that logs everything, with settings and with variables of others.
struct Talkative {
    _rules: RuleDirectory,
    server: Fluxlimit,
}

impl Talkative {
    async fn start(settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let rules = RuleDirectory::with(RULES);
        let mut setup = Fluxlimit::with_rules_at(rules.path()).setting("LOG__FILTER", EVERYTHING);
        setup = setup.setting("DRAIN_DELAY_MS", "0").admin();
        for (name, value) in settings {
            setup = setup.setting(name, value);
        }
        for (name, value) in variables {
            setup = setup.variable(name, value);
        }
        Self { server: setup.start().await, _rules: rules }
    }

    /// Waits until the log says `what`, then asks for everything that it shows, stops it, and looks through all
    /// that it said.
    async fn says(mut self, what: &str) {
        let process = &mut self.server.process;
        process.output_with(what, |log| log.contains(what).then_some(())).await;
        self.shows_nothing().await;
    }

    /// The same once it decides.
    async fn decides(self) {
        self.server.decides().await;
        self.shows_nothing().await;
    }

    async fn shows_nothing(mut self) {
        let mut pages = String::new();
        let admin = self.server.admin().await;
        for token in [&b"Bearer right-Tr0ub4dor"[..], b"Bearer wrong-Tr0ub4dor", b"Tr0ub4dor"] {
            for page in ["/v1", "/v1/settings", "/v1/rules", "/v1/reload", "/v1/nothing"] {
                let answer = Client::new(admin).get(page, &[("authorization", token)]).await;
                pages.push_str(&answer.expect("the admin answers").body);
            }
        }
        for page in ["/metrics", "/ready", "/healthcheck", "/rlconfig", "/"] {
            pages.push_str(&self.server.page(page).await.body);
        }
        pages.push_str(&self.server.ask("user", "mallory\ninjected").await.body);
        holds_no_secret("pages", &pages);
        self.server.process.signal(Signal::TERM);
        let (_, log) = self.server.process.finished().await;
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is not what was asked for");
        holds_no_secret("log", &log);
        assert!(!log.contains("mallory") && !log.contains("injected"), "a client writes into the log");
    }
}

#[tokio::test]
async fn the_token_of_the_admin_is_never_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = private_file(directory.path(), "token", "right-Tr0ub4dor\n");
    for settings in [[("ADMIN__TOKEN", "right-Tr0ub4dor")], [("ADMIN__TOKEN_FILE", &file)]] {
        Talkative::start(&settings, &[]).await.decides().await;
    }
}

/// A file with `text` that only its owner may use.
fn private_file(directory: &Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    fs::write(&path, text).expect("the directory can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of this test");
    path.to_str().expect("test paths are UTF-8").to_owned()
}

/// What is hidden by its type is shown only where it is sent, so that nobody prints it in passing.
#[test]
fn secrets_are_revealed_where_they_are_sent_and_nowhere_else() {
    let may = ["src/config/setting/postgres.rs", "src/store/postgres/login.rs", "src/store/secret.rs"];
    let mut revealing = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.join("src")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        if code.contains(".reveal()") && !path.ends_with("fuzz.rs") {
            revealing.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    revealing.sort();
    assert_eq!(revealing, may);
}
