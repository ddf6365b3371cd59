//! Servers that come and go while requests arrive through Envoy: none of them fails.
//!
//! With `failure_mode_deny`, a question that nobody answered becomes a 500; without it, it would go unnoticed.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::task::{JoinHandle, LocalSet};

use super::{BY_USER, per_user};
use crate::support::{Client, Envoy, Fluxlimit, RuleDirectory, Site, eventually, own_loopback_address};

const PLENTY_A_DAY: &str = "{ algorithm: sliding_window, requests_per_unit: 4294967295, unit: day }";

/// Envoy asks ten times a second, but hands changes of health to its workers at most once a second
/// (`update_merge_window`), so a server has to go on answering for longer than that.
const DRAIN_DELAY_MS: &str = "2500";

/// A server at an address that is still free when it starts again.
async fn start_at(rules: &RuleDirectory, address: SocketAddr) -> Fluxlimit {
    let setup = Fluxlimit::with_rules_at(rules.path()).grpc(address);
    setup.setting("DRAIN_DELAY_MS", DRAIN_DELAY_MS).start().await
}

/// Clients that ask without pause until they are told to stop; each failure is kept.
struct Load {
    stop: Rc<Cell<bool>>,
    answered: Rc<Cell<u64>>,
    failures: Rc<RefCell<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    const CLIENTS: usize = 16;

    /// Starts the clients, each on a connection of its own; to be called inside a `LocalSet`.
    fn start(address: SocketAddr) -> Self {
        let mut load = Self {
            stop: Rc::default(),
            answered: Rc::default(),
            failures: Rc::default(),
            clients: Vec::new(),
        };
        for number in 0..Self::CLIENTS {
            let (stop, answered) = (load.stop.clone(), load.answered.clone());
            let failures = load.failures.clone();
            load.clients.push(tokio::task::spawn_local(async move {
                let mut client = Client::new(address);
                let user = format!("user-{number}");
                while !stop.get() {
                    let failure = match client.get("/", &[("x-user", user.as_bytes())]).await {
                        Ok(answer) if answer.status == 200 => None,
                        Ok(answer) => Some(format!("{answer:?}")),
                        Err(error) => Some(error.to_string()),
                    };
                    answered.set(answered.get() + 1);
                    failures.borrow_mut().extend(failure);
                }
            }));
        }
        load
    }

    /// Waits until there were so many answers.
    async fn reaches(&self, count: u64) {
        while self.answered.get() < count {
            let before = self.answered.get();
            eventually("more answers", async || (self.answered.get() > before).then_some(())).await;
        }
    }

    /// Waits for this many more answers.
    async fn more(&self, count: u64) {
        self.reaches(self.answered.get() + count).await;
    }

    /// Stops the clients and says how many answers they had. None may be anything but a 200.
    async fn stop(self) -> u64 {
        self.stop.set(true);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        let (answered, failures) = (self.answered.get(), self.failures.take());
        assert!(failures.is_empty(), "{} of {answered} failed; the first: {}", failures.len(), failures[0]);
        answered
    }
}

async fn roll(server: Fluxlimit, envoy: &Envoy, rules: &RuleDirectory, load: &Load) -> Fluxlimit {
    let address = server.grpc;
    assert!(server.stop().await.success());
    load.more(500).await;
    let server = start_at(rules, address).await;
    eventually("both servers to be healthy", async || {
        envoy.healthy_servers().await.filter(|&healthy| healthy == 2)
    })
    .await;
    load.more(500).await;
    server
}

#[tokio::test]
async fn servers_that_stop_one_after_the_other_under_load_fail_none_of_50000_requests() {
    const REQUESTS: u64 = 50_000;
    let rules = RuleDirectory::with(&per_user(PLENTY_A_DAY));
    let mut first = start_at(&rules, (own_loopback_address(), 0).into()).await;
    let mut second = start_at(&rules, (own_loopback_address(), 0).into()).await;
    let site = Site::new("edge", first.grpc).second_server(second.grpc).filter("failure_mode_deny: true");
    let envoy = site.route("/", BY_USER).start().await;
    let in_one_thread = LocalSet::new();
    in_one_thread
        .run_until(async {
            let load = Load::start(envoy.address);
            load.more(500).await;
            for _ in 0..2 {
                first = roll(first, &envoy, &rules, &load).await;
                second = roll(second, &envoy, &rules, &load).await;
            }
            load.reaches(REQUESTS).await;
            assert!(load.stop().await >= REQUESTS);
        })
        .await;
}

#[tokio::test]
async fn connections_that_grow_old_under_load_fail_no_request() {
    const CONNECTIONS: u64 = 20;
    let rules = RuleDirectory::with(&per_user(PLENTY_A_DAY));
    let setup = Fluxlimit::with_rules_at(rules.path()).setting("MAX_CONNECTION_AGE_MS", "100");
    let server = setup.start().await;
    let site = Site::new("edge", server.grpc).filter("failure_mode_deny: true");
    let envoy = site.route("/", BY_USER).start().await;
    let in_one_thread = LocalSet::new();
    in_one_thread
        .run_until(async {
            let load = Load::start(envoy.address);
            eventually("Envoy to have opened many connections", async || {
                (envoy.connections_so_far().await? >= CONNECTIONS).then_some(())
            })
            .await;
            load.more(500).await;
            load.stop().await;
        })
        .await;
}
