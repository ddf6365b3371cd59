//! A `RateLimitResponse` in protobuf's JSON form. Zeros and empty names are written out; protobuf allows
//! both.

use serde::Serialize;

use crate::engine::{Code, Decision, Map, Status, StatusLimit, Value};

/// `decision` as JSON.
pub(super) fn write(decision: &Decision) -> String {
    let headers = decision.headers.iter();
    let answer = AnswerJson {
        overall_code: name(decision.code),
        statuses: decision.statuses.iter().map(status).collect(),
        response_headers_to_add: headers
            .map(|header| HeaderJson { key: &header.name, value: &header.value })
            .collect(),
        dynamic_metadata: decision.metadata.as_ref().map(object),
    };
    serde_json::to_string(&answer).expect("text, numbers and maps by name can always be written")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerJson<'a> {
    overall_code: &'static str,
    statuses: Vec<StatusJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_headers_to_add: Vec<HeaderJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_metadata: Option<serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_limit: Option<LimitJson<'a>>,
    limit_remaining: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_until_reset: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitJson<'a> {
    name: &'a str,
    requests_per_unit: u32,
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_multiplier: Option<u32>,
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    key: &'a str,
    value: &'a str,
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::OverLimit => "OVER_LIMIT",
    }
}

fn status(status: &Status) -> StatusJson<'_> {
    StatusJson {
        code: name(status.code),
        current_limit: status.limit.as_ref().map(limit),
        limit_remaining: status.remaining,
        duration_until_reset: status.reset_s.map(|reset_s| format!("{reset_s}s")),
    }
}

fn limit(limit: &StatusLimit) -> LimitJson<'_> {
    LimitJson {
        name: limit.name.as_deref().unwrap_or_default(),
        requests_per_unit: limit.requests_per_unit,
        unit: limit.unit.name().to_uppercase(),
        unit_multiplier: (limit.unit_multiplier != 1).then_some(limit.unit_multiplier),
    }
}

fn object(map: &Map) -> serde_json::Value {
    map.iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(bool) => (*bool).into(),
        Value::Number(number) => self::number(*number),
        Value::Text(text) => text.as_str().into(),
        Value::List(values) => values.iter().map(self::value).collect(),
        Value::Map(map) => object(map),
    }
}

/// Whole numbers without a fraction, and what JSON cannot write as protobuf's text for it.
fn number(number: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and checked to fit")]
        let whole = number as i64;
        return whole.into();
    }
    match number {
        _ if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => number.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use smallvec::smallvec;

    use super::*;
    use crate::engine::Header;
    use crate::limit::Unit;

    fn written(decision: &Decision) -> serde_json::Value {
        serde_json::from_str(&write(decision)).unwrap()
    }

    fn limited(unit_multiplier: u32) -> Status {
        Status {
            code: Code::OverLimit,
            limit: Some(StatusLimit {
                requests_per_unit: 2,
                unit: Unit::Day,
                unit_multiplier,
                name: Some("daily".into()),
            }),
            remaining: 0,
            reset_s: Some(13183),
        }
    }

    #[test]
    fn an_answer_is_written_as_the_reference_does() {
        let unlimited = Status { code: Code::Ok, limit: None, remaining: 0, reset_s: None };
        let decision = Decision {
            code: Code::OverLimit,
            statuses: smallvec![unlimited, limited(1), limited(30)],
            headers: vec![Header { name: "RateLimit-Limit".into(), value: "2".to_owned() }],
            metadata: Some(Map::from([("domain".to_owned(), Value::from("d"))])),
        };
        let limit = json!({"name": "daily", "requestsPerUnit": 2, "unit": "DAY"});
        let mut multiplied = limit.clone();
        multiplied["unitMultiplier"] = 30.into();
        let limited = |limit| {
            json!({"code": "OVER_LIMIT", "currentLimit": limit, "limitRemaining": 0,
                   "durationUntilReset": "13183s"})
        };
        let expected = json!({
            "overallCode": "OVER_LIMIT",
            "statuses": [{"code": "OK", "limitRemaining": 0}, limited(limit), limited(multiplied)],
            "responseHeadersToAdd": [{"key": "RateLimit-Limit", "value": "2"}],
            "dynamicMetadata": {"domain": "d"},
        });
        assert_eq!(written(&decision), expected);
    }

    #[test]
    fn headers_and_metadata_are_left_out_when_there_are_none() {
        let decision = Decision { code: Code::Ok, statuses: smallvec![], headers: vec![], metadata: None };
        assert_eq!(written(&decision), json!({"overallCode": "OK", "statuses": []}));
    }

    #[test]
    fn numbers_of_metadata_stay_what_they_are() {
        let check = |number: f64, expected: &str| assert_eq!(super::number(number).to_string(), expected);
        check(3.0, "3");
        check(-0.0, "0");
        check(1.5, "1.5");
        check(1e20, "1e+20");
        check(f64::INFINITY, "\"Infinity\"");
        check(f64::NAN, "\"NaN\"");
    }
}
