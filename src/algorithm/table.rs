//! Tables of steps, so that the tests of an algorithm read as its specification.

use super::{State, step};
use crate::limit::{Limit, LimitSpec};
use crate::time::Timestamp;

/// `at_ms, hits, allowed, remaining, retry_after_ms, reset_after_ms`.
pub(super) type Row = (u64, i64, bool, u64, u64, u64);

/// In a table's column `allowed`.
pub(super) const YES: bool = true;
/// In a table's column `allowed`.
pub(super) const NO: bool = false;
/// In a table's column `retry_after_ms`: these hits can never pass.
pub(super) const NEVER: u64 = u64::MAX;

/// Steps a new key through `rows`; the state that is stored in the end.
#[track_caller]
pub(super) fn check(limit: &Limit, rows: &[Row]) -> Option<State> {
    check_from(None, limit, rows)
}

/// Steps a key whose stored state is `stored` through `rows`; the state that is stored in the end.
#[track_caller]
pub(super) fn check_from(mut stored: Option<State>, limit: &Limit, rows: &[Row]) -> Option<State> {
    for (index, row) in rows.iter().enumerate() {
        let (at_ms, hits, ..) = *row;
        let (verdict, next) = step(limit, stored.as_ref(), Timestamp::from_ms(at_ms), hits);
        let retry_after_ms = verdict.retry_after_ms.unwrap_or(NEVER);
        let found = (at_ms, hits, verdict.allowed, verdict.remaining, retry_after_ms, verdict.reset_after_ms);
        assert_eq!(found, *row, "row {index}, before it {stored:?}");
        stored = next.or(stored);
    }
    stored
}

/// A limit from numbers that make sense together.
#[track_caller]
pub(super) fn limit(spec: LimitSpec) -> Limit {
    Limit::new(spec).expect("the numbers of a test make sense")
}
