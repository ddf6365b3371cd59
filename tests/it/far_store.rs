//! A store that has to be waited for: the memory store behind tickets.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use fluxlimit::engine::Settlement;
use fluxlimit::store::memory::MemoryStore;
use fluxlimit::store::queue::Reply;
use fluxlimit::store::{Settling, Store, StoreError};

/// The memory store as if it were far away. Its answers are there when they are waited for.
#[derive(Debug)]
pub(crate) struct FarStore {
    pub(crate) memory: MemoryStore,
    asked: AtomicUsize,
}

impl FarStore {
    pub(crate) fn new(memory: MemoryStore) -> Self {
        Self { memory, asked: AtomicUsize::new(0) }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Store for FarStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let Settling::Ready(outcome) = self.memory.settle(settlement) else { unreachable!() };
        let (reply, ticket) = Reply::new();
        reply.send(outcome);
        Settling::Later(ticket)
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        self.memory.ping()
    }
}
