//! How spans and metrics leave for a collector: OTLP over gRPC or HTTP, in the background.
//!
//! Nobody waits for a collector. What cannot be sent is lost, counted in the log, and nothing else.

mod build;
mod guard;
mod settings;
mod tls;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanExporter;

use guard::Guarded;
pub use settings::{Endpoint, Environment, Protocol, Settings, VARIABLES, attributes, headers};
pub use tls::TlsFiles;

/// How long the last export may keep a server that stops, in milliseconds.
const STOP_MS: u64 = 3_000;

/// Why there is no exporter, in the words of the library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be exported: {reason}")]
pub struct ExportError {
    reason: String,
}

/// What sends spans. Needs a runtime, now and as long as it is used.
///
/// # Errors
/// The settings do not go together, or the environment holds what the library cannot use.
pub fn span_exporter(settings: &Settings) -> Result<impl SpanExporter + 'static, ExportError> {
    Ok(Guarded::new("spans", build::spans(settings)?, settings.timeout_ms))
}

/// What sends metrics. Needs a runtime, now and as long as it is used.
///
/// # Errors
/// As [`span_exporter`].
pub fn metric_exporter(settings: &Settings) -> Result<impl PushMetricExporter, ExportError> {
    Ok(Guarded::new("metrics", build::metrics(settings)?, settings.timeout_ms))
}

/// Has the last of `what` sent by `shutdown`, in bounded time.
pub async fn finish(what: &'static str, shutdown: impl FnOnce(Duration) -> OTelSdkResult + Send + 'static) {
    let most = Duration::from_millis(STOP_MS);
    // The library waits on the thread that asks, and for metrics as long as an export may take.
    let stopping = tokio::task::spawn_blocking(move || shutdown(most));
    match tokio::time::timeout(most, stopping).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the collector did not take the last {what} in time"),
        _ => tracing::warn!("the collector did not take the last {what} in time"),
    }
}

/// Who sends: the name of the service and what is told about this instance. Later attributes count.
#[must_use]
pub fn resource(settings: &Settings) -> Resource {
    let own = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let given = settings.resource_attributes.iter();
    let given = given.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    // Not the library's own builder, which reads the environment: settings are to have the last word.
    let resource = Resource::builder_empty().with_attributes([own]).with_attributes(given);
    match &settings.service_name {
        Some(name) => resource.with_service_name(name.clone()).build(),
        None if settings.resource_attributes.iter().any(|(name, _)| name == "service.name") => {
            resource.build()
        }
        None => resource.with_service_name(DEFAULT_SERVICE_NAME).build(),
    }
}

/// The name of the service unless something else gives one.
const DEFAULT_SERVICE_NAME: &str = "fluxlimit";
