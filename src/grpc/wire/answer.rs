//! `envoy.service.ratelimit.v3.RateLimitResponse`, with gRPC's prefix before it.

use bytes::Bytes;
use prost::Message;
use smallvec::SmallVec;

use super::super::frame::PREFIX_BYTES;
use super::super::message::Code as CodeNumber;
use super::{BYTES, VARINT};
use crate::engine::{Code, Decision, Header, Map, Status, StatusLimit, Value};

/// Bytes that most answers fit into: two statuses with a name each.
const USUAL_BYTES: usize = 128;

/// An answer while it is written, on the stack unless it is long.
struct Writer(SmallVec<[u8; USUAL_BYTES]>);

/// The answer that says `decision`: a message that is not compressed, in one frame of gRPC
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
#[must_use]
pub fn framed(decision: &Decision) -> Bytes {
    let mut writer = Writer(SmallVec::from_elem(0, PREFIX_BYTES));
    writer.integer(1, code(decision.code));
    for status in &decision.statuses {
        writer.message(2, |writer| writer.status(status));
    }
    for header in &decision.headers {
        writer.message(3, |writer| writer.header(header));
    }
    if let Some(metadata) = &decision.metadata {
        writer.bytes(6, &structure(metadata).encode_to_vec());
    }
    // What a request may hold bounds what is answered to it: far below 4 GiB.
    let length = u32::try_from(writer.0.len() - PREFIX_BYTES).unwrap_or(u32::MAX);
    writer.0[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Bytes::copy_from_slice(&writer.0)
}

impl Writer {
    fn status(&mut self, status: &Status) {
        self.integer(1, code(status.code));
        if let Some(limit) = &status.limit {
            self.message(2, |writer| writer.limit(limit));
        }
        self.integer(3, status.remaining.into());
        if let Some(seconds) = status.reset_s {
            // A `google.protobuf.Duration`, whose seconds are signed.
            self.message(4, |writer| writer.integer(1, seconds.min(i64::MAX.unsigned_abs())));
        }
    }

    fn limit(&mut self, limit: &StatusLimit) {
        self.integer(1, limit.requests_per_unit.into());
        self.integer(2, limit.unit.number().unsigned_abs().into());
        if let Some(name) = &limit.name {
            self.bytes(3, name.as_bytes());
        }
        if limit.unit_multiplier != 1 {
            self.message(4, |writer| writer.integer(1, limit.unit_multiplier.into()));
        }
    }

    fn header(&mut self, header: &Header) {
        self.bytes(1, header.name.as_bytes());
        self.bytes(2, header.value.as_bytes());
    }

    /// An integer; 0 is what is not sent.
    fn integer(&mut self, number: u64, integer: u64) {
        if integer != 0 {
            self.varint(number << 3 | VARINT);
            self.varint(integer);
        }
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A message within the message. Its length stands before it and is known after it: almost always one byte,
    /// for which there is room; a longer message makes room.
    fn message(&mut self, number: u64, write: impl FnOnce(&mut Self)) {
        self.varint(number << 3 | BYTES);
        let at = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - at - 1;
        if let Ok(length @ 0..=0x7f) = u8::try_from(length) {
            self.0[at] = length;
        } else {
            let written = SmallVec::<[u8; USUAL_BYTES]>::from_slice(&self.0[at + 1..]);
            self.0.truncate(at);
            self.varint(length as u64);
            self.0.extend_from_slice(&written);
        }
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(byte @ 0..0x80) => self.0.push(byte),
            _ => self.long_varint(value),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

const fn code(code: Code) -> u64 {
    match code {
        Code::Ok => CodeNumber::Ok as u64,
        Code::OverLimit => CodeNumber::OverLimit as u64,
    }
}

fn structure(map: &Map) -> prost_types::Struct {
    prost_types::Struct { fields: map.iter().map(|(name, field)| (name.clone(), value_of(field))).collect() }
}

fn value_of(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(bool) => Kind::BoolValue(*bool),
        Value::Number(number) => Kind::NumberValue(*number),
        Value::Text(text) => Kind::StringValue(text.clone()),
        Value::List(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(value_of).collect() })
        }
        Value::Map(map) => Kind::StructValue(structure(map)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::super::super::convert;
    use super::super::super::message::RateLimitResponse;
    use super::*;
    use crate::limit::Unit;

    /// The message of an answer, read by prost.
    fn message(framed: &Bytes) -> RateLimitResponse {
        let (prefix, message) = framed.split_first_chunk::<PREFIX_BYTES>().unwrap();
        let [0, length @ ..] = prefix else { panic!("flags in {prefix:?}") };
        assert_eq!(u32::from_be_bytes(*length) as usize, message.len());
        RateLimitResponse::decode(message).unwrap()
    }

    fn codes() -> impl Strategy<Value = Code> {
        prop_oneof![Just(Code::Ok), Just(Code::OverLimit)]
    }

    fn limits() -> impl Strategy<Value = StatusLimit> {
        let name = option::of(vec(" [!-~]{1,9}", 1..30).prop_map(|parts| Arc::from(parts.concat())));
        (any::<u32>(), 1..=7_i32, any::<u32>(), name).prop_map(
            |(requests_per_unit, unit, unit_multiplier, name)| StatusLimit {
                requests_per_unit,
                unit: Unit::from_number(unit).unwrap(),
                unit_multiplier,
                name,
            },
        )
    }

    fn statuses() -> impl Strategy<Value = Status> {
        let reset_s = option::of(0..=i64::MAX.unsigned_abs());
        (codes(), option::of(limits()), any::<u32>(), reset_s)
            .prop_map(|(code, limit, remaining, reset_s)| Status { code, limit, remaining, reset_s })
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-9..9_i32).prop_map(|number| Value::Number(number.into())),
            ".{0,8}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::List),
                btree_map(".{0,4}", inner, 0..3).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_the_messages_read(
            code in codes(),
            statuses in vec(statuses(), 0..5),
            headers in vec(("[a-z-]{1,9}", ".{0,80}"), 0..4),
            metadata in option::of(btree_map(".{0,8}", values(), 0..3)),
        ) {
            let headers = headers.into_iter().map(|(name, value)| Header { name: name.into(), value });
            let decision =
                Decision { code, statuses: statuses.into(), headers: headers.collect(), metadata };
            prop_assert_eq!(convert::decision(message(&framed(&decision))), Ok(decision));
        }
    }

    #[test]
    fn a_usual_answer_is_these_bytes() {
        let limit = StatusLimit {
            requests_per_unit: 10,
            unit: Unit::Week,
            unit_multiplier: 30,
            name: Some("n".into()),
        };
        let status = Status { code: Code::OverLimit, limit: Some(limit), remaining: 300, reset_s: Some(7) };
        let decision =
            Decision { code: Code::OverLimit, statuses: smallvec![status], headers: vec![], metadata: None };
        let limit = [0x08, 10, 0x10, 7, 0x1a, 1, b'n', 0x22, 2, 0x08, 30];
        let status = [&[0x08, 2, 0x12, 11][..], &limit, &[0x18, 0xac, 2, 0x22, 2, 0x08, 7]].concat();
        let expected = [&[0, 0, 0, 0, 26, 0x08, 2, 0x12, 22][..], &status].concat();
        assert_eq!(framed(&decision), expected);
    }

    #[test]
    fn an_unlimited_descriptor_has_no_limit_and_no_time() {
        let status = Status { code: Code::Ok, limit: None, remaining: u32::MAX, reset_s: None };
        let decision =
            Decision { code: Code::Ok, statuses: smallvec![status], headers: vec![], metadata: None };
        let message = message(&framed(&decision));
        assert_eq!(message.statuses[0].current_limit, None);
        assert_eq!(message.statuses[0].duration_until_reset, None);
        assert_eq!(message.statuses[0].limit_remaining, u32::MAX);
    }
}
