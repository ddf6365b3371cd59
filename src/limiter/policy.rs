//! The answer to a request whose limits the store could not be asked about.

use crate::engine::{Code, Decision, Matched, Question, Status};
use crate::rules::OnStoreFailure;

/// The decision of `policy`; `None` if the policy is to have none.
///
/// Nobody knows any numbers, so there is no limit, no time, no header and no metadata in it.
pub(super) fn decide(policy: OnStoreFailure, question: &Question<'_>) -> Option<Decision> {
    let settlement = &question.settlement;
    let charges = settlement.charges();
    let refused_groups = match policy {
        OnStoreFailure::Error => return None,
        OnStoreFailure::Allow => settlement.refused_groups(|_| true),
        // A give-back is always allowed.
        OnStoreFailure::Deny => settlement.refused_groups(|charge| charges[charge].hits < 0),
    };
    let mut limited = refused_groups.iter();
    let statuses = question.matched.iter().map(|matched| match matched {
        Matched::Nothing(_) | Matched::Exempt => status(false, 0),
        Matched::Unlimited => status(false, u32::MAX),
        Matched::Limited(_) => status(*limited.next().expect("one group per limited descriptor"), 0),
    });
    let statuses = statuses.collect();
    let refused = settlement.refuses(&refused_groups) && !settlement.global_shadow;
    Some(Decision { code: code(refused), statuses, headers: Vec::new(), metadata: None })
}

fn status(refused: bool, remaining: u32) -> Status {
    Status { code: code(refused), limit: None, remaining, reset_s: None }
}

const fn code(refused: bool) -> Code {
    if refused { Code::OverLimit } else { Code::Ok }
}
