//! What is sent to one slot, and who waits for what comes of it.

use tokio::sync::oneshot;

use super::super::reply::Answer;
use super::super::settings::Address;
use super::super::work::Work;
use crate::store::StoreError;
use crate::store::queue::{Exchange, Reply};
use crate::time::Stopwatch;

/// Errands in one call of the script: Redis serves nobody else meanwhile.
const MAX_TOGETHER: usize = 32;

/// What one call of the script does for one request in one slot.
#[derive(Debug)]
pub(super) struct Errand {
    /// The slot of all its keys.
    pub(super) slot: u16,
    /// What the script is told.
    pub(super) work: Work,
    /// Who waits.
    pub(super) caller: Caller,
    /// The node has to be told that it is asked for a slot that is only on its way there.
    pub(super) asking: bool,
    /// It shares its call with nobody.
    pub(super) alone: bool,
    /// The node that it is for, whoever serves the slot.
    pub(super) home: Option<Address>,
    /// How often it was sent in vain.
    pub(super) hops: u8,
    /// Since when the request is under way.
    pub(super) watch: Stopwatch,
}

/// What came of a part.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    /// What the script answered.
    pub(super) answer: Answer,
    /// The node that ran it.
    pub(super) node: Address,
}

/// Who waits for what comes of an errand.
#[derive(Debug)]
pub(super) enum Caller {
    /// The caller: the errand is the whole request.
    Whole(Reply),
    /// The task of a request over several slots.
    Part(oneshot::Sender<Result<Settled, StoreError>>),
    /// The same, after a give-back.
    GivenBack(oneshot::Sender<Result<(), StoreError>>),
}

impl Errand {
    /// An errand that was not sent yet, of a request that began with `watch`.
    pub(super) const fn new(slot: u16, work: Work, caller: Caller, watch: Stopwatch) -> Self {
        Self { slot, work, caller, asking: false, alone: false, home: None, hops: 0, watch }
    }

    /// Whether nobody waits any more.
    pub(super) fn is_unwanted(&self) -> bool {
        match &self.caller {
            Caller::Whole(reply) => reply.is_unwanted(),
            Caller::Part(sender) => sender.is_closed(),
            Caller::GivenBack(sender) => sender.is_closed(),
        }
    }

    /// Whether it may go in one call with these, which are not none.
    pub(super) fn goes_with(&self, together: &[Self]) -> bool {
        let first = &together[0];
        self.place() == first.place() && !self.alone && !first.alone && together.len() < MAX_TOGETHER
    }

    /// Errands with equal places may go in one call.
    pub(super) const fn place(&self) -> (u16, bool) {
        (self.slot, self.asking)
    }

    /// Gives the answer of `node`, which came with `exchange`, to whoever waits.
    pub(super) fn finish(self, answer: Result<Answer, StoreError>, node: &Address, exchange: Exchange) {
        // Who has gone needs no answer.
        match self.caller {
            Caller::Whole(reply) => reply.send_with(answer.map(|answer| answer.outcome), Some(exchange)),
            Caller::Part(sender) => {
                drop(sender.send(answer.map(|answer| Settled { answer, node: node.clone() })));
            }
            Caller::GivenBack(sender) => drop(sender.send(answer.map(drop))),
        }
    }

    /// Tells whoever waits that it failed.
    pub(super) fn fail(self, error: StoreError) {
        match self.caller {
            Caller::Whole(reply) => reply.send(Err(error)),
            Caller::Part(sender) => drop(sender.send(Err(error))),
            Caller::GivenBack(sender) => drop(sender.send(Err(error))),
        }
    }
}
