//! The harness itself, against a rate-limit server that only looks at one entry.

use super::BY_USER;
use crate::support::{Site, eventually};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use serde_json::json;
use std::net::SocketAddr;
use tonic::transport::server::TcpIncoming;

/// Refuses everybody named `mallory`.
#[derive(Debug)]
struct RefusesMallory;

#[tonic::async_trait]
impl RateLimitService for RefusesMallory {
    async fn should_rate_limit(
        &self,
        request: tonic::Request<RateLimitRequest>,
    ) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        let refused = request.get_ref().descriptors.iter().flat_map(|it| &it.entries);
        let refused = refused.into_iter().any(|entry| entry.key == "user" && entry.value == "mallory");
        let code = i32::from(if refused { Code::OverLimit } else { Code::Ok });
        let statuses = vec![DescriptorStatus { code, ..Default::default() }];
        let user = fields([("user", Kind::StringValue("mallory".to_owned()))]);
        let decided_by = refused.then(|| fields([("decided_by", Kind::StructValue(user))]));
        Ok(tonic::Response::new(RateLimitResponse {
            overall_code: code,
            statuses,
            dynamic_metadata: decided_by,
            ..Default::default()
        }))
    }
}

fn fields<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
    let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    Struct { fields: fields.into() }
}

async fn start_server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback exists");
    let address = listener.local_addr().expect("a listener has an address");
    let service = RateLimitServiceServer::new(RefusesMallory);
    let incoming = TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));
    address
}

#[tokio::test]
async fn envoy_asks_the_rate_limit_service_and_answers_429() {
    let site = Site::new("edge", start_server().await).route("/", BY_USER);
    let mut envoy = site.start().await;
    let allowed = envoy.get("/", &[("x-user", b"alice")]).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.body, "from the upstream");
    let refused = envoy.get("/", &[("x-user", b"mallory")]).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-envoy-ratelimited"), Some("true"));
    let log = eventually("both requests in the access log", async || {
        Some(envoy.access_log()).filter(|log| log.len() == 2)
    })
    .await;
    assert_eq!(log[0], json!({ "path": "/", "status": 200, "flags": "-", "decided_by": null }));
    let decided_by = json!({ "user": "mallory" });
    assert_eq!(log[1], json!({ "path": "/", "status": 429, "flags": "RL", "decided_by": decided_by }));
}
