//! Traces: what a sampled request did, as spans that a collector puts together with those of others.
//!
//! A request that is not sampled makes no span and allocates nothing: whether it is sampled is read from its
//! `traceparent` before anything is made. Names follow OpenTelemetry's semantic conventions 1.45
//! (<https://github.com/open-telemetry/semantic-conventions/tree/v1.45.0>).

mod call;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod parent;
mod store;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanExporter, SpanLimits,
};

use crate::otlp;
pub use call::CallSpan;
use parent::Sampling;
pub use store::{Backend, StoreSpan};

/// The name of our spans among those of libraries.
const SCOPE: &str = "fluxlimit";

/// Spans that wait to be exported; what does not fit is lost. At about 1 KiB each, 4 MiB while a collector hangs.
const MAX_WAITING_SPANS: usize = 4096;

/// Spans that are exported together.
const MAX_EXPORTED_SPANS: usize = 512;

/// How long spans wait for others to be exported with, in milliseconds.
const EXPORT_EVERY_MS: u64 = 1_000;

/// Which requests are traced, and what is told of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Whether spans are exported by OTLP at all.
    pub otlp: bool,
    /// Which share of the requests is traced that come without a trace, from 0 to 1; the others are traced if
    /// their trace is.
    pub sample_ratio: f64,
    /// Whether the entries of descriptors, which clients choose, are told.
    pub values: bool,
}

/// Makes the spans of sampled requests.
#[derive(Debug)]
pub struct Tracer {
    spans: SdkTracer,
    provider: SdkTracerProvider,
    sampling: Sampling,
    tells_values: bool,
    backend: Option<Backend>,
}

impl Tracer {
    /// Exports from now on, in the background; `backend` is the store that is far away, if there is one.
    #[must_use]
    pub fn new(
        settings: &Settings,
        exporter: impl SpanExporter + 'static,
        resource: Resource,
        backend: Option<Backend>,
    ) -> Arc<Self> {
        // Everything is said that the library would otherwise read from the environment.
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING_SPANS)
            .with_max_export_batch_size(MAX_EXPORTED_SPANS)
            .with_scheduled_delay(Duration::from_millis(EXPORT_EVERY_MS))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // What is sampled is decided before.
            .with_sampler(Sampler::AlwaysOn)
            .with_span_limits(SpanLimits::default())
            .with_resource(resource)
            .build();
        Arc::new(Self {
            spans: provider.tracer(SCOPE),
            provider,
            sampling: Sampling::new(settings.sample_ratio),
            tells_values: settings.values,
            backend,
        })
    }

    /// The span of a gRPC call with these headers, if it is sampled; `method` with its service before it.
    #[must_use]
    pub fn rpc(self: &Arc<Self>, method: &'static str, headers: &HeaderMap) -> Option<CallSpan> {
        if !self.sampling.samples(headers) {
            return None;
        }
        let attributes = vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method)];
        Some(self.call(method.into(), headers, attributes))
    }

    /// The span of an HTTP request for `route`, if it is sampled; `scheme` is `http`, or `https` over TLS.
    #[must_use]
    pub fn http<B>(
        self: &Arc<Self>,
        scheme: &'static str,
        route: &'static str,
        request: &Request<B>,
    ) -> Option<CallSpan> {
        let headers = request.headers();
        if !self.sampling.samples(headers) {
            return None;
        }
        let method = method_name(request.method());
        let attributes = vec![
            KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
            KeyValue::new("http.route", route),
            KeyValue::new("url.path", route),
            KeyValue::new("url.scheme", scheme),
        ];
        let name = format!("{} {route}", method.unwrap_or("HTTP"));
        Some(self.call(name, headers, attributes))
    }

    /// Exports what is left, in bounded time, and makes no more spans.
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        otlp::finish("spans", move |most| provider.shutdown_with_timeout(most)).await;
    }

    fn call(self: &Arc<Self>, name: String, headers: &HeaderMap, attributes: Vec<KeyValue>) -> CallSpan {
        CallSpan::new(self.clone(), name, &parent::of(headers), attributes)
    }

    fn start(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        parent: &opentelemetry::Context,
        attributes: Vec<KeyValue>,
    ) -> opentelemetry_sdk::trace::Span {
        use opentelemetry::trace::Tracer as _;
        let builder = self.spans.span_builder(name).with_kind(kind).with_attributes(attributes);
        builder.start_with_context(&self.spans, parent)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // After `stop` it does nothing. A server that ends at once must not wait for a collector.
        let _ = self.provider.shutdown_with_timeout(Duration::ZERO);
    }
}

/// The name of a method that the conventions know. Clients can invent others.
fn method_name(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
