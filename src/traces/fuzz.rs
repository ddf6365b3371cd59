//! `traceparent` from anybody.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TraceContextExt;

use super::parent;

/// Whether a request is sampled never depends on what is no `traceparent`, and what is sampled has a parent.
pub(crate) fn parent(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)]);
    let [never, always] = [0.0, 1.0].map(|ratio| parent::Sampling::new(ratio).samples(&headers));
    let of = parent::of(&headers);
    let span = of.span().span_context().clone();
    // A valid header decides; another one leaves it to the ratio.
    match (never, always) {
        (true, true) => assert!(span.is_valid() && span.is_sampled(), "{headers:?}"),
        (false, false) => assert!(!span.is_sampled(), "{headers:?}"),
        (false, true) => {}
        (true, false) => panic!("{headers:?}"),
    }
}
