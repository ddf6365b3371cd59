//! Bodies of `/json` from anybody.

use serde_json::{Value, json};

use super::{answer, question};
use crate::engine::{Code, Decision, Status};
use crate::request::Request;

/// A body: what is read from it is read again from its plainest form, and the answer to it is JSON.
pub(crate) fn json(data: &[u8]) {
    let Ok(request) = question::parse(data) else { return };
    let written = plain(&request).to_string();
    let again = question::parse(written.as_bytes());
    assert_eq!(again.ok().as_ref(), Some(&request), "{written}");
    let status = Status { code: Code::Ok, limit: None, remaining: 0, reset_s: None };
    let decision = Decision {
        code: Code::OverLimit,
        statuses: request.descriptors.iter().map(|_| status.clone()).collect(),
        headers: Vec::new(),
        metadata: None,
    };
    let answer: Value = serde_json::from_str(&answer::write(&decision)).expect("an answer is JSON");
    let count = answer["statuses"].as_array().map_or(0, Vec::len);
    assert_eq!(count, request.descriptors.len());
}

fn plain(request: &Request) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is text");
    let descriptors: Vec<Value> = request
        .descriptors
        .iter()
        .map(|descriptor| {
            let entries = descriptor.entries.iter();
            let entries: Vec<Value> = entries
                .map(|entry| json!({ "key": text(&entry.key), "value": text(&entry.value) }))
                .collect();
            let limit = descriptor.limit.map(|limit| {
                json!({
                    "requestsPerUnit": limit.requests_per_unit(),
                    "unit": limit.unit().number(),
                    "unitMultiplier": limit.unit_multiplier(),
                })
            });
            json!({
                "entries": entries,
                "limit": limit,
                "hitsAddend": descriptor.hits_addend.map(|hits| hits.to_string()),
                "isNegativeHits": descriptor.is_negative_hits,
            })
        })
        .collect();
    json!({ "domain": text(&request.domain), "descriptors": descriptors, "hitsAddend": request.hits_addend })
}
