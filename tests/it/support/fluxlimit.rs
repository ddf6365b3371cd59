//! The built server as a child process, with its rules in a directory of its own.

use super::{Answer, Client, Process, Signal, eventually};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use tempfile::TempDir;

/// A loopback address that belongs to this test process alone.
///
/// A port chosen there is still free when a server starts again: nothing else on the machine listens on it.
pub(crate) fn own_loopback_address() -> IpAddr {
    // Process ids have 22 bits on Linux; 127.0.0.0/10 is left to everybody else.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 64, middle, low).into()
}

/// How to start a server.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    rules: PathBuf,
    environment: Vec<(String, String)>,
    grpc: SocketAddr,
}

impl Setup {
    /// With a setting, named as in the environment but without the prefix: `DRAIN_DELAY_MS`.
    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.environment.push((format!("FLUXLIMIT_{name}"), value.to_owned()));
        self
    }

    /// With a variable of others in its environment, such as `PGHOST`.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a wall clock that is so many seconds off, through the library that fakes it.
    pub(crate) fn clock_off_by(mut self, seconds: i64, libfaketime: &Path) -> Self {
        let variables = [
            ("LD_PRELOAD", libfaketime.display().to_string()),
            ("FAKETIME", format!("{seconds:+}s")),
            // Timers stay true.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        self
    }

    /// With an admin listener on any port.
    pub(crate) fn admin(self) -> Self {
        self.setting("ADMIN__ADDRESS", "127.0.0.1:0")
    }

    /// With gRPC on this address instead of 127.0.0.1, port 0.
    pub(crate) fn grpc(mut self, address: SocketAddr) -> Self {
        self.grpc = address;
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(self) -> Fluxlimit {
        let rules = self.rules.to_str().expect("test paths are UTF-8");
        let grpc = self.grpc.to_string();
        let arguments = ["serve", "--rules", rules, "--grpc", &grpc, "--http", "127.0.0.1:0"];
        Fluxlimit::start(&arguments, &self.environment).await
    }
}
/// A running server.
#[derive(Debug)]
pub(crate) struct Fluxlimit {
    pub(crate) process: Process,
    /// Where it answers the rate-limit protocol.
    pub(crate) grpc: SocketAddr,
    /// Where it answers HTTP.
    pub(crate) http: SocketAddr,
}

impl Fluxlimit {
    /// A server with the rules at `path`, a file or a directory.
    pub(crate) fn with_rules_at(path: &Path) -> Setup {
        // Plain text, so that the log lines can be searched.
        let variables = [("NO_COLOR", "1"), ("FLUXLIMIT_ADMIN__ADDRESS", "off")];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Setup { rules: path.to_owned(), environment, grpc: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// Starts it with these arguments and this environment alone, and waits until it listens.
    pub(crate) async fn start(arguments: &[&str], environment: &[(String, String)]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_fluxlimit"));
        Self::started(Process::start("fluxlimit", program, arguments, environment)).await
    }

    /// A server that was started in another way, once it listens.
    pub(crate) async fn started(mut process: Process) -> Self {
        let (grpc, http) = process
            .output_with("a line for each listener", |log| {
                Some((listener(log, Protocol::Grpc)?, listener(log, Protocol::Http)?))
            })
            .await;
        Self { process, grpc, http }
    }

    /// Runs the program to its end: a command line or settings that cannot be served.
    pub(crate) async fn run(arguments: &[&str], environment: &[(String, String)]) -> (ExitStatus, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_fluxlimit"));
        Process::start("fluxlimit", program, arguments, environment).finished().await
    }

    /// Where its admin listener is, which it was started with.
    pub(crate) async fn admin(&mut self) -> SocketAddr {
        let found = self.process.output_with("a line for the admin", |log| listener(log, Protocol::Admin));
        found.await
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        eventually("a server that is ready", async || {
            (self.page("/ready").await.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until it decides about users of the domain `edge`, by looking: that counts nothing.
    pub(crate) async fn decides(&self) {
        let entry = serde_json::json!({ "key": "user", "value": "nobody" });
        let look =
            serde_json::json!({ "domain": "edge", "descriptors": [{ "entries": [entry], "hitsAddend": 0 }] });
        eventually("a decision", async || {
            let answer = Client::new(self.http).post("/json", look.to_string()).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// A page of the HTTP front, on a connection of its own.
    pub(crate) async fn page(&self, path: &str) -> Answer {
        Client::new(self.http).get(path, &[]).await.expect("the HTTP front answers")
    }

    /// What `/json` answers to a question about `key` and `value` in the domain `edge`.
    pub(crate) async fn ask(&self, key: &str, value: &str) -> Answer {
        let entry = serde_json::json!({ "key": key, "value": value });
        let question = serde_json::json!({ "domain": "edge", "descriptors": [{ "entries": [entry] }] });
        let asked = Client::new(self.http).post("/json", question.to_string()).await;
        asked.expect("the HTTP front answers")
    }

    /// The value of the series that `/metrics` names so, labels included.
    pub(crate) async fn metric(&self, series: &str) -> Option<u64> {
        let page = self.page("/metrics").await;
        let value = page.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a count"))
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.exit().await
    }
}

/// A directory with one rule file, `edge.yaml`; gone when dropped.
#[derive(Debug)]
pub(crate) struct RuleDirectory {
    outer: TempDir,
    rules: PathBuf,
}

impl RuleDirectory {
    /// A new directory whose rule file says `text`.
    pub(crate) fn with(text: &str) -> Self {
        let outer = tempfile::tempdir().expect("a temporary directory");
        // Two levels down: the server watches the directory above the rules too, and drafts are written
        // where it does not look, so that only the change of the file itself can be noticed.
        let rules = outer.path().join("mount/rules");
        std::fs::create_dir_all(&rules).expect("the directory can be written");
        let directory = Self { outer, rules };
        directory.write(text);
        directory
    }

    /// Replaces the rule file in one step.
    pub(crate) fn write(&self, text: &str) {
        let draft = self.outer.path().join("draft");
        std::fs::write(&draft, text).expect("the directory can be written");
        std::fs::rename(&draft, self.rules.join("edge.yaml")).expect("both are on one file system");
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.rules
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    Grpc,
    Http,
    Admin,
}

/// The address in the log line that says that this protocol is being listened for.
fn listener(log: &str, wanted: Protocol) -> Option<SocketAddr> {
    log.lines().filter(|line| line.contains("listening")).find_map(|line| {
        let protocol = match line {
            _ if line.contains("grpc") => Protocol::Grpc,
            _ if line.contains("admin") => Protocol::Admin,
            _ => Protocol::Http,
        };
        (protocol == wanted).then(|| address_in(line)).flatten()
    })
}

/// The first socket address in a text, whatever stands around it.
fn address_in(text: &str) -> Option<SocketAddr> {
    text.split(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)))
        .find_map(|word| word.trim_start_matches(':').parse().ok())
}

#[test]
fn the_address_of_a_listener_is_found_in_any_log_format() {
    let log = "2026-11-24T20:54:20.310Z  INFO fluxlimit::server: listening protocol=\"grpc\" address=127.0.0.1:40001\n\
               2026-11-24T20:54:20.311Z  INFO fluxlimit::server: listening http=[::1]:40002 ready=false\n";
    assert_eq!(listener(log, Protocol::Grpc), "127.0.0.1:40001".parse().ok());
    assert_eq!(listener(log, Protocol::Http), "[::1]:40002".parse().ok());
    assert_eq!(listener("listening soon", Protocol::Http), None);
}
