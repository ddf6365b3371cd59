//! Where states are kept: applies a settlement as one atomic step.

pub mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::engine::{Outcome, Settlement};

/// A place where states are kept.
///
/// Every call is atomic: its charges are booked whole or not at all, also when the future is dropped.
pub trait Store: Send + Sync + fmt::Debug {
    /// Applies `settlement` to the stored states, at the store's own time.
    fn settle<'a>(&'a self, settlement: &'a Settlement) -> Settling<'a>;

    /// Whether [`Self::settle`] always answers without waiting.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Asks whether the store answers.
    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>>;
}

/// The answer of a store, at once or later.
pub enum Settling<'a> {
    /// It was there without waiting, so that a store in memory costs no boxed future.
    Ready(Result<Outcome, StoreError>),
    /// It has to be waited for.
    Later(Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send + 'a>>),
}

impl Settling<'_> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outcome(self) -> Result<Outcome, StoreError> {
        match self {
            Self::Ready(outcome) => outcome,
            Self::Later(outcome) => outcome.await,
        }
    }
}

impl fmt::Debug for Settling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(outcome) => f.debug_tuple("Ready").field(outcome).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// Why a store did not answer. The memory store always does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What the log says of it.
        reason: String,
    },
    /// It said that it answers at once, and did not.
    #[error("the store has to be waited for")]
    NotAtOnce,
}
