//! How spans and metrics leave, and that nobody waits for a collector.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use tokio::net::TcpListener;

use super::{RPC, RULES, Traced, sampled};
use crate::support::{Certificates, Collector, Fluxlimit, RuleDirectory, Signal, eventually, free_address};

#[tokio::test]
async fn both_protocols_carry_spans_and_metrics_with_their_headers_and_with_tls() {
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let ca = certificates.ca().display().to_string();
    for protocol in ["grpc", "http"] {
        for scheme in ["http", "https"] {
            let (collector, endpoint) = Collector::speaking(protocol, scheme, &certificates).await;
            let settings = [
                ("OTLP__ENDPOINT", endpoint.as_str()),
                ("OTLP__PROTOCOL", protocol),
                ("OTLP__HEADERS", "x-key=a%2Cb"),
                ("OTLP__TLS_CA_FILE", &ca),
                ("METRICS__OTLP", "true"),
                ("METRICS__OTLP_INTERVAL_MS", "100"),
            ];
            let traced = Traced::telling(collector, &settings).await;
            traced.ask("alice", Some(&sampled())).await;
            let call = traced.collector.span(RPC).await;
            assert_eq!(call.key.as_deref(), Some("a,b"), "{protocol} {scheme}");
            eventually("a decision among the metrics", async || {
                traced.collector.metrics("fluxlimit.decision.duration").pop()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_collector_that_nobody_vouches_for_gets_nothing() {
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let other = Certificates::of("127.0.0.1".parse().unwrap());
    for protocol in ["grpc", "http"] {
        let collector = Collector::with_tls(&certificates).await;
        let address = if protocol == "grpc" { collector.grpc } else { collector.http };
        let (endpoint, ca) = (format!("https://{address}"), other.ca().display().to_string());
        let settings =
            [("OTLP__ENDPOINT", endpoint.as_str()), ("OTLP__PROTOCOL", protocol), ("OTLP__TLS_CA_FILE", &ca)];
        let traced = Traced::telling(collector, &settings).await;
        traced.ask("alice", Some(&sampled())).await;
        let Traced { mut server, collector, .. } = traced;
        server
            .process
            .output_with("a line about it", |log| log.contains("spans are lost").then_some(()))
            .await;
        assert!(collector.spans().is_empty());
    }
}

#[tokio::test]
async fn the_variables_of_opentelemetry_say_what_no_setting_does() {
    let rules = RuleDirectory::with(RULES);
    for own_name in [None, Some("edge-limits")] {
        let collector = Collector::start().await;
        let mut setup = Fluxlimit::with_rules_at(rules.path())
            .setting("TRACES__OTLP", "true")
            .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", collector.http))
            .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .variable("OTEL_SERVICE_NAME", "of-the-environment")
            // Not read: settings alone say what is sampled.
            .variable("OTEL_TRACES_SAMPLER", "always_off")
            .variable("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
            .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-environment")
            .setting("TRACES__SAMPLE_RATIO", "1");
        if let Some(name) = own_name {
            setup = setup.setting("OTLP__SERVICE_NAME", name);
        }
        let server = setup.start().await;
        server.ask("user", "alice").await;
        let call = collector.span("POST /json").await;
        assert_eq!(call.service, own_name.unwrap_or("of-the-environment"));
        assert_eq!(call.key.as_deref(), Some("of-the-environment"));
    }
}

#[tokio::test]
async fn what_was_told_last_leaves_before_the_server_ends() {
    let settings = [("METRICS__OTLP", "true"), ("METRICS__OTLP_INTERVAL_MS", "3600000")];
    let traced = Traced::with(&settings).await;
    for user in 0..1000 {
        traced.ask(&user.to_string(), Some(&sampled())).await;
    }
    let Traced { server, collector, .. } = traced;
    assert!(server.stop().await.success());
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(|told| told.span.name == RPC).count(), 1000);
    let decisions = collector.metrics("fluxlimit.decisions");
    let [(service, decisions)] = decisions.as_slice() else { panic!("one push: {decisions:?}") };
    assert_eq!(service, "fluxlimit");
    let Some(Data::Sum(sum)) = &decisions.data else { panic!("{decisions:?}") };
    let counts = sum.data_points.iter().map(|point| match point.value {
        Some(Value::AsInt(count)) => count,
        _ => panic!("{point:?}"),
    });
    assert_eq!(counts.sum::<i64>(), 1000);
}

/// More spans than wait at most, so that they have to be thrown away.
const CALLS: usize = 6000;

#[tokio::test]
async fn a_collector_that_is_not_there_or_hangs_harms_no_decision_and_no_stop() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [free_address(), hanging.local_addr().unwrap()] {
        for protocol in ["grpc", "http"] {
            let endpoint = format!("http://{address}");
            let settings = [
                ("OTLP__ENDPOINT", endpoint.as_str()),
                ("OTLP__PROTOCOL", protocol),
                ("OTLP__TIMEOUT_MS", "500"),
                ("METRICS__OTLP", "true"),
                ("METRICS__OTLP_INTERVAL_MS", "100"),
            ];
            let traced = Traced::telling(Collector::start().await, &settings).await;
            let client = traced.client().await;
            for _ in 0..CALLS / 200 {
                let calls = (0..200).map(|user| {
                    let mut client = client.clone();
                    let question = super::question(&user.to_string(), Some(&sampled()));
                    async move { client.should_rate_limit(question).await }
                });
                let answers = futures_util::future::join_all(calls).await;
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            }
            let Traced { mut server, .. } = traced;
            server
                .process
                .output_with("a line about it", |log| log.contains("spans are lost").then_some(()))
                .await;
            server.process.signal(Signal::TERM);
            let (status, log) = server.process.finished().await;
            assert!(status.success(), "{status}");
            assert_eq!(log.matches("spans are lost").count(), 1, "{log}");
            assert_eq!(log.matches("metrics are lost").count(), 1, "{log}");
            assert!(log.contains("stopped"), "{log}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_what_is_told_then() {
    let address = free_address();
    let endpoint = format!("http://{address}");
    let settings =
        [("OTLP__ENDPOINT", endpoint.as_str()), ("OTLP__TIMEOUT_MS", "500"), ("TRACES__SAMPLE_RATIO", "1")];
    let mut traced = Traced::telling(Collector::start().await, &settings).await;
    traced.ask("alice", None).await;
    let lost = |log: &str| log.contains("spans are lost").then_some(());
    traced.server.process.output_with("a line about it", lost).await;
    let collector = Collector::at(address).await;
    eventually("a span", async || {
        traced.ask("bob", None).await;
        collector.spans().pop()
    })
    .await;
    let again = |log: &str| log.contains("the collector takes spans again").then_some(());
    traced.server.process.output_with("a line about it", again).await;
}

#[tokio::test]
async fn what_others_set_for_all_programs_keeps_no_server_from_starting_that_exports_nothing() {
    let rules = RuleDirectory::with(RULES);
    let rules_path = rules.path().to_str().unwrap();
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "rubbish".to_owned());
    let setup = Fluxlimit::with_rules_at(rules.path()).variable(&variable.0, &variable.1);
    setup.start().await.ready().await;
    let environment = [variable, ("FLUXLIMIT_TRACES__OTLP".to_owned(), "true".to_owned())];
    let (status, output) = Fluxlimit::run(&["serve", "--rules", rules_path], &environment).await;
    assert!(!status.success());
    assert!(
        output.contains("OTEL_EXPORTER_OTLP_ENDPOINT: `rubbish` is no address of a collector"),
        "{output}"
    );
}

#[tokio::test]
async fn a_collector_that_hangs_holds_no_server_that_stops() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hanging.local_addr().unwrap());
    for protocol in ["grpc", "http"] {
        for signals in [1, 2] {
            let settings = [
                ("OTLP__ENDPOINT", endpoint.as_str()),
                ("OTLP__PROTOCOL", protocol),
                // Longer than any test.
                ("OTLP__TIMEOUT_MS", "3600000"),
                ("METRICS__OTLP", "true"),
                ("DRAIN_DELAY_MS", if signals == 1 { "0" } else { "3600000" }),
            ];
            let traced = Traced::telling(Collector::start().await, &settings).await;
            traced.ask("alice", Some(&sampled())).await;
            let Traced { mut server, .. } = traced;
            server.process.signal(Signal::TERM);
            if signals == 2 {
                server.process.output_with("a drain", |log| log.contains("stopping").then_some(())).await;
                server.process.signal(Signal::TERM);
            }
            let (status, log) = server.process.finished().await;
            assert!(status.success(), "{status}");
            assert_eq!(log.contains("did not take the last spans in time"), signals == 1, "{log}");
            assert_eq!(log.contains("did not take the last metrics in time"), signals == 1, "{log}");
        }
    }
}
