//! Headers for a collector, which carry the tokens of those who run it.

use super::Talkative;
use crate::support::{Certificates, Collector, eventually, free_address};

const HEADERS: &str = "x-key=Tr0ub4dor,authorization=Bearer%20Tr0ub4dor";

fn telling<'a>(endpoint: &'a str, protocol: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("OTLP__ENDPOINT", endpoint),
        ("OTLP__PROTOCOL", protocol),
        ("OTLP__HEADERS", HEADERS),
        ("METRICS__OTLP", "true"),
        ("METRICS__OTLP_INTERVAL_MS", "100"),
        ("TRACES__OTLP", "true"),
        ("TRACES__SAMPLE_RATIO", "1"),
    ]
}

#[tokio::test]
async fn headers_of_exports_that_arrive_are_never_said() {
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let ca = certificates.ca().display().to_string();
    for protocol in ["grpc", "http"] {
        for scheme in ["http", "https"] {
            let (collector, endpoint) = Collector::speaking(protocol, scheme, &certificates).await;
            let settings = [telling(&endpoint, protocol), vec![("OTLP__TLS_CA_FILE", &ca)]].concat();
            let server = Talkative::start(&settings, &[]).await;
            server.server.ask("user", "alice").await;
            eventually("a span with its header", async || {
                collector.spans().iter().any(|told| told.key.as_deref() == Some("Tr0ub4dor")).then_some(())
            })
            .await;
            server.decides().await;
        }
    }
}

#[tokio::test]
async fn headers_of_exports_that_get_nowhere_are_never_said() {
    for protocol in ["grpc", "http"] {
        let endpoint = format!("http://{}", free_address());
        let server = Talkative::start(&telling(&endpoint, protocol), &[]).await;
        server.says("lost").await;
    }
}
