//! A collector of OpenTelemetry that keeps what it gets: OTLP over gRPC and over HTTP, with TLS or without.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tower::{Service, service_fn};

use super::{Certificates, eventually};

/// A running collector; it ends with the runtime of its test.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Where it speaks gRPC.
    pub(crate) grpc: SocketAddr,
    /// Where it speaks HTTP.
    pub(crate) http: SocketAddr,
    got: Got,
}

/// A span, and the service that sent it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) service: String,
    pub(crate) span: Span,
    /// The value of `x-key` that it came with.
    pub(crate) key: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Got(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    spans: Vec<Told>,
    metrics: Vec<(String, Metric)>,
}

impl Collector {
    /// One without TLS.
    pub(crate) async fn start() -> Self {
        Self::with(listener().await, None).await
    }

    /// One without TLS that speaks gRPC at that address.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        Self::with(TcpListener::bind(address).await.expect("a free address"), None).await
    }

    /// One whose connections are encrypted.
    pub(crate) async fn with_tls(certificates: &Certificates) -> Self {
        Self::with(listener().await, Some(certificates)).await
    }

    /// One with TLS if `scheme` is `https`, and the endpoint that exporters of `protocol` are told.
    pub(crate) async fn speaking(
        protocol: &str,
        scheme: &str,
        certificates: &Certificates,
    ) -> (Self, String) {
        let collector = match scheme {
            "http" => Self::start().await,
            _ => Self::with_tls(certificates).await,
        };
        let address = if protocol == "grpc" { collector.grpc } else { collector.http };
        (collector, format!("{scheme}://{address}"))
    }

    async fn with(grpc: TcpListener, certificates: Option<&Certificates>) -> Self {
        let http = listener().await;
        let collector = Self { grpc: address(&grpc), http: address(&http), got: Got::default() };
        let mut server = Server::builder();
        if let Some(certificates) = certificates {
            let (cert, key) = certificates.server();
            let identity = Identity::from_pem(std::fs::read(cert).unwrap(), std::fs::read(key).unwrap());
            server =
                server.tls_config(ServerTlsConfig::new().identity(identity)).expect("a good certificate");
        }
        let (traces, metrics) = (collector.got.clone(), collector.got.clone());
        let (traces, metrics) = (TraceServiceServer::new(traces), MetricsServiceServer::new(metrics));
        // tonic's own router is not built in.
        let either = service_fn(move |request: Request<Body>| {
            if request.uri().path().contains("TraceService") {
                traces.clone().call(request)
            } else {
                metrics.clone().call(request)
            }
        });
        tokio::spawn(server.serve_with_incoming(either, TcpIncoming::from(grpc)));
        tokio::spawn(serve_http(http, certificates.map(acceptor), collector.got.clone()));
        collector
    }

    /// The URL of its gRPC side.
    pub(crate) fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The spans that came so far.
    pub(crate) fn spans(&self) -> Vec<Told> {
        self.got.0.lock().spans.clone()
    }

    /// Waits until there are as many spans of that name.
    pub(crate) async fn wait_for(&self, count: usize, name: &str) -> Vec<Told> {
        eventually(&format!("{count} spans named {name}"), async || {
            let mut spans = self.spans();
            spans.retain(|told| told.span.name == name);
            (spans.len() >= count).then_some(spans)
        })
        .await
    }

    /// Waits for a span of that name.
    pub(crate) async fn span(&self, name: &str) -> Told {
        self.wait_for(1, name).await.remove(0)
    }

    /// The metrics of that name that came so far, each with its service.
    pub(crate) fn metrics(&self, name: &str) -> Vec<(String, Metric)> {
        self.got.0.lock().metrics.iter().filter(|(_, metric)| metric.name == name).cloned().collect()
    }
}

impl Told {
    /// An attribute as text; a list with `|` between its items.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.span.attributes, name)
    }

    /// Whether it is a child of another.
    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }
}

impl Got {
    fn take_spans(&self, request: ExportTraceServiceRequest, headers: &HeaderMap) {
        let key = headers.get("x-key").map(|key| key.to_str().unwrap().to_owned());
        let mut inner = self.0.lock();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let service = attribute(&resource.attributes, "service.name").unwrap_or_default();
            for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
                inner.spans.push(Told { service: service.clone(), span, key: key.clone() });
            }
        }
    }

    fn take_metrics(&self, request: ExportMetricsServiceRequest) {
        let mut inner = self.0.lock();
        for of_resource in request.resource_metrics {
            let resource = of_resource.resource.unwrap_or_default();
            let service = attribute(&resource.attributes, "service.name").unwrap_or_default();
            let metrics = of_resource.scope_metrics.into_iter().flat_map(|of_scope| of_scope.metrics);
            inner.metrics.extend(metrics.map(|metric| (service.clone(), metric)));
        }
    }
}

#[tonic::async_trait]
impl TraceService for Got {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.take_spans(request, &metadata.into_headers());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Got {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.take_metrics(request.into_inner());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    let (cert, key) = certificates.server();
    let chain = CertificateDer::pem_file_iter(cert).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).expect("a good pair");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve_http(listener: TcpListener, acceptor: Option<TlsAcceptor>, got: Got) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, got) = (acceptor.clone(), got.clone());
        let service = hyper::service::service_fn(move |request| answer(got.clone(), request));
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(async move {
            match acceptor {
                None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

async fn answer(got: Got, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    let taken = match head.uri.path() {
        "/v1/traces" => {
            ExportTraceServiceRequest::decode(body).map(|request| got.take_spans(request, &head.headers))
        }
        "/v1/metrics" => ExportMetricsServiceRequest::decode(body).map(|request| got.take_metrics(request)),
        path => panic!("OTLP has no {path}"),
    };
    taken.expect("a message of OTLP");
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref().map(text)
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref().expect("a value") {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::ArrayValue(list) => list.values.iter().map(text).collect::<Vec<_>>().join("|"),
        other => panic!("{other:?}"),
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback exists")
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a listener has an address")
}
