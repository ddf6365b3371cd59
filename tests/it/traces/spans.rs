//! Which requests have spans, and what they say.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{PARENT, RPC, TRACE, Traced, hex, question, sampled};
use crate::support::{Certificates, Client};
use crate::tls::trusting;

/// Of the flags of a span, the one that says that its parent is in another process.
const IS_REMOTE: u32 = 0x200;

#[tokio::test]
async fn a_call_of_a_sampled_trace_is_a_span_of_it_with_a_child_for_the_match() {
    let traced = Traced::with(&[]).await;
    let mut request = question("alice", Some(&sampled()));
    request.metadata_mut().insert("tracestate", "vendor=opaque".parse().unwrap());
    traced.client().await.should_rate_limit(request).await.unwrap();
    let call = traced.collector.span(RPC).await;
    let Span { trace_id, parent_span_id, trace_state, flags, kind, status, .. } = &call.span;
    assert_eq!((hex(trace_id).as_str(), hex(parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!((trace_state.as_str(), flags & IS_REMOTE), ("vendor=opaque", IS_REMOTE));
    assert_eq!(
        (*kind, status.clone().unwrap_or_default().code),
        (SpanKind::Server as i32, StatusCode::Unset as i32)
    );
    assert_eq!(call.service, "fluxlimit");
    let told = ["rpc.system.name", "rpc.method", "rpc.response.status_code", "fluxlimit.code", "error.type"];
    let told = told.map(|name| call.attribute(name));
    assert_eq!(
        told.each_ref().map(Option::as_deref),
        [Some("grpc"), Some(RPC), Some("OK"), Some("ok"), None]
    );
    let matching = traced.collector.span("match").await;
    assert!(matching.is_child_of(&call), "{matching:?} {call:?}");
    assert_eq!(matching.span.flags & IS_REMOTE, 0);
    assert_eq!(matching.attribute("fluxlimit.domain").as_deref(), Some("edge"));
    assert_eq!(matching.attribute("fluxlimit.matched").as_deref(), Some("user"));
    assert_eq!(matching.attribute("fluxlimit.descriptors.count").as_deref(), Some("1"));
    assert_eq!(traced.collector.spans().len(), 2, "nothing else is traced: {:?}", traced.collector.spans());
}

#[tokio::test]
async fn a_call_over_its_limit_says_so_and_is_no_error() {
    let traced = Traced::with(&[("TRACES__SAMPLE_RATIO", "1")]).await;
    for _ in 0..3 {
        traced.ask("alice", None).await;
    }
    let calls = traced.collector.wait_for(3, RPC).await;
    let mut codes: Vec<_> = calls.iter().map(|call| call.attribute("fluxlimit.code").unwrap()).collect();
    codes.sort();
    assert_eq!(codes, ["ok", "ok", "over_limit"]);
    assert!(calls.iter().all(|call| call.attribute("error.type").is_none()));
}

#[tokio::test]
async fn only_sampled_traces_are_told_and_of_others_the_share_that_is_set() {
    let not_sampled = sampled().replace("-01", "-00");
    for (ratio, roots) in [("0", 0), ("1", 2)] {
        let traced = Traced::with(&[("TRACES__SAMPLE_RATIO", ratio)]).await;
        traced.ask("a", Some(&not_sampled)).await;
        traced.ask("b", None).await;
        traced.ask("c", Some("of no meaning")).await;
        traced.ask("d", Some(&sampled())).await;
        let Traced { server, collector, .. } = traced;
        assert!(server.stop().await.success());
        let mut spans = collector.spans();
        spans.retain(|told| told.span.name == RPC);
        let parents = spans.iter().filter(|told| hex(&told.span.parent_span_id) == PARENT).count();
        assert_eq!((parents, spans.len() - parents), (1, roots), "{ratio}: {spans:?}");
    }
}

#[tokio::test]
async fn values_are_told_only_if_a_setting_says_so() {
    for (values, descriptors) in [("false", None), ("true", Some("user=alice"))] {
        let traced = Traced::with(&[("TRACES__VALUES", values)]).await;
        traced.ask("alice", Some(&sampled())).await;
        let matching = traced.collector.span("match").await;
        assert_eq!(matching.attribute("fluxlimit.descriptors").as_deref(), descriptors);
        assert_eq!(format!("{:?}", traced.collector.spans()).contains("alice"), values == "true");
    }
}

#[tokio::test]
async fn a_domain_without_rules_is_not_repeated() {
    let traced = Traced::with(&[]).await;
    let mut request = question("alice", Some(&sampled()));
    request.get_mut().domain = "invented".to_owned();
    traced.client().await.should_rate_limit(request).await.unwrap();
    let matching = traced.collector.span("match").await;
    assert_eq!(matching.attribute("fluxlimit.matched").as_deref(), Some("no_such_domain"));
    assert_eq!(matching.attribute("fluxlimit.domain"), None);
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_told_with_its_status() {
    let traced = Traced::with(&[]).await;
    let mut request = question("alice", Some(&sampled()));
    request.get_mut().domain.clear();
    traced.client().await.should_rate_limit(request).await.unwrap_err();
    let call = traced.collector.span(RPC).await;
    assert_eq!(call.attribute("rpc.response.status_code").as_deref(), Some("INVALID_ARGUMENT"));
    assert_eq!(call.attribute("error.type"), None, "it is the caller's mistake");
}

#[tokio::test]
async fn a_question_over_http_has_a_span_of_http() {
    let traced = Traced::with(&[("TRACES__SAMPLE_RATIO", "1")]).await;
    assert_eq!(traced.server.ask("user", "alice").await.status, 200);
    assert_eq!(Client::new(traced.server.http).post("/json", "rubbish").await.unwrap().status, 400);
    let calls = traced.collector.wait_for(2, "POST /json").await;
    let told = |name| calls.iter().map(|call| call.attribute(name).unwrap()).collect::<Vec<_>>();
    assert_eq!(told("http.response.status_code"), ["200", "400"]);
    assert_eq!(told("http.request.method"), ["POST", "POST"]);
    assert_eq!(told("http.route"), ["/json", "/json"]);
    assert!(traced.collector.span("match").await.is_child_of(&calls[0]));
}

/// What `/json` answers over TLS, to a client that trusts `ca` in PEM.
async fn asked_over_tls(address: SocketAddr, ca: &str) -> String {
    let mut config = trusting(ca, None);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::from(address.ip());
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let request = b"POST /json HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_scheme_of_a_question_is_that_of_its_listener() {
    let certificates = Certificates::of(Ipv4Addr::LOCALHOST.into());
    let (cert, key) = certificates.server();
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let secured = [("HTTP_TLS__CERT_FILE", &*cert), ("HTTP_TLS__KEY_FILE", &*key)];
    for (scheme, tls) in [("http", &[][..]), ("https", &secured)] {
        let settings = [&[("TRACES__SAMPLE_RATIO", "1")], tls].concat();
        let traced = Traced::with(&settings).await;
        let http = traced.server.http;
        if tls.is_empty() {
            assert_eq!(Client::new(http).post("/json", "{}").await.unwrap().status, 400);
        } else {
            let ca = std::fs::read_to_string(certificates.ca()).unwrap();
            let answer = asked_over_tls(http, &ca).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        let call = traced.collector.span("POST /json").await;
        assert_eq!(call.attribute("url.scheme").as_deref(), Some(scheme));
    }
}

#[tokio::test]
async fn an_invented_method_makes_no_name_of_a_span() {
    let traced = Traced::with(&[("TRACES__SAMPLE_RATIO", "1")]).await;
    traced.server.page("/metrics").await;
    let mut stream = TcpStream::connect(traced.server.http).await.unwrap();
    let head = b"INVENTED /json HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let call = traced.collector.span("HTTP /json").await;
    assert_eq!(call.attribute("http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(traced.collector.spans().len(), 1, "other pages are not traced");
}

#[tokio::test]
async fn a_log_line_of_a_sampled_request_names_its_trace_and_its_span() {
    for format in ["text", "json"] {
        let settings = [("LOG__FILTER", "debug"), ("LOG__FORMAT", format), ("TRACES__SAMPLE_RATIO", "1")];
        let mut traced = Traced::with(&settings).await;
        Client::new(traced.server.http).post("/json", "rubbish").await.unwrap();
        let call = traced.collector.span("POST /json").await;
        let (trace_id, span_id) = (hex(&call.span.trace_id), hex(&call.span.span_id));
        let find = |log: &str| log.lines().find(|line| line.contains("could not be read")).map(str::to_owned);
        let line = traced.server.process.output_with("a line about the request", find).await;
        assert!(line.contains(&trace_id) && line.contains(&span_id), "{line}");
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let ids = (&line["span"]["trace_id"], &line["span"]["span_id"]);
            assert_eq!(ids, (&trace_id.into(), &span_id.into()));
        }
        let log = traced.server.process.output();
        assert!(
            !log.contains("h2::") && !log.contains("hyper_util::"),
            "exports tell nothing of themselves: {log}"
        );
    }
}
