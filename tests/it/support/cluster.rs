//! A real Redis Cluster of a few nodes, started for one test.

use std::fmt::Display;

use super::own_loopback_address;
use super::process::eventually;
use super::redis::{Redis, free_address};

const SLOTS: u16 = 16_384;
const PRIMARIES: u16 = 3;

/// A running cluster whose three primaries share all slots evenly.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Its nodes: the primaries in the order of their slots, then what joined later.
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// A cluster that serves.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With options of `redis-server` for every node, such as `["--cluster-require-full-coverage", "no"]`.
    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::with_each(|_| options.iter().map(|option| (*option).to_owned()).collect()).await
    }

    /// With options for each node, by its index.
    pub(crate) async fn with_each(options: impl Fn(u16) -> Vec<String>) -> Self {
        let mut cluster = Self { nodes: Vec::new() };
        for index in 0..PRIMARIES {
            let node = node(&options(index)).await;
            let (first, last) = (share(index).to_string(), (share(index + 1) - 1).to_string());
            ask(&node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            ask(&node, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            cluster.meets(node).await;
        }
        cluster.agrees().await;
        cluster
    }

    /// Starts one more node, which replicates the primary with this index, and waits until it has all data.
    /// It is the last of the nodes.
    pub(crate) async fn add_replica_of(&mut self, primary: usize) {
        let replica = node(&[]).await;
        self.meets(replica).await;
        self.agrees().await;
        let id = self.id(primary).await;
        ask(self.nodes.last().expect("it was added"), &["CLUSTER", "REPLICATE", &id]).await;
        eventually("a replica that is up to date", async || {
            let info: String = self.nodes.last()?.ask(&["INFO", "replication"]).await.ok()?;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        self.agrees().await;
    }

    /// The addresses of all nodes, as a URL has them.
    pub(crate) fn addresses(&self) -> String {
        let addresses = self.nodes.iter().map(|node| node.address().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The index of the primary that a slot was given to at the start.
    pub(crate) fn first_home(slot: u16) -> usize {
        (0..PRIMARIES).position(|index| slot < share(index + 1)).expect("every slot has a home")
    }

    /// Moves a slot with its keys from one node to another, as `redis-cli --cluster reshard` does.
    pub(crate) async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to).await;
        self.move_keys(slot, from, to).await;
        self.has_moved(slot, from, to).await;
    }

    /// Tells both nodes that a slot is on its way.
    pub(crate) async fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, source_id, target_id) = (slot.to_string(), self.id(from).await, self.id(to).await);
        ask(&self.nodes[to], &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await;
        ask(&self.nodes[from], &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await;
    }

    /// Tells both nodes that a slot has arrived.
    pub(crate) async fn has_moved(&self, slot: u16, from: usize, to: usize) {
        self.agrees_on_the_epoch().await;
        let (slot, target_id) = (slot.to_string(), self.id(to).await);
        for node in [to, from] {
            ask(&self.nodes[node], &["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await;
        }
    }

    /// Moves the keys of a slot that is on its way.
    pub(crate) async fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (source, target) = (&self.nodes[from], self.nodes[to].address());
        let (host, port) = (target.ip().to_string(), target.port().to_string());
        loop {
            let listed = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
            let keys: Vec<Vec<u8>> = listed.expect("the keys of a slot");
            if keys.is_empty() {
                return;
            }
            let client = redis::Client::open(source.url()).expect("the URL is good");
            let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg(&[&host, &port, "", "0", "5000", "KEYS"]).arg(keys);
            let moved: redis::RedisResult<String> = migrate.query_async(&mut connection).await;
            moved.expect("keys move");
        }
    }

    /// The name of a node in the cluster.
    async fn id(&self, index: usize) -> String {
        self.nodes[index].ask(&["CLUSTER", "MYID"]).await.expect("a node has a name")
    }

    async fn meets(&mut self, node: Redis) {
        if let Some(first) = self.nodes.first() {
            let bus: Vec<String> = node.ask(&["CONFIG", "GET", "cluster-port"]).await.expect("a setting");
            let (host, port) = (node.address().ip().to_string(), node.address().port().to_string());
            ask(first, &["CLUSTER", "MEET", &host, &port, &bus[1]]).await;
        }
        self.nodes.push(node);
    }

    /// Waits until every node knows every other and serves.
    pub(crate) async fn agrees(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for node in &self.nodes {
            eventually("a cluster that agrees", async || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await.ok()?;
                (info.contains("cluster_state:ok") && info.contains(&known)).then_some(())
            })
            .await;
        }
    }
}

impl Cluster {
    /// Waits until every node knows the latest epoch. Who takes a slot raises it by one, asking nobody; if that
    /// is not above everybody's, a message that is on its way gives the slot back.
    async fn agrees_on_the_epoch(&self) {
        eventually("an epoch that all nodes know", async || {
            let mut epochs = Vec::new();
            for node in &self.nodes {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await.ok()?;
                epochs.extend(
                    info.lines()
                        .find_map(|line| line.strip_prefix("cluster_current_epoch:"))
                        .map(str::to_owned),
                );
            }
            epochs.dedup();
            (epochs.len() == 1).then_some(())
        })
        .await;
    }
}

/// The first slot of a primary.
const fn share(index: u16) -> u16 {
    if index == PRIMARIES { SLOTS } else { index * (SLOTS / PRIMARIES + 1) }
}

async fn node(options: &[String]) -> Redis {
    // By default the port between nodes is 10,000 above the other, which somebody else may have.
    let bus = free_address().port().to_string();
    // Without it, a node is believed to live where its connections come from.
    let host = own_loopback_address().to_string();
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
    all.extend(["--cluster-announce-ip", &host]);
    all.extend(options.iter().map(String::as_str));
    Redis::with(&all).await
}

async fn ask(node: &Redis, command: &[&str]) {
    let answer: redis::RedisResult<String> = node.ask(command).await;
    let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", show(command)));
    assert_eq!(answer, "OK", "{}", show(command));
}

fn show(command: &[&str]) -> impl Display {
    command.join(" ")
}

#[tokio::test]
async fn a_cluster_of_a_test_serves_all_slots_and_moves_one_with_its_keys() {
    let cluster = Cluster::start().await;
    let slot = redis::cluster_routing::Slot::for_key("a");
    assert_eq!(Some(slot), redis::cluster_routing::Slot::new(15_495));
    ask(&cluster.nodes[2], &["SET", "a", "1"]).await;
    cluster.move_slot(15_495, Cluster::first_home(15_495), 0).await;
    let kept: String = cluster.nodes[0].ask(&["GET", "a"]).await.unwrap();
    assert_eq!(kept, "1");
}
