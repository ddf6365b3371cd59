//! A real Redis, started for one test, on an address of its own.

use super::own_loopback_address;
use super::process::{Process, Signal, eventually};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A running Redis server; its data is gone when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    address: SocketAddr,
    program: PathBuf,
    directory: TempDir,
    options: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// A server that keeps its data in memory only, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With options of `redis-server` beside those that the test needs, such as `["--maxmemory", "4mb"]`.
    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::at(free_address(), options).await
    }

    /// A Valkey instead.
    pub(crate) async fn valkey() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/valkey/valkey-server");
        assert!(program.exists(), "there is no Valkey at {}: run .ci/setup once", program.display());
        let mut server = Self { program, ..Self::stopped(free_address(), &[]) };
        server.start_again().await;
        server
    }

    /// The same at an address that was chosen before, where options have to name it.
    pub(crate) async fn at(address: SocketAddr, options: &[&str]) -> Self {
        let mut server = Self::stopped(address, options);
        server.start_again().await;
        server
    }

    /// A server that does not run yet.
    pub(crate) fn stopped(address: SocketAddr, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { address, program: "redis-server".into(), directory, options, process: None }
    }

    /// A copy of `master` that follows it.
    pub(crate) async fn replica_of(master: &Self) -> Self {
        let (host, port) = (master.address.ip().to_string(), master.address.port().to_string());
        let replica = Self::with(&["--replicaof", &host, &port]).await;
        eventually("a replica that has what its master has", async || {
            let info: String = replica.ask(&["INFO", "replication"]).await.ok()?;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        replica
    }

    /// Starts it again at the same address, after [`Self::kill`].
    pub(crate) async fn start_again(&mut self) {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let socket = self.socket().display().to_string();
        let directory = self.directory.path().display().to_string();
        let mut arguments =
            vec!["--bind", &host, "--port", &port, "--unixsocket", &socket, "--dir", &directory];
        arguments.extend(["--save", "", "--appendonly", "no", "--protected-mode", "no"]);
        // Connections come from 127.0.0.1, where it does not listen.
        arguments.extend(["--replica-announce-ip", &host, "--repl-diskless-sync-delay", "0"]);
        arguments.extend(self.options.iter().map(String::as_str));
        let mut process = Process::start("redis-server", &self.program, &arguments, &path());
        process
            .output_with("a Redis that accepts connections", |log| {
                log.contains("Ready to accept connections").then_some(())
            })
            .await;
        self.process = Some(process);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it on a connection of its own: `["PING"]`. On the unix socket, which never has TLS.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client =
            redis::Client::open(format!("unix://{}", self.socket().display())).expect("the URL is good");
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]);
        asked.query_async(&mut connection).await
    }
}

/// An address of this test alone with a port that nobody uses.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((own_loopback_address(), 0)).expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// The environment in which programs of the system are found.
pub(super) fn path() -> [(String, String); 1] {
    [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]
}

#[tokio::test]
async fn a_redis_of_a_test_answers_and_comes_back_empty() {
    let mut server = Redis::start().await;
    let answer: String = server.ask(&["SET", "a", "1"]).await.unwrap();
    assert_eq!(answer, "OK");
    server.kill();
    assert!(server.ask::<String>(&["PING"]).await.is_err());
    server.start_again().await;
    let left: Option<String> = eventually("an answer", async || server.ask(&["GET", "a"]).await.ok()).await;
    assert_eq!(left, None);
}
