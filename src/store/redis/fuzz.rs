//! What a Redis, or somebody who shares it, may answer; and the URLs of people.

use redis::{RedisError, Value};
use smallvec::smallvec;

use super::cluster::fuzz as cluster;
use super::reply::{self, Answer};
use super::settings::Address;
use super::url::Url;
use super::work::Work;
use super::{refusal, sentinel, state};
use crate::algorithm::{State, Verdict};
use crate::engine::{Charge, Group, Identity, Settlement};
use crate::limit::{Algorithm, Limit, LimitSpec, Unit};
use crate::store::percent;

/// The answer to a script, a stored state, and any other answer.
pub(crate) fn reply(data: &[u8]) {
    script(data);
    stored(data);
    if let Ok(value) = redis::parse_redis_value(data) {
        let from = Address { host: "h".to_owned(), port: 1 };
        cluster::answer(&value, &from);
        let _ = sentinel::address(Some(&value));
        if let Value::ServerError(error) = value {
            let _ = refusal::words(&error);
            let _ = refusal::trouble(&RedisError::from(error));
        }
    }
}

fn work(charges: usize, wants_booked: bool) -> Work {
    let limit = Limit::new(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Second)).expect("it is in order");
    let key = Identity::of(b"d", 0).into_key(&limit, false);
    let charge = Charge { key, limit, hits: 1, shadow: false, mark: false, limit_id: 0 };
    let groups = smallvec![Group { charges, quota: false, tag: None }];
    Work::settle(b"p:", &[], &Settlement::new(vec![charge; charges].into(), groups), wants_booked)
}

/// What is read says all that stood there.
fn script(data: &[u8]) {
    for works in [&[work(1, false)][..], &[work(2, true)], &[work(1, true), work(2, false)]] {
        let answers = reply::read(&Value::BulkString(data.to_vec()), works.iter());
        assert_eq!(answers.len(), works.len());
        let read: Option<Vec<&Answer>> = answers.iter().map(|answer| answer.as_ref().ok()).collect();
        let Some(read) = read else { continue };
        let mut written = Vec::new();
        for answer in read {
            write(answer, &mut written);
        }
        assert_eq!(written, data);
    }
}

fn write(answer: &Answer, bytes: &mut Vec<u8>) {
    bytes.push(answer.outcome.refused.into());
    for (place, verdict) in answer.outcome.verdicts.iter().enumerate() {
        write_verdict(verdict, bytes);
        if let Some(booked) = answer.booked.get(place) {
            bytes.extend(booked.hits.to_be_bytes());
            bytes.extend(booked.place_ms.to_be_bytes());
        }
    }
    if !answer.outcome.refused {
        answer.if_refused.iter().for_each(|verdict| write_verdict(verdict, bytes));
    }
}

fn write_verdict(verdict: &Verdict, bytes: &mut Vec<u8>) {
    bytes.push(verdict.allowed.into());
    let never = (1 << 48) - 1;
    let numbers = [
        verdict.available,
        verdict.remaining,
        verdict.retry_after_ms.unwrap_or(never),
        verdict.reset_after_ms,
    ];
    bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes().into_iter().skip(2)));
}

fn stored(data: &[u8]) {
    for algorithm in Algorithm::ALL {
        let Some(state) = state::decode(algorithm, data) else { continue };
        let mut numbers: Vec<u64> = Vec::new();
        match state {
            State::TokenBucket(bucket) => numbers.extend([bucket.at_tick, bucket.level.cast_unsigned()]),
            State::LeakyBucket(bucket) => numbers.extend([bucket.at_tick, bucket.water.cast_unsigned()]),
            State::FixedWindow(window) => numbers.extend([window.start_ms, window.used]),
            State::SlidingWindow(window) => {
                numbers.push(window.at_ms);
                numbers.extend(window.slots.iter().flat_map(|slot| [slot.end_ms, slot.hits]));
            }
        }
        let written: Vec<u8> = numbers.into_iter().flat_map(u64::to_be_bytes).collect();
        assert_eq!(written, data[7..]);
    }
}

/// A URL: no message repeats what it says, and what is encoded comes back as it was.
pub(crate) fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(message) = Url::parse(text) {
        assert!(message.found.is_none(), "{message}");
    }
    let _ = Url::parse(&format!("redis://{text}"));
    let _ = Url::parse(&format!("rediss+sentinel://{text}"));
    let _ = Url::parse(&format!("redis+cluster://{text}"));
    if text.is_empty() {
        return;
    }
    let encoded = percent::encode_all(data);
    let url = Url::parse(&format!("redis://u:{encoded}@h/1")).expect("a password that is encoded");
    assert_eq!(url.password.as_ref().map(|password| password.reveal()), Some(text));
    assert_eq!(url.username.as_deref(), Some("u"));
}
