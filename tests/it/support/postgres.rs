//! A real Postgres, started for one test, on an address of its own.

use super::free_address;
use super::process::{Process, Signal, eventually};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, Row};

/// A running Postgres server with the superuser `postgres`, who needs no password; its data is gone when dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    address: SocketAddr,
    directory: TempDir,
    options: Vec<String>,
    process: Option<Process>,
}

impl Postgres {
    /// A server that does not wait for its disk, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::with(&["fsync=off"]).await
    }

    /// With settings of its own, such as `["max_connections=10"]`.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        if rustix::process::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        let mut server = Self { address: free_address(), directory, options, process: None };
        let initdb = programs().join("initdb");
        let data = server.data().display().to_string();
        let arguments = ["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"];
        let (status, output) =
            Self::as_its_user(&initdb, &[&arguments[..], &["--locale", "C"]].concat()).finished().await;
        assert!(status.success(), "{output}");
        server.start_again().await;
        server
    }

    /// Starts it again at the same address, after [`Self::kill`].
    pub(crate) async fn start_again(&mut self) {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let (data, sockets) = (self.data().display().to_string(), self.sockets().display().to_string());
        let mut arguments = vec!["-D", &data, "-h", &host, "-p", &port, "-k", &sockets];
        for option in &self.options {
            arguments.extend(["-c", option]);
        }
        let mut process = Self::as_its_user(&programs().join("postgres"), &arguments);
        process
            .output_with("a Postgres that accepts connections", |log| {
                log.contains("ready to accept connections").then_some(())
            })
            .await;
        self.process = Some(process);
    }

    /// Its URL, as the superuser.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Its URL, as somebody else.
    pub(crate) fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@{}/postgres", self.address)
    }

    /// The directory of its unix socket.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Where it keeps its data and its configuration.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().expect("it runs").output()
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// A connection of its own, as the superuser.
    pub(crate) async fn client(&self) -> Client {
        self.client_of("postgres").await
    }

    /// A connection of its own, as somebody else.
    pub(crate) async fn client_of(&self, role: &str) -> Client {
        let connecting = tokio_postgres::connect(&self.url_of(role), NoTls).await;
        let (client, connection) = connecting.expect("it accepts connections");
        tokio::spawn(async move { drop(connection.await) });
        client
    }

    /// The rows of a query without parameters.
    pub(crate) async fn rows(&self, query: &str) -> Vec<Row> {
        self.client().await.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    /// The one number that a query gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.rows(query).await[0].get(0)
    }

    /// Runs statements.
    pub(crate) async fn run(&self, statements: &str) {
        let done = self.client().await.batch_execute(statements).await;
        done.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// Starts a program of Postgres, which refuses to run as root.
    fn as_its_user(program: &Path, arguments: &[&str]) -> Process {
        // What the name of a process should be stands only in the panics of a test.
        let name = "postgres";
        let environment = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
        if !rustix::process::geteuid().is_root() {
            return Process::start(name, program, arguments, &environment);
        }
        // The signal of a parent's death is lost when the user changes, so it is asked for again.
        let program = program.to_str().expect("paths of programs are UTF-8");
        let mut all = vec!["--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
        all.extend(["--pdeathsig", "KILL", "--", program]);
        all.extend(arguments);
        Process::start(name, Path::new("setpriv"), &all, &environment)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed, it would leave shared memory behind.
        if let Some(process) = &mut self.process {
            process.end_with(Signal::QUIT);
        }
    }
}

/// The programs of the newest Postgres that is installed; Debian puts them outside of the search path.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").expect("Postgres is installed");
    let versions = installed.filter_map(|entry| {
        let path = entry.ok()?.path().join("bin");
        let version: u32 = path.parent()?.file_name()?.to_str()?.parse().ok()?;
        path.join("initdb").exists().then_some((version, path))
    });
    versions.max().expect("a Postgres with its server is installed").1
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

#[tokio::test]
async fn a_postgres_of_a_test_answers_and_keeps_what_it_was_told() {
    let mut server = Postgres::start().await;
    server.run("CREATE TABLE a AS SELECT 1 AS b").await;
    server.kill();
    assert!(tokio_postgres::connect(&server.url(), NoTls).await.is_err());
    server.start_again().await;
    eventually("an answer", async || (server.number("SELECT count(*) FROM a").await == 1).then_some(()))
        .await;
}
