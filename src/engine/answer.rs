//! From what was matched and what came out to the decision that is answered.

use smallvec::SmallVec;

use super::headers::{HeaderNames, HeaderStyle, headers};
use super::judged::{Judged, judge};
use super::metadata::metadata;
use super::{Code, Decision, Matched, Outcome, Question, Status, StatusLimit};
use crate::request::Request;

/// What an answer carries beside its statuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerSettings {
    /// Which response headers are added.
    pub headers: HeaderStyle,
    /// The names of the reference's three headers.
    pub header_names: HeaderNames,
    /// Whether dynamic metadata is added.
    pub dynamic_metadata: bool,
}

/// The decision on a request.
#[must_use]
pub fn answer(
    request: &Request,
    question: &Question<'_>,
    outcome: &Outcome,
    settings: &AnswerSettings,
) -> Decision {
    let judged = judge(question, outcome);
    let mut limited = judged.iter();
    // Pushed one by one: for one or two, that is half of what collecting costs.
    let mut statuses = SmallVec::new();
    for matched in &question.matched {
        statuses.push(match matched {
            Matched::Nothing(_) | Matched::Exempt => {
                Status { code: Code::Ok, limit: None, remaining: 0, reset_s: None }
            }
            Matched::Unlimited => Status { code: Code::Ok, limit: None, remaining: u32::MAX, reset_s: None },
            Matched::Limited(_) => status(limited.next().expect("one judgement per limited descriptor")),
        });
    }
    let code = if outcome.refused { Code::OverLimit } else { Code::Ok };
    Decision {
        code,
        statuses,
        headers: headers(&judged, code, settings.headers, &settings.header_names),
        metadata: settings.dynamic_metadata.then(|| metadata(request, &judged, code)),
    }
}

fn status(judged: &Judged<'_>) -> Status {
    Status {
        code: if judged.is_over() { Code::OverLimit } else { Code::Ok },
        limit: Some(StatusLimit {
            requests_per_unit: judged.limit.count(),
            unit: judged.limit.unit(),
            unit_multiplier: judged.limit.unit_multiplier(),
            name: judged.name().cloned(),
        }),
        remaining: judged.remaining(),
        reset_s: Some(judged.reset_s()),
    }
}
