//! What a node of a cluster may answer.

use redis::Value;

use super::super::settings::Address;
use super::map::ranges;
use super::refusal::not_run;

/// Any answer: what is read of it stays within the slots that there are.
pub(in super::super) fn answer(value: &Value, from: &Address) {
    for range in ranges(value, from).unwrap_or_default() {
        assert!(range.first <= range.last && usize::from(range.last) < super::slot::SLOTS, "{range:?}");
        assert_ne!(range.primary.host, "?");
    }
    if let Value::ServerError(error) = value {
        let _ = not_run(error, from);
    }
}
