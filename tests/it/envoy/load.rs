//! Clients that ask while something else happens.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::support::{Client, eventually};

/// Clients that ask without pause until they are told to stop; each failure is kept.
pub(super) struct Load {
    stop: Rc<Cell<bool>>,
    answered: Rc<Cell<u64>>,
    failures: Rc<Cell<Vec<String>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    const CLIENTS: usize = 4;

    /// Starts the clients, which ask for `path`; to be called inside a `LocalSet`.
    pub(super) fn start(address: SocketAddr, path: &'static str) -> Self {
        let mut load = Self {
            stop: Rc::default(),
            answered: Rc::default(),
            failures: Rc::default(),
            clients: Vec::new(),
        };
        for number in 0..Self::CLIENTS {
            let (stop, answered) = (Rc::clone(&load.stop), Rc::clone(&load.answered));
            let failures = Rc::clone(&load.failures);
            load.clients.push(tokio::task::spawn_local(async move {
                let mut client = Client::new(address);
                let user = format!("user-{number}");
                while !stop.get() {
                    let failure = match client.get(path, &[("x-user", user.as_bytes())]).await {
                        Ok(answer) if answer.status == 200 => None,
                        Ok(answer) => Some(format!("{answer:?}")),
                        Err(error) => Some(error.to_string()),
                    };
                    answered.set(answered.get() + 1);
                    let mut so_far = failures.take();
                    so_far.extend(failure);
                    failures.set(so_far);
                }
            }));
        }
        load
    }

    /// Waits for this many more answers.
    pub(super) async fn more(&self, count: u64) {
        let target = self.answered.get() + count;
        eventually("answers", async || (self.answered.get() >= target).then_some(())).await;
    }

    /// Stops the clients and says how many answers they had, and which of them were not a 200.
    pub(super) async fn stop(self) -> (u64, Vec<String>) {
        self.stop.set(true);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        (self.answered.get(), self.failures.take())
    }
}
