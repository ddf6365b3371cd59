//! `envoy.service.ratelimit.v3.RateLimitRequest`.

use bytes::Bytes;

use super::fields::{Fields, MalformedMessage};
use crate::request::{Descriptor, Entry, MAX_DESCRIPTORS, MAX_ENTRIES, Override, Request, RequestError};
use crate::text::Text;

/// Why no request could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRequest {
    /// The bytes are no such message.
    #[error("not a RateLimitRequest: {0}")]
    Malformed(#[from] MalformedMessage),
    /// The message asks what makes no sense.
    #[error(transparent)]
    Senseless(#[from] RequestError),
}

/// The request that `message` asks. Its keys and values need not be UTF-8: Envoy forwards header bytes as they are. Fields that this server does not read are skipped.
///
/// More descriptors and entries than a request may have are counted and not kept, so that a message of 1 MiB,
/// which can hold half a million of them, takes no more memory than it has bytes.
///
/// # Errors
/// Bytes that are no such message, too many descriptors or entries, or an override that makes no sense.
pub fn request(message: &Bytes) -> Result<Request, UnreadableRequest> {
    let mut request = Request::default();
    let mut found = 0;
    let mut fields = Fields::of(message);
    while let Some((number, content)) = fields.next()? {
        match number {
            1 => request.domain = Text::part(message, content.bytes(number)?),
            2 => {
                found += 1;
                let content = content.bytes(number)?;
                if found <= MAX_DESCRIPTORS {
                    request.descriptors.push(descriptor(message, content, found - 1)?);
                }
            }
            3 => request.hits_addend = low_32(content.integer(number)?),
            _ => {}
        }
    }
    if found > MAX_DESCRIPTORS {
        return Err(RequestError::TooManyDescriptors { found }.into());
    }
    Ok(request)
}

/// An override as it is sent; what it says is checked once all of it is known.
#[derive(Default)]
struct SentOverride {
    requests_per_unit: u32,
    unit: i32,
    unit_multiplier: Option<u32>,
}

fn descriptor(message: &Bytes, content: &[u8], index: usize) -> Result<Descriptor, UnreadableRequest> {
    let mut descriptor = Descriptor::default();
    let mut sent: Option<SentOverride> = None;
    let mut found = 0;
    let mut fields = Fields::of(content);
    while let Some((number, content)) = fields.next()? {
        match number {
            1 => {
                found += 1;
                let content = content.bytes(number)?;
                if found <= MAX_ENTRIES {
                    descriptor.entries.push(entry(message, content)?);
                }
            }
            2 => limit(content.bytes(number)?, sent.get_or_insert_default())?,
            3 => wrapped(content.bytes(number)?, descriptor.hits_addend.get_or_insert_default())?,
            4 => descriptor.is_negative_hits = content.integer(number)? != 0,
            _ => {}
        }
    }
    if found > MAX_ENTRIES {
        return Err(RequestError::TooManyEntries { descriptor: index, found }.into());
    }
    if let Some(SentOverride { requests_per_unit, unit, unit_multiplier }) = sent {
        descriptor.limit = Some(Override::new(requests_per_unit, unit, unit_multiplier)?);
    }
    Ok(descriptor)
}

fn entry(message: &Bytes, content: &[u8]) -> Result<Entry, MalformedMessage> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::of(content);
    while let Some((number, content)) = fields.next()? {
        match number {
            1 => key = content.bytes(number)?,
            2 => value = content.bytes(number)?,
            _ => {}
        }
    }
    Ok(Entry { key: Text::part(message, key), value: Text::part(message, value) })
}

/// Reads an override on: a message that is sent twice is one message with the fields of both.
fn limit(content: &[u8], sent: &mut SentOverride) -> Result<(), MalformedMessage> {
    let mut fields = Fields::of(content);
    while let Some((number, content)) = fields.next()? {
        match number {
            1 => sent.requests_per_unit = low_32(content.integer(number)?),
            2 => sent.unit = low_32(content.integer(number)?).cast_signed(),
            3 => {
                let mut multiplier = sent.unit_multiplier.map_or(0, u64::from);
                wrapped(content.bytes(number)?, &mut multiplier)?;
                sent.unit_multiplier = Some(low_32(multiplier));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A `google.protobuf.UInt64Value` or `UInt32Value`: without its field, the value stays as it is.
fn wrapped(content: &[u8], value: &mut u64) -> Result<(), MalformedMessage> {
    let mut fields = Fields::of(content);
    while let Some((number, content)) = fields.next()? {
        if number == 1 {
            *value = content.integer(number)?;
        }
    }
    Ok(())
}

/// A 32-bit field: protobuf drops the upper half of what does not fit.
const fn low_32(integer: u64) -> u32 {
    (integer & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::super::message::{
        Entry as EntryMessage, RateLimitDescriptor, RateLimitOverride, RateLimitRequest,
    };
    use super::*;
    use crate::limit::LimitError;

    fn read(message: &RateLimitRequest) -> Result<Request, UnreadableRequest> {
        request(&Bytes::from(message.encode_to_vec()))
    }

    fn asking(descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
        RateLimitRequest { domain: Bytes::from_static(b"edge"), descriptors, hits_addend: 2 }
    }

    /// The same request by way of the messages.
    fn expected(message: RateLimitRequest) -> Result<Request, RequestError> {
        let descriptor = |message: RateLimitDescriptor| {
            let limit = message
                .limit
                .map(|limit| Override::new(limit.requests_per_unit, limit.unit, limit.unit_multiplier));
            Ok(Descriptor {
                entries: message
                    .entries
                    .into_iter()
                    .map(|entry| Entry::new(entry.key, entry.value))
                    .collect(),
                limit: limit.transpose()?,
                hits_addend: message.hits_addend,
                is_negative_hits: message.is_negative_hits,
            })
        };
        Ok(Request {
            domain: message.domain.into(),
            descriptors: message.descriptors.into_iter().map(descriptor).collect::<Result<_, _>>()?,
            hits_addend: message.hits_addend,
        })
    }

    fn parts() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn descriptors() -> impl Strategy<Value = RateLimitDescriptor> {
        let entries = vec((parts(), parts()).prop_map(|(key, value)| EntryMessage { key, value }), 0..4);
        let limit = option::of((any::<u32>(), -1..=9_i32, option::of(0..9_u32)).prop_map(
            |(requests_per_unit, unit, unit_multiplier)| RateLimitOverride {
                requests_per_unit,
                unit,
                unit_multiplier,
            },
        ));
        (entries, limit, option::of(any::<u64>()), any::<bool>()).prop_map(
            |(entries, limit, hits_addend, is_negative_hits)| RateLimitDescriptor {
                entries,
                limit,
                hits_addend,
                is_negative_hits,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_messages_say(
            domain in parts(), descriptors in vec(descriptors(), 0..4), hits_addend: u32,
        ) {
            let message = RateLimitRequest { domain, descriptors, hits_addend };
            prop_assert_eq!(read(&message), expected(message).map_err(UnreadableRequest::from));
        }

        /// Anything that prost reads is read as the same, and what it refuses is refused.
        #[test]
        fn mutilated_messages_are_read_as_prost_reads_them(
            descriptors in vec(descriptors(), 1..3),
            cut in any::<prop::sample::Index>(),
            changed in any::<prop::sample::Index>(),
            to: u8,
            twice: bool,
        ) {
            let mut bytes = asking(descriptors).encode_to_vec();
            let at = changed.index(bytes.len());
            bytes[at] = to;
            if twice {
                // Two messages in a row are one message with the fields of both.
                bytes.extend_from_slice(&bytes.clone());
            } else {
                bytes.truncate(cut.index(bytes.len()).max(bytes.len() / 2));
            }
            let bytes = Bytes::from(bytes);
            match (RateLimitRequest::decode(bytes.clone()), request(&bytes)) {
                (Ok(theirs), ours) => {
                    prop_assert_eq!(ours, expected(theirs).map_err(UnreadableRequest::from));
                }
                (Err(_), Err(UnreadableRequest::Malformed(_) | UnreadableRequest::Senseless(_))) => {}
                (Err(error), Ok(ours)) => prop_assert!(false, "{error}: {ours:?}"),
            }
        }
    }

    #[test]
    fn a_request_keeps_bytes_that_are_not_text() {
        let entry = EntryMessage { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"\xff\0") };
        let read = read(&asking(vec![RateLimitDescriptor { entries: vec![entry], ..Default::default() }]));
        assert_eq!(read.unwrap().descriptors[0].entries[..], [Entry::new("k", &b"\xff\0"[..])]);
    }

    #[test]
    fn an_override_without_a_unit_is_an_error_and_not_a_crash() {
        let overridden = |unit, unit_multiplier| {
            let limit = RateLimitOverride { requests_per_unit: 5, unit, unit_multiplier };
            read(&asking(vec![RateLimitDescriptor { limit: Some(limit), ..Default::default() }]))
        };
        assert_eq!(overridden(0, None), Err(RequestError::UnknownUnit { number: 0 }.into()));
        let no_multiplier = RequestError::BadOverride(LimitError::NoMultiplier);
        assert_eq!(overridden(1, Some(0)), Err(no_multiplier.into()));
    }

    #[test]
    fn too_many_descriptors_and_entries_are_counted_and_not_kept() {
        let many = asking(vec![RateLimitDescriptor::default(); 100_000]);
        assert_eq!(read(&many), Err(RequestError::TooManyDescriptors { found: 100_000 }.into()));
        let entries = vec![EntryMessage::default(); 100_000];
        let wide = asking(vec![
            RateLimitDescriptor::default(),
            RateLimitDescriptor { entries, ..Default::default() },
        ]);
        assert_eq!(read(&wide), Err(RequestError::TooManyEntries { descriptor: 1, found: 100_000 }.into()));
    }

    #[test]
    fn a_field_of_another_type_is_refused() {
        let mistyped = |number| Err(MalformedMessage::Mistyped { number }.into());
        assert_eq!(request(&Bytes::from_static(&[0x08, 1])), mistyped(1));
        assert_eq!(request(&Bytes::from_static(&[0x1a, 0])), mistyped(3));
        assert_eq!(request(&Bytes::from_static(&[0x1d, 0, 0, 0, 0])), mistyped(3));
    }
}
