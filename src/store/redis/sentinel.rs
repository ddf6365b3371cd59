//! Sentinels: servers that know which Redis is the master now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use redis::Value;

use super::handshake::{Hop, refusal, text};
use super::settings::{Address, Endpoint, Sentinel};

/// The Sentinels, and which of them is asked first.
#[derive(Debug)]
pub(super) struct Sentinels {
    sentinel: Sentinel,
    first: AtomicUsize,
}

impl Sentinels {
    pub(super) const fn new(sentinel: Sentinel) -> Self {
        Self { sentinel, first: AtomicUsize::new(0) }
    }

    /// The numbers of all of them, in the order in which they are to be asked.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> {
        let (first, count) = (self.first.load(Relaxed), self.sentinel.addresses.len());
        (0..count).map(move |index| (first + index) % count)
    }

    /// Asks this one first from now on: it has just named the master.
    pub(super) fn begin_with(&self, index: usize) {
        self.first.store(index, Relaxed);
    }

    /// Where the master is, as the Sentinel of that number says.
    ///
    /// # Errors
    /// Why it did not say.
    pub(super) async fn master_of(&self, index: usize, timeout_ms: u64) -> Result<Address, String> {
        let Sentinel { addresses, master, login, tls } = &self.sentinel;
        let endpoint = Endpoint::Tcp(addresses[index].clone());
        let hop = Hop { endpoint: &endpoint, login, tls: tls.as_ref(), database: 0, timeout_ms };
        let mut question = redis::pipe();
        question.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
        let asked = hop.connect(&question).await;
        let (_, answers) = asked.map_err(|reason| format!("sentinel: {reason}"))?;
        address(answers.first()).map_err(|reason| format!("sentinel at {endpoint}: `{master}`: {reason}"))
    }
}

/// Host and port, or nil for a name that it does not know.
pub(super) fn address(answer: Option<&Value>) -> Result<Address, String> {
    let parts = match answer {
        Some(Value::Array(parts)) => parts,
        Some(Value::Nil) => return Err("it knows no master of this name".to_owned()),
        Some(other) => return Err(refusal(other).unwrap_or_else(|| "its answer cannot be read".to_owned())),
        None => return Err("it did not answer".to_owned()),
    };
    let parts: Vec<String> = parts.iter().filter_map(text).collect();
    let [host, port] = parts.as_slice() else { return Err("its answer cannot be read".to_owned()) };
    let port = port.parse().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| "it names a port that is none".to_owned())?;
    Ok(Address { host: host.clone(), port })
}
