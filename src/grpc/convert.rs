//! Messages from a [`Request`] and to a [`Decision`], for whoever asks. Nothing is decided here.

use super::message::{
    self, Code as CodeNumber, DescriptorStatus, RateLimit, RateLimitDescriptor, RateLimitOverride,
    RateLimitRequest, RateLimitResponse,
};
use crate::engine::{Code, Decision, Header, Map, Status, StatusLimit, Value};
use crate::limit::Unit;
use crate::request::{Descriptor, Request};

/// The message that asks `request`.
pub(super) fn asked(request: &Request) -> RateLimitRequest {
    RateLimitRequest {
        domain: request.domain.to_bytes(),
        descriptors: request.descriptors.iter().map(descriptor).collect(),
        hits_addend: request.hits_addend,
    }
}

fn descriptor(descriptor: &Descriptor) -> RateLimitDescriptor {
    let entries = descriptor.entries.iter();
    RateLimitDescriptor {
        entries: entries
            .map(|entry| message::Entry { key: entry.key.to_bytes(), value: entry.value.to_bytes() })
            .collect(),
        limit: descriptor.limit.map(|limit| RateLimitOverride {
            requests_per_unit: limit.requests_per_unit(),
            unit: limit.unit().number(),
            unit_multiplier: (limit.unit_multiplier() != 1).then_some(limit.unit_multiplier()),
        }),
        hits_addend: descriptor.hits_addend,
        is_negative_hits: descriptor.is_negative_hits,
    }
}

/// The decision that `message` says, or what is wrong with it.
pub(super) fn decision(message: RateLimitResponse) -> Result<Decision, String> {
    let headers = message.response_headers_to_add.into_iter();
    Ok(Decision {
        code: code(message.overall_code)?,
        statuses: message.statuses.into_iter().map(status).collect::<Result<_, _>>()?,
        headers: headers.map(|header| Header { name: header.key.into(), value: header.value }).collect(),
        metadata: message.dynamic_metadata.map(map),
    })
}

fn code(number: i32) -> Result<Code, String> {
    match CodeNumber::try_from(number) {
        Ok(CodeNumber::Ok) => Ok(Code::Ok),
        Ok(CodeNumber::OverLimit) => Ok(Code::OverLimit),
        Ok(CodeNumber::Unknown) | Err(_) => Err(format!("code {number}")),
    }
}

fn status(message: DescriptorStatus) -> Result<Status, String> {
    let reset = message.duration_until_reset;
    Ok(Status {
        code: code(message.code)?,
        limit: message.current_limit.map(limit).transpose()?,
        remaining: message.limit_remaining,
        reset_s: reset.map(|duration| u64::try_from(duration.seconds).unwrap_or_default()),
    })
}

fn limit(message: RateLimit) -> Result<StatusLimit, String> {
    let unit = Unit::from_number(message.unit).ok_or_else(|| format!("unit {}", message.unit))?;
    Ok(StatusLimit {
        requests_per_unit: message.requests_per_unit,
        unit,
        unit_multiplier: message.unit_multiplier.unwrap_or(1),
        name: (!message.name.is_empty()).then(|| message.name.into()),
    })
}

fn map(structure: prost_types::Struct) -> Map {
    structure.fields.into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(value_of: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value_of.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(bool)) => Value::Bool(bool),
        Some(Kind::NumberValue(number)) => Value::Number(number),
        Some(Kind::StringValue(text)) => Value::Text(text),
        Some(Kind::ListValue(list)) => Value::List(list.values.into_iter().map(value).collect()),
        Some(Kind::StructValue(structure)) => Value::Map(map(structure)),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use smallvec::smallvec;

    use super::super::frame::PREFIX_BYTES;
    use super::super::wire;
    use super::*;
    use crate::request::{Entry, Override};

    #[test]
    fn what_is_asked_is_what_the_server_reads() {
        let request = Request {
            domain: "edge".into(),
            descriptors: smallvec![Descriptor {
                entries: smallvec![Entry::new("k", &b"\xff"[..])],
                limit: Override::new(5, 2, Some(3)).ok(),
                hits_addend: Some(0),
                is_negative_hits: true,
            }],
            hits_addend: 7,
        };
        assert_eq!(wire::request(&asked(&request).encode_to_vec().into()), Ok(request));
    }

    #[test]
    fn a_decision_survives_the_way_to_the_client() {
        let limit = StatusLimit {
            requests_per_unit: 5,
            unit: Unit::Week,
            unit_multiplier: 2,
            name: Some("n".into()),
        };
        let inner = Map::from([("x".to_owned(), Value::List(vec![Value::Null, Value::Bool(true)]))]);
        let decision = Decision {
            code: Code::OverLimit,
            statuses: smallvec![Status {
                code: Code::OverLimit,
                limit: Some(limit),
                remaining: 3,
                reset_s: Some(9)
            }],
            headers: vec![Header { name: "a".into(), value: "b".to_owned() }],
            metadata: Some(Map::from([("m".to_owned(), Value::Map(inner)), ("t".to_owned(), "u".into())])),
        };
        let message = RateLimitResponse::decode(&wire::framed(&decision)[PREFIX_BYTES..]).unwrap();
        assert_eq!(super::decision(message.clone()), Ok(decision));
        let unknown = RateLimitResponse { overall_code: 0, ..message };
        assert_eq!(super::decision(unknown), Err("code 0".to_owned()));
    }
}
