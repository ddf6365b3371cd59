//! The messages of `envoy.service.ratelimit.v3`, with the names and numbers of Envoy's API.
//!
//! They differ from those of the crate `envoy-types` in three ways: keys and values are bytes, because
//! Envoy forwards header bytes that are not UTF-8; they are slices of the received frame, not copies;
//! and there is `unit_multiplier`. Fields that this server neither reads nor sends are left out
//! (`request_headers_to_add`, `raw_body`, `quota`): protobuf skips what it does not know.
//!
//! Clients use them, and tests; the server reads and writes the bytes themselves ([`wire`](super::wire)).

use bytes::Bytes;
use prost::Message;

/// One question: `envoy.service.ratelimit.v3.RateLimitRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RateLimitRequest {
    /// Which rules apply.
    #[prost(bytes = "bytes", tag = "1")]
    pub domain: Bytes,
    /// What the call is counted under.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    /// Hits of the descriptors that name none; 0 means 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RateLimitDescriptor {
    /// Keys and values, most general first.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    /// A limit that replaces the rules.
    #[prost(message, optional, tag = "2")]
    pub limit: Option<RateLimitOverride>,
    /// Hits of this descriptor (`google.protobuf.UInt64Value`).
    #[prost(message, optional, tag = "3")]
    pub hits_addend: Option<u64>,
    /// Whether the hits are given back.
    #[prost(bool, tag = "4")]
    pub is_negative_hits: bool,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Entry {
    /// What is told apart.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.RateLimitOverride`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RateLimitOverride {
    /// Hits per period.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// Number of the unit of the period (`envoy.type.v3.RateLimitUnit`).
    #[prost(int32, tag = "2")]
    pub unit: i32,
    /// How many units make one period (`google.protobuf.UInt32Value`).
    #[prost(message, optional, tag = "3")]
    pub unit_multiplier: Option<u32>,
}

/// One answer: `envoy.service.ratelimit.v3.RateLimitResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct RateLimitResponse {
    /// Whether the request passes; never [`Code::Unknown`], which Envoy reads as OK.
    #[prost(enumeration = "Code", tag = "1")]
    pub overall_code: i32,
    /// One status per descriptor, in order.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
    /// Headers for the response to the client of Envoy.
    #[prost(message, repeated, tag = "3")]
    pub response_headers_to_add: Vec<HeaderValue>,
    /// What Envoy's other filters and its access log may read.
    #[prost(message, optional, tag = "6")]
    pub dynamic_metadata: Option<prost_types::Struct>,
}

/// `envoy.service.ratelimit.v3.RateLimitResponse.DescriptorStatus`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DescriptorStatus {
    /// Whether this descriptor is over its limit.
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The limit that it was held against; absent without one.
    #[prost(message, optional, tag = "2")]
    pub current_limit: Option<RateLimit>,
    /// Hits that are left.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// Whole seconds: Envoy truncates.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<prost_types::Duration>,
}

/// `envoy.service.ratelimit.v3.RateLimitResponse.RateLimit`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RateLimit {
    /// Hits per period.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// Number of the unit (`RateLimitResponse.RateLimit.Unit`).
    #[prost(int32, tag = "2")]
    pub unit: i32,
    /// Name of the rule; Envoy prints it without escaping.
    #[prost(string, tag = "3")]
    pub name: String,
    /// How many units make one period; left out when 1 (`google.protobuf.UInt32Value`).
    #[prost(message, optional, tag = "4")]
    pub unit_multiplier: Option<u32>,
}

/// `envoy.config.core.v3.HeaderValue`. Envoy ignores its `raw_value` here.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HeaderValue {
    /// Name of the header.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `envoy.service.ratelimit.v3.RateLimitResponse.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// Never sent.
    Unknown = 0,
    /// Within the limit.
    Ok = 1,
    /// Over the limit.
    OverLimit = 2,
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::extensions::common::ratelimit::v3 as common;
    use envoy_types::pb::envoy::service::ratelimit::v3 as theirs;
    use envoy_types::pb::google::protobuf as google;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// The same message in our types and in those of `envoy-types`.
    type Both<Ours, Theirs> = (Ours, Theirs);

    fn descriptors() -> impl Strategy<Value = Both<RateLimitDescriptor, common::RateLimitDescriptor>> {
        let entries = vec((".{0,8}", ".{0,8}"), 0..4);
        let limit = option::of((any::<u32>(), 0..=6_i32));
        (entries, limit, option::of(any::<u64>()), any::<bool>()).prop_map(
            |(entries, limit, hits_addend, is_negative_hits)| {
                let ours = RateLimitDescriptor {
                    entries: entries
                        .iter()
                        .map(|(key, value)| Entry { key: key.clone().into(), value: value.clone().into() })
                        .collect(),
                    limit: limit.map(|(requests_per_unit, unit)| RateLimitOverride {
                        requests_per_unit,
                        unit,
                        unit_multiplier: None,
                    }),
                    hits_addend,
                    is_negative_hits,
                };
                let theirs = common::RateLimitDescriptor {
                    entries: entries
                        .into_iter()
                        .map(|(key, value)| common::rate_limit_descriptor::Entry { key, value })
                        .collect(),
                    limit: limit.map(|(requests_per_unit, unit)| {
                        common::rate_limit_descriptor::RateLimitOverride { requests_per_unit, unit }
                    }),
                    hits_addend: hits_addend.map(|value| google::UInt64Value { value }),
                    is_negative_hits,
                };
                (ours, theirs)
            },
        )
    }

    fn requests() -> impl Strategy<Value = Both<RateLimitRequest, theirs::RateLimitRequest>> {
        (".{0,8}", vec(descriptors(), 0..4), any::<u32>()).prop_map(|(domain, descriptors, hits_addend)| {
            let (ours, theirs) = descriptors.into_iter().unzip();
            (
                RateLimitRequest { domain: domain.clone().into(), descriptors: ours, hits_addend },
                theirs::RateLimitRequest { domain, descriptors: theirs, hits_addend },
            )
        })
    }

    fn statuses()
    -> impl Strategy<Value = Both<DescriptorStatus, theirs::rate_limit_response::DescriptorStatus>> {
        let limit = option::of((any::<u32>(), 0..=7_i32, ".{0,8}"));
        (0..=2_i32, limit, any::<u32>(), option::of(any::<i64>())).prop_map(
            |(code, limit, limit_remaining, reset_s)| {
                let ours = DescriptorStatus {
                    code,
                    current_limit: limit.clone().map(|(requests_per_unit, unit, name)| RateLimit {
                        requests_per_unit,
                        unit,
                        name,
                        unit_multiplier: None,
                    }),
                    limit_remaining,
                    duration_until_reset: reset_s.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
                };
                let theirs = theirs::rate_limit_response::DescriptorStatus {
                    code,
                    current_limit: limit.map(|(requests_per_unit, unit, name)| {
                        theirs::rate_limit_response::RateLimit { name, requests_per_unit, unit }
                    }),
                    limit_remaining,
                    duration_until_reset: reset_s.map(|seconds| google::Duration { seconds, nanos: 0 }),
                    quota: None,
                };
                (ours, theirs)
            },
        )
    }

    fn responses() -> impl Strategy<Value = Both<RateLimitResponse, theirs::RateLimitResponse>> {
        let headers = vec((".{0,8}", ".{0,8}"), 0..4);
        let metadata = option::of(proptest::collection::btree_map(".{0,8}", any::<bool>(), 0..4));
        (0..=2_i32, vec(statuses(), 0..4), headers, metadata).prop_map(
            |(overall_code, statuses, headers, metadata)| {
                let (ours, theirs) = statuses.into_iter().unzip();
                let ours = RateLimitResponse {
                    overall_code,
                    statuses: ours,
                    response_headers_to_add: headers
                        .iter()
                        .map(|(key, value)| HeaderValue { key: key.clone(), value: value.clone() })
                        .collect(),
                    dynamic_metadata: metadata.clone().map(|fields| prost_types::Struct {
                        fields: fields.into_iter().map(|(name, flag)| (name, bool_value(flag))).collect(),
                    }),
                };
                let theirs = theirs::RateLimitResponse {
                    overall_code,
                    statuses: theirs,
                    response_headers_to_add: headers
                        .into_iter()
                        .map(|(key, value)| core::HeaderValue { key, value, ..Default::default() })
                        .collect(),
                    dynamic_metadata: metadata.map(|fields| google::Struct {
                        fields: fields.into_iter().map(|(name, flag)| (name, their_bool(flag))).collect(),
                    }),
                    ..Default::default()
                };
                (ours, theirs)
            },
        )
    }

    fn bool_value(flag: bool) -> prost_types::Value {
        prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(flag)) }
    }

    fn their_bool(flag: bool) -> google::Value {
        google::Value { kind: Some(google::value::Kind::BoolValue(flag)) }
    }

    /// Holds two types to each other: each reads what the other writes.
    fn check<Ours, Theirs>((ours, theirs): Both<Ours, Theirs>)
    where
        Ours: Message + Default + PartialEq + std::fmt::Debug,
        Theirs: Message + Default + PartialEq + std::fmt::Debug,
    {
        assert_eq!(Theirs::decode(Bytes::from(ours.encode_to_vec())).unwrap(), theirs);
        assert_eq!(Ours::decode(Bytes::from(theirs.encode_to_vec())).unwrap(), ours);
    }

    proptest! {
        #[test]
        fn requests_agree_with_envoys_types(both in requests()) {
            check(both);
        }

        #[test]
        fn responses_agree_with_envoys_types(both in responses()) {
            check(both);
        }
    }

    #[test]
    fn the_multiplier_is_where_envoy_has_it() {
        // Field 3 of an override and 4 of a limit, both a `UInt32Value` whose field 1 is 30.
        let limit = RateLimitOverride { requests_per_unit: 0, unit: 0, unit_multiplier: Some(30) };
        assert_eq!(limit.encode_to_vec(), [3 << 3 | 2, 2, 1 << 3, 30]);
        let limit = RateLimit { unit_multiplier: Some(30), ..RateLimit::default() };
        assert_eq!(limit.encode_to_vec(), [4 << 3 | 2, 2, 1 << 3, 30]);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept() {
        let entry = Entry { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"\xff\xfe\0") };
        assert_eq!(Entry::decode(entry.encode_to_vec().as_slice()).unwrap(), entry);
    }
}
