//! Where states are kept: applies a settlement as one atomic step.

mod files;
pub mod memory;
mod mistake;
mod pause;
pub(crate) mod pem;
pub(crate) mod percent;
pub mod postgres;
pub mod queue;
pub mod redis;
mod secret;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::engine::{Outcome, Settlement};
pub use mistake::Mistake;
use queue::Ticket;
pub use secret::{Password, Secret};

/// A place where states are kept.
///
/// Every call is atomic: its charges are booked whole or not at all, also when nobody waits for the answer.
pub trait Store: Send + Sync + fmt::Debug {
    /// Applies `settlement` to the stored states, at the store's own time.
    ///
    /// It does not wait: a store that is far away answers with a [`Ticket`]. Dropping the ticket before the
    /// settlement was sent takes it back; after that it goes on without its caller.
    fn settle(&self, settlement: &Settlement) -> Settling;

    /// Under what names it keeps the keys of `settlement`, in their order, for those who look there themselves.
    fn names(&self, settlement: &Settlement) -> Vec<Box<[u8]>> {
        settlement.keys().map(|key| key.as_bytes().into()).collect()
    }

    /// Whether [`Self::settle`] always answers without waiting.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Asks whether the store answers.
    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>>;
}

/// The answer of a store, at once or later.
#[derive(Debug)]
pub enum Settling {
    /// It was there without waiting.
    Ready(Result<Outcome, StoreError>),
    /// It has to be waited for.
    Later(Ticket),
}

impl Settling {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outcome(self) -> Result<Outcome, StoreError> {
        match self {
            Self::Ready(outcome) => outcome,
            Self::Later(ticket) => ticket.await,
        }
    }
}

/// Why a store did not answer, as the log says it: reasons never hold passwords. The memory store always
/// answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached; nothing was sent.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What the log says of it.
        reason: String,
    },
    /// It did not answer in time, and may have booked the charges all the same.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The connection broke before the answer came; the charges may have been booked all the same.
    #[error("the connection to the store was lost: {reason}")]
    Lost {
        /// What the log says of it.
        reason: String,
    },
    /// It refused to apply the settlement; nothing was booked.
    #[error("the store refused: {reason}")]
    Refused {
        /// What the log says of it.
        reason: String,
    },
    /// What it answered, or what it keeps under a key, makes no sense.
    #[error("the store holds or answered what cannot be read: {reason}")]
    Unreadable {
        /// What the log says of it.
        reason: String,
    },
    /// More is waiting to be sent than the store's queue may hold.
    #[error("too many requests are waiting for the store")]
    Overloaded,
    /// The store was not asked, because it has been failing.
    #[error("the store is not asked because it has been failing")]
    BreakerOpen,
}

impl StoreError {
    /// Every kind of failure.
    pub const KINDS: [&'static str; 7] =
        ["unavailable", "timed_out", "lost", "refused", "unreadable", "overloaded", "breaker_open"];

    /// The kind of failure, in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Lost { .. } => "lost",
            Self::Refused { .. } => "refused",
            Self::Unreadable { .. } => "unreadable",
            Self::Overloaded => "overloaded",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// Whether it means that the store is out of reach, so that asking it again is of no use now.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TimedOut | Self::Lost { .. })
    }
}

/// One exchange with a store that is far away, as it ended for the store and not for who waited.
#[derive(Debug)]
pub struct RoundTrip<'a> {
    /// From sending to the answer or the failure.
    pub took: Duration,
    /// How many settlements went together.
    pub settlements: usize,
    /// Why it failed, if it did. An attempt to connect that failed is a round trip without settlements.
    pub failure: Option<&'a StoreError>,
}

/// Hears how the exchanges with a store end: who feeds the breaker and counts.
pub trait Observer: Send + Sync + fmt::Debug {
    /// One exchange has ended.
    fn ended(&self, trip: &RoundTrip<'_>);
}
