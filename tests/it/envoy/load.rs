//! Clients that ask while something else happens.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::task::JoinHandle;

use crate::support::{Client, eventually};

/// Clients that ask without pause until they are told to stop; each failure is kept.
pub(super) struct Load {
    stop: Rc<Cell<bool>>,
    answered: Rc<Cell<u64>>,
    failures: Rc<RefCell<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    const CLIENTS: usize = 16;

    /// Starts the clients, which ask for `path`, each on a connection of its own; to be called inside a `LocalSet`.
    pub(super) fn start(address: SocketAddr, path: &'static str) -> Self {
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
                    let failure = match client.get(path, &[("x-user", user.as_bytes())]).await {
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
    pub(super) async fn reaches(&self, count: u64) {
        while self.answered.get() < count {
            let before = self.answered.get();
            eventually("more answers", async || (self.answered.get() > before).then_some(())).await;
        }
    }

    /// Waits for this many more answers.
    pub(super) async fn more(&self, count: u64) {
        self.reaches(self.answered.get() + count).await;
    }

    /// Stops the clients and says how many answers they had. None may be anything but a 200.
    pub(super) async fn stop(self) -> u64 {
        self.stop.set(true);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        let (answered, failures) = (self.answered.get(), self.failures.take());
        assert!(failures.is_empty(), "{} of {answered} failed; the first: {}", failures.len(), failures[0]);
        answered
    }
}
