//! The answer to a request, free of any wire format.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Map;
use crate::limit::Unit;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether the request passes.
    pub code: Code,
    /// One status per descriptor, in the order of the request.
    pub statuses: SmallVec<[Status; 2]>,
    /// Headers for the response to the client of Envoy; empty unless they are switched on.
    pub headers: Vec<Header>,
    /// Dynamic metadata for Envoy's filters and access log; `None` unless it is switched on.
    pub metadata: Option<Map>,
}

/// Passed or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The hits are within the limit.
    Ok,
    /// The hits are refused.
    OverLimit,
}

/// The answer for one descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether this descriptor is over its limit.
    pub code: Code,
    /// The limit that it was held against; `None` if there is none.
    pub limit: Option<StatusLimit>,
    /// Hits that are left now.
    pub remaining: u32,
    /// Whole seconds, rounded up, until a refused descriptor may pass or an allowed one is as if unused;
    /// `None` without a limit.
    pub reset_s: Option<u64>,
}

/// The numbers of a limit as Envoy sees them (`RateLimitResponse.RateLimit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLimit {
    /// Hits per period.
    pub requests_per_unit: u32,
    /// Unit of the period.
    pub unit: Unit,
    /// How many units make one period.
    pub unit_multiplier: u32,
    /// The rule's name, made safe for a header; `None` if it has none.
    pub name: Option<Arc<str>>,
}

/// A response header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, as configured.
    pub name: Arc<str>,
    /// Its value.
    pub value: String,
}
