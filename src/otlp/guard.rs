//! An exporter that waits for nobody longer than it may, and says seldom that it fails.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::time::Stopwatch;

/// How long after a line about failures there is no other, in milliseconds.
const LOG_MS: u64 = 60_000;

/// An exporter of `what`, run by the library's own thread in the context of a runtime.
pub(super) struct Guarded<E> {
    what: &'static str,
    exporter: E,
    runtime: Handle,
    timeout: Duration,
    failing: Mutex<Option<Failing>>,
}

/// Exports that have been failing.
#[derive(Debug)]
struct Failing {
    since_line: Stopwatch,
    left_out: u64,
}

impl<E> Guarded<E> {
    /// Needs a runtime.
    pub(super) fn new(what: &'static str, exporter: E, timeout_ms: u64) -> Self {
        let timeout = Duration::from_millis(timeout_ms);
        Self { what, exporter, runtime: Handle::current(), timeout, failing: Mutex::default() }
    }

    /// Polls `export` where sockets and timers work, which the library's thread is not.
    async fn run(&self, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let timed = {
            let _runtime = self.runtime.enter();
            tokio::time::timeout(self.timeout, export)
        };
        let mut timed = pin!(timed);
        let ended = poll_fn(|context| {
            let _runtime = self.runtime.enter();
            timed.as_mut().poll(context)
        })
        .await;
        let result = ended.unwrap_or(Err(OTelSdkError::Timeout(self.timeout)));
        self.say(&result);
        result
    }

    fn say(&self, result: &OTelSdkResult) {
        let mut failing = self.failing.lock();
        match (result, failing.as_mut()) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                tracing::info!("the collector takes {} again", self.what);
                *failing = None;
            }
            (Err(_), Some(before)) if before.since_line.elapsed() < Duration::from_millis(LOG_MS) => {
                before.left_out += 1;
            }
            (Err(error), before) => {
                let left_out = before.map_or(0, |before| before.left_out);
                tracing::warn!(%error, left_out, "{} are lost: the collector does not take them", self.what);
                *failing = Some(Failing { since_line: Stopwatch::start(), left_out: 0 });
            }
        }
    }
}

impl<E> fmt::Debug for Guarded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Guarded<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.run(self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Guarded<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.run(self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
