//! The question as the protocol fronts ask it: may this request pass?

use std::future::Future;

use crate::engine::Decision;
use crate::request::{Request, RequestError};

/// Answers requests.
pub trait Check: Send + Sync + 'static {
    /// Whether `request` may pass. Dropping the future is safe.
    ///
    /// # Errors
    /// There is no answer; see [`CheckError`].
    fn check(&self, request: &Request) -> impl Future<Output = Result<Decision, CheckError>> + Send;
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The request makes no sense.
    #[error("bad request")]
    Request(#[from] RequestError),
    /// No rules have been loaded yet.
    #[error("no rate limit configuration loaded")]
    NoRules,
    /// The store did not answer, and the domain's policy is `error`.
    #[error("the store is unavailable")]
    Store,
}
