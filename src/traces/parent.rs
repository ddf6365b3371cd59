//! Whether a request is sampled, and what it is part of: the W3C trace context in its headers
//! (<https://www.w3.org/TR/trace-context/>).

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// Decides which requests are traced: those whose trace is, and a share of those that come without one.
#[derive(Debug)]
pub(super) struct Sampling {
    share: Share,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    None,
    /// Of all random numbers, those below this one.
    Below(u64),
    All,
}

impl Sampling {
    /// With that share of requests without a trace, from 0 to 1.
    pub(super) fn new(ratio: f64) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a ratio between 0 and 1 gives a number below 2^64, and 53 bits of it are enough"
        )]
        let share = match ratio {
            ratio if ratio <= 0.0 => Share::None,
            ratio if ratio < 1.0 => Share::Below((ratio * u64::MAX as f64) as u64),
            _ => Share::All,
        };
        Self { share }
    }

    /// Whether the request with these headers is traced. Allocates nothing.
    pub(super) fn samples(&self, headers: &HeaderMap) -> bool {
        if let Some(sampled) = headers.get("traceparent").and_then(|value| is_sampled(value.as_bytes())) {
            return sampled;
        }
        match self.share {
            Share::None => false,
            Share::All => true,
            Share::Below(bound) => random() < bound,
        }
    }
}

/// The generator of trace ids is fast, and has a state for each thread.
fn random() -> u64 {
    u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes())
}

/// What a `traceparent` says of sampling; `None` if it is not valid, and so means nothing.
fn is_sampled(value: &[u8]) -> Option<bool> {
    let (known, later) = value.split_at_checked(55)?;
    let [v1, v2, b'-', rest @ ..] = known else { return None };
    let version = hex(*v1)? << 4 | hex(*v2)?;
    // Version 0 ends here; later ones may go on after a `-`.
    if version == 0xff || !later.is_empty() && (version == 0 || later[0] != b'-') {
        return None;
    }
    // What is no text is read by nobody, so it would be a trace without its parent.
    if !later.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return None;
    }
    let (trace_id, rest) = rest.split_at(32);
    let (dash, rest) = rest.split_at(1);
    let (span_id, flags) = rest.split_at(16);
    let is_id =
        |id: &[u8]| id.iter().all(|digit| hex(*digit).is_some()) && id.iter().any(|digit| *digit != b'0');
    let [b'-', high, low] = flags else { return None };
    let flags = hex(*high)? << 4 | hex(*low)?;
    (dash == b"-" && is_id(trace_id) && is_id(span_id)).then_some(flags & 1 == 1)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// What the request with these headers is part of, with its `tracestate`; nothing if they do not say.
pub(super) fn of(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use opentelemetry::trace::TraceContextExt;
    use proptest::prelude::*;

    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(traceparent: &[u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(traceparent).unwrap();
        HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)])
    }

    #[test]
    fn the_flag_of_a_valid_traceparent_decides() {
        let check = |text: &str, expected| assert_eq!(is_sampled(text.as_bytes()), expected, "{text}");
        check(SAMPLED, Some(true));
        check(&SAMPLED.replace("-01", "-00"), Some(false));
        check(&SAMPLED.replace("-01", "-03"), Some(true));
        check(&SAMPLED.replace("-01", "-02"), Some(false));
        check(&format!("cc{}-what-ever", &SAMPLED[2..]), Some(true));
        check(&format!("{SAMPLED}-more"), None);
        check(&format!("cc{}x", &SAMPLED[2..]), None);
        // Found by fuzzing: what is no text has no parent.
        check(&format!("cc{}-é", &SAMPLED[2..]), None);
        check(&format!("ff{}", &SAMPLED[2..]), None);
        check(&SAMPLED.to_uppercase(), None);
        check(&SAMPLED.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), None);
        check(&SAMPLED.replace("00f067aa0ba902b7", &"0".repeat(16)), None);
        check(&SAMPLED[..54], None);
        check("", None);
    }

    #[test]
    fn a_traceparent_counts_before_the_ratio_and_an_invalid_one_does_not() {
        for (ratio, of_root) in [(0.0, false), (1.0, true)] {
            let sampling = Sampling::new(ratio);
            assert!(sampling.samples(&headers(SAMPLED.as_bytes())));
            assert!(!sampling.samples(&headers(SAMPLED.replace("-01", "-00").as_bytes())));
            assert_eq!(sampling.samples(&HeaderMap::new()), of_root);
            assert_eq!(sampling.samples(&headers(b"rubbish \xff")), of_root);
        }
    }

    #[test]
    fn a_ratio_samples_about_its_share() {
        let sampling = Sampling::new(0.25);
        let sampled = (0..10_000).filter(|_| sampling.samples(&HeaderMap::new())).count();
        // Ten standard deviations.
        assert!((2_067..2_933).contains(&sampled), "{sampled}");
    }

    proptest! {
        /// What counts as sampled here is a parent for the library, too, or a span would lose its trace.
        #[test]
        fn what_is_sampled_has_a_parent(text in "([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-x)?") {
            let headers = headers(text.as_bytes());
            let parent = of(&headers);
            let span = parent.span();
            let found = span.span_context();
            match is_sampled(text.as_bytes()) {
                Some(sampled) => prop_assert!(found.is_valid() && found.is_sampled() == sampled),
                None => prop_assert!(!found.is_valid()),
            }
        }

        #[test]
        fn no_header_panics(bytes in prop::collection::vec(0x20u8..0xff, 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)]);
                Sampling::new(0.5).samples(&headers);
                of(&headers);
            }
        }
    }
}
