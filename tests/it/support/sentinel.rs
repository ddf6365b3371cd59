//! Three real Sentinels that watch a Redis and its replica.

use super::process::{Process, eventually};
use super::redis::{Redis, free_address, path};
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

/// The name under which they know the master.
const NAME: &str = "main";

/// Running Sentinels; a majority of two decides.
#[derive(Debug)]
pub(crate) struct Sentinels {
    addresses: Vec<SocketAddr>,
    password: Option<String>,
    _processes: Vec<Process>,
    _directory: TempDir,
}

impl Sentinels {
    /// Watches `master`, and waits until they know each other and its replicas, of which it needs one.
    pub(crate) async fn watching(master: &Redis) -> Self {
        Self::with(master, None).await
    }

    /// The same with a password that clients of the Sentinels need.
    pub(crate) async fn with(master: &Redis, password: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let addresses: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
        let mut processes = Vec::new();
        for address in &addresses {
            let file = directory.path().join(format!("{}.conf", address.port()));
            // They write into it what they learn.
            std::fs::write(&file, configuration(*address, master.address(), password)).expect("a file");
            let arguments = [file.to_str().expect("test paths are UTF-8"), "--sentinel"];
            processes.push(Process::start("sentinel", Path::new("redis-server"), &arguments, &path()));
        }
        let password = password.map(ToOwned::to_owned);
        let sentinels = Self { addresses, password, _processes: processes, _directory: directory };
        for index in 0..3 {
            eventually("a Sentinel that knows the others and the replica", async || {
                let state = sentinels.ask(index, &["SENTINEL", "MASTER", NAME]).await?;
                let number =
                    |name: &str| state.iter().position(|field| field == name).map(|at| &state[at + 1]);
                let ready = number("num-other-sentinels")? == "2" && number("num-slaves")? == "1";
                ready.then_some(())
            })
            .await;
        }
        sentinels
    }

    /// Host and port of each, with commas between them.
    pub(crate) fn hosts(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The URL of the Redis that they watch.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/{NAME}", self.hosts())
    }

    /// Where the master is, as most of them say.
    pub(crate) async fn master(&self) -> Option<SocketAddr> {
        let mut named = Vec::new();
        for index in 0..3 {
            let parts = self.ask(index, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).await?;
            named.push(format!("{}:{}", parts.first()?, parts.get(1)?).parse().ok()?);
        }
        named.iter().find(|one| named.iter().filter(|other| other == one).count() > 1).copied()
    }

    /// Has them make the replica the master, as if the master had died.
    pub(crate) async fn fail_over(&self) {
        // Refused for a while after the last one, and until they know of a good replica.
        eventually("a failover that begins", async || self.ask_for_ok(&["SENTINEL", "FAILOVER", NAME]).await)
            .await;
    }

    async fn ask_for_ok(&self, command: &[&str]) -> Option<()> {
        let mut connection = self.connect(0).await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.ok()
    }

    async fn connect(&self, index: usize) -> Option<redis::aio::MultiplexedConnection> {
        let password = self.password.as_deref().map(|password| format!(":{password}@")).unwrap_or_default();
        let url = format!("redis://{password}{}", self.addresses[index]);
        redis::Client::open(url).expect("a good URL").get_multiplexed_async_connection().await.ok()
    }

    async fn ask(&self, index: usize, command: &[&str]) -> Option<Vec<String>> {
        let mut connection = self.connect(index).await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.ok()
    }
}

fn configuration(address: SocketAddr, master: SocketAddr, password: Option<&str>) -> String {
    let (host, port) = (address.ip(), address.port());
    let mut text = format!(
        "bind {host}\nport {port}\nprotected-mode no\nsentinel announce-ip {host}\n\
         sentinel monitor {NAME} {} {} 2\nsentinel down-after-milliseconds {NAME} 500\n\
         sentinel failover-timeout {NAME} 3000\nsentinel parallel-syncs {NAME} 1\n",
        master.ip(),
        master.port()
    );
    if let Some(password) = password {
        text.extend(["requirepass ", password, "\nsentinel sentinel-pass ", password, "\n"]);
    }
    text
}

#[tokio::test]
async fn sentinels_of_a_test_agree_on_the_master_and_make_another_when_it_dies() {
    let mut master = Redis::start().await;
    let replica = Redis::replica_of(&master).await;
    let sentinels = Sentinels::watching(&master).await;
    assert_eq!(sentinels.master().await, Some(master.address()));
    master.kill();
    eventually("another master", async || {
        (sentinels.master().await == Some(replica.address())).then_some(())
    })
    .await;
}
