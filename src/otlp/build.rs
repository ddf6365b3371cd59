//! The library's exporters, made of settings.

use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};

use super::tls::Tls;
use super::{Endpoint, ExportError, Protocol, Settings};

/// What every exporter is made of.
struct Parts {
    tls: Tls,
    is_encrypted: bool,
    timeout: Duration,
}

/// What sends spans.
pub(super) fn spans(settings: &Settings) -> Result<SpanExporter, ExportError> {
    let parts = Parts::of(settings)?;
    let built = match settings.protocol() {
        Protocol::Grpc => parts.grpc(SpanExporter::builder().with_tonic(), settings).build(),
        Protocol::Http => parts.http(SpanExporter::builder().with_http(), settings, "/v1/traces").build(),
    };
    built.map_err(failed)
}

/// What sends metrics.
pub(super) fn metrics(settings: &Settings) -> Result<MetricExporter, ExportError> {
    let parts = Parts::of(settings)?;
    let built = match settings.protocol() {
        Protocol::Grpc => parts.grpc(MetricExporter::builder().with_tonic(), settings).build(),
        Protocol::Http => parts.http(MetricExporter::builder().with_http(), settings, "/v1/metrics").build(),
    };
    built.map_err(failed)
}

impl Parts {
    fn of(settings: &Settings) -> Result<Self, ExportError> {
        let is_encrypted = settings.endpoint.as_ref().is_some_and(Endpoint::is_encrypted);
        // gRPC's library reads what the system trusts by itself.
        let tls =
            settings.tls.load(is_encrypted && settings.protocol() == Protocol::Http).map_err(|mistakes| {
                let reasons: Vec<_> = mistakes
                    .iter()
                    .map(|mistake| format!("{}: {}", mistake.setting, mistake.message))
                    .collect();
                ExportError { reason: reasons.join("; ") }
            })?;
        Ok(Self { tls, is_encrypted, timeout: Duration::from_millis(settings.timeout_ms) })
    }

    fn grpc<B: WithExportConfig + WithTonicConfig>(&self, builder: B, settings: &Settings) -> B {
        let headers = settings.headers.iter().cloned().collect();
        let builder = builder
            .with_endpoint(settings.url(""))
            .with_timeout(self.timeout)
            .with_metadata(MetadataMap::from_headers(headers));
        if !self.is_encrypted {
            return builder;
        }
        let mut tls = ClientTlsConfig::new();
        tls = match &self.tls.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
            None => tls.with_native_roots(),
        };
        if let Some((cert, key)) = &self.tls.pair {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        builder.with_tls_config(tls)
    }

    fn http<B: WithExportConfig + WithHttpConfig>(self, builder: B, settings: &Settings, path: &str) -> B {
        let connector = HttpsConnectorBuilder::new().with_tls_config(self.tls.config);
        let connector = connector.https_or_http().enable_http1().build();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = settings.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        builder
            .with_endpoint(settings.url(path))
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_timeout(self.timeout)
            .with_headers(headers.collect())
            .with_http_client(HyperClient::new(connector, self.timeout, None))
    }
}

fn failed(error: impl std::fmt::Display) -> ExportError {
    ExportError { reason: error.to_string() }
}
