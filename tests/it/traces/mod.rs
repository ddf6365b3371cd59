//! What a real server tells a collector, over both protocols and whatever the collector does.

mod exports;
mod spans;
mod stores;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::transport::Channel;

use crate::support::{Collector, Fluxlimit, RuleDirectory};

const RPC: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Two hits a year for each user, so that no time that a test takes can change a count.
const RULES: &str =
    "domain: edge\ndescriptors:\n- key: user\n  rate_limit: { unit: year, requests_per_unit: 2 }\n";

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A server that traces, and the collector that it tells.
#[derive(Debug)]
struct Traced {
    server: Fluxlimit,
    collector: Collector,
    _rules: RuleDirectory,
}

impl Traced {
    /// With settings, named as in the environment but without the prefix.
    async fn with(settings: &[(&str, &str)]) -> Self {
        let collector = Collector::start().await;
        let url = collector.grpc_url();
        Self::telling(collector, &[&[("OTLP__ENDPOINT", url.as_str())], settings].concat()).await
    }

    /// The same, with settings that say where `collector` is.
    async fn telling(collector: Collector, settings: &[(&str, &str)]) -> Self {
        let rules = RuleDirectory::with(RULES);
        let mut setup = Fluxlimit::with_rules_at(rules.path());
        let own = [("TRACES__OTLP", "true"), ("DRAIN_DELAY_MS", "0")];
        for (name, value) in own.iter().chain(settings) {
            setup = setup.setting(name, value);
        }
        Self { server: setup.start().await, collector, _rules: rules }
    }

    async fn client(&self) -> RateLimitServiceClient<Channel> {
        let connected = RateLimitServiceClient::connect(format!("http://{}", self.server.grpc)).await;
        connected.expect("it listens")
    }

    /// Asks for a hit of `user` with this `traceparent`, if any.
    async fn ask(&self, user: &str, traceparent: Option<&str>) -> RateLimitResponse {
        let asked = self.client().await.should_rate_limit(question(user, traceparent)).await;
        asked.expect("an answer").into_inner()
    }
}

fn question(user: &str, traceparent: Option<&str>) -> tonic::Request<RateLimitRequest> {
    let entry = Entry { key: "user".to_owned(), value: user.to_owned() };
    let descriptor = RateLimitDescriptor { entries: vec![entry], ..Default::default() };
    let request =
        RateLimitRequest { domain: "edge".to_owned(), descriptors: vec![descriptor], hits_addend: 1 };
    let mut request = tonic::Request::new(request);
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent.parse().expect("ASCII"));
    }
    request
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}
