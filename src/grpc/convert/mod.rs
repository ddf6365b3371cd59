//! Messages to a [`Request`], a [`Decision`] to messages. Nothing is decided here.

mod client;

use super::message::{
    Code as CodeNumber, DescriptorStatus, HeaderValue, RateLimit, RateLimitDescriptor, RateLimitRequest,
    RateLimitResponse,
};
use crate::engine::{Code, Decision, Map, Status, StatusLimit, Value};
use crate::request::{Descriptor, Entry, MAX_DESCRIPTORS, Override, Request, RequestError};
pub(super) use client::{asked, decision};

/// The request that `message` asks; its bytes are moved, not copied.
///
/// # Errors
/// Too many descriptors, or an override that makes no sense.
pub(super) fn request(message: RateLimitRequest) -> Result<Request, RequestError> {
    // Counted before anything is built from them: 1 MiB of protobuf can hold half a million.
    let found = message.descriptors.len();
    if found > MAX_DESCRIPTORS {
        return Err(RequestError::TooManyDescriptors { found });
    }
    Ok(Request {
        domain: message.domain,
        descriptors: message.descriptors.into_iter().map(descriptor).collect::<Result<_, _>>()?,
        hits_addend: message.hits_addend,
    })
}

fn descriptor(message: RateLimitDescriptor) -> Result<Descriptor, RequestError> {
    let limit = message
        .limit
        .map(|limit| Override::new(limit.requests_per_unit, limit.unit, limit.unit_multiplier))
        .transpose()?;
    Ok(Descriptor {
        entries: message
            .entries
            .into_iter()
            .map(|entry| Entry { key: entry.key, value: entry.value })
            .collect(),
        limit,
        hits_addend: message.hits_addend,
        is_negative_hits: message.is_negative_hits,
    })
}

/// The message that says `decision`.
pub(super) fn response(decision: Decision) -> RateLimitResponse {
    let Decision { code: overall, statuses, headers, metadata } = decision;
    RateLimitResponse {
        overall_code: code(overall),
        statuses: statuses.iter().map(status).collect(),
        response_headers_to_add: headers
            .into_iter()
            .map(|header| HeaderValue { key: header.name.as_ref().to_owned(), value: header.value })
            .collect(),
        dynamic_metadata: metadata.map(structure),
    }
}

fn status(status: &Status) -> DescriptorStatus {
    DescriptorStatus {
        code: code(status.code),
        current_limit: status.limit.as_ref().map(limit),
        limit_remaining: status.remaining,
        duration_until_reset: status.reset_s.map(|seconds| prost_types::Duration {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanos: 0,
        }),
    }
}

fn limit(limit: &StatusLimit) -> RateLimit {
    RateLimit {
        requests_per_unit: limit.requests_per_unit,
        unit: limit.unit.number(),
        name: limit.name.as_deref().unwrap_or_default().to_owned(),
        unit_multiplier: (limit.unit_multiplier != 1).then_some(limit.unit_multiplier),
    }
}

fn code(code: Code) -> i32 {
    let number = match code {
        Code::Ok => CodeNumber::Ok,
        Code::OverLimit => CodeNumber::OverLimit,
    };
    number.into()
}

fn structure(map: Map) -> prost_types::Struct {
    prost_types::Struct { fields: map.into_iter().map(|(name, field)| (name, value_of(field))).collect() }
}

fn value_of(value: Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(bool) => Kind::BoolValue(bool),
        Value::Number(number) => Kind::NumberValue(number),
        Value::Text(text) => Kind::StringValue(text),
        Value::List(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(value_of).collect() })
        }
        Value::Map(map) => Kind::StructValue(structure(map)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use smallvec::smallvec;

    use super::super::message::{self, RateLimitOverride};
    use super::*;
    use crate::engine::Header;
    use crate::limit::{LimitError, Unit};

    fn asking(descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
        RateLimitRequest { domain: Bytes::from_static(b"edge"), descriptors, hits_addend: 2 }
    }

    #[test]
    fn a_request_keeps_every_byte_of_its_message() {
        let entry = message::Entry { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"\xff\0") };
        let message = asking(vec![
            RateLimitDescriptor { entries: vec![entry], ..RateLimitDescriptor::default() },
            RateLimitDescriptor {
                limit: Some(RateLimitOverride { requests_per_unit: 5, unit: 2, unit_multiplier: Some(3) }),
                hits_addend: Some(0),
                is_negative_hits: true,
                ..RateLimitDescriptor::default()
            },
        ]);
        let expected = Request {
            domain: Bytes::from_static(b"edge"),
            descriptors: vec![
                Descriptor { entries: vec![Entry::new("k", &b"\xff\0"[..])], ..Descriptor::default() },
                Descriptor {
                    entries: vec![],
                    limit: Some(Override::new(5, 2, Some(3)).unwrap()),
                    hits_addend: Some(0),
                    is_negative_hits: true,
                },
            ],
            hits_addend: 2,
        };
        assert_eq!(request(message), Ok(expected));
    }

    #[test]
    fn an_override_without_a_unit_is_an_error_and_not_a_crash() {
        let overridden =
            |limit| asking(vec![RateLimitDescriptor { limit: Some(limit), ..Default::default() }]);
        assert_eq!(
            request(overridden(RateLimitOverride { requests_per_unit: 5, unit: 0, unit_multiplier: None })),
            Err(RequestError::UnknownUnit { number: 0 })
        );
        assert_eq!(
            request(overridden(RateLimitOverride {
                requests_per_unit: 5,
                unit: 1,
                unit_multiplier: Some(0)
            })),
            Err(RequestError::BadOverride(LimitError::NoMultiplier))
        );
    }

    #[test]
    fn too_many_descriptors_are_counted_and_not_converted() {
        let message = asking(vec![RateLimitDescriptor::default(); MAX_DESCRIPTORS + 1]);
        assert_eq!(request(message), Err(RequestError::TooManyDescriptors { found: MAX_DESCRIPTORS + 1 }));
    }

    fn limited(unit_multiplier: u32, name: Option<&str>) -> Status {
        Status {
            code: Code::OverLimit,
            limit: Some(StatusLimit {
                requests_per_unit: 10,
                unit: Unit::Week,
                unit_multiplier,
                name: name.map(Arc::from),
            }),
            remaining: 4,
            reset_s: Some(7),
        }
    }

    #[test]
    fn an_answer_has_a_status_for_each_descriptor_in_order() {
        let unlimited = Status { code: Code::Ok, limit: None, remaining: u32::MAX, reset_s: None };
        let said = response(Decision {
            code: Code::OverLimit,
            statuses: smallvec![unlimited, limited(1, None), limited(30, Some("slow"))],
            headers: vec![Header { name: "RateLimit-Limit".into(), value: "10".to_owned() }],
            metadata: None,
        });
        let unlimited =
            DescriptorStatus { code: 1, limit_remaining: u32::MAX, ..DescriptorStatus::default() };
        let limited = |name: &str, unit_multiplier| DescriptorStatus {
            code: 2,
            current_limit: Some(RateLimit {
                requests_per_unit: 10,
                unit: 7,
                name: name.to_owned(),
                unit_multiplier,
            }),
            limit_remaining: 4,
            duration_until_reset: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
        };
        let expected = RateLimitResponse {
            overall_code: 2,
            statuses: vec![unlimited, limited("", None), limited("slow", Some(30))],
            response_headers_to_add: vec![HeaderValue {
                key: "RateLimit-Limit".to_owned(),
                value: "10".to_owned(),
            }],
            dynamic_metadata: None,
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn metadata_of_every_kind_becomes_a_struct() {
        use prost_types::value::Kind;
        let list = Value::List(vec![Value::Null, Value::Bool(true), Value::Number(1.5), Value::from("t")]);
        let inner = Map::from([("list".to_owned(), list)]);
        let fields = structure(Map::from([("map".to_owned(), Value::Map(inner))])).fields;
        let Some(Kind::StructValue(inner)) = &fields["map"].kind else { panic!("{fields:?}") };
        let Some(Kind::ListValue(list)) = &inner.fields["list"].kind else { panic!("{inner:?}") };
        let kinds: Vec<_> = list.values.iter().map(|value| value.kind.clone().unwrap()).collect();
        let expected = [
            Kind::NullValue(0),
            Kind::BoolValue(true),
            Kind::NumberValue(1.5),
            Kind::StringValue("t".to_owned()),
        ];
        assert_eq!(kinds, expected);
    }
}
