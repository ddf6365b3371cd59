//! The services beside `ShouldRateLimit`: health and reflection, as tonic serves them.

use std::convert::Infallible;
use std::sync::Arc;

use h2::RecvStream;
use hyper::header::{CONTENT_TYPE, HeaderName, TE};
use hyper::{Request, Response};
use tonic::Status;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::frame::Reply;
use super::health;
use super::stream::Incoming;
use crate::health::Health;

/// What reflection shows of the rate-limit service; `proto/README.md` says how it was made.
const DESCRIPTORS: &[u8] = include_bytes!("descriptor.bin");

/// The longest question is a name; anything larger is none.
const MAX_QUESTION_BYTES: usize = 4 * 1024;

/// What tonic reads of a call's headers.
const HEADERS: [HeaderName; 4] = [
    CONTENT_TYPE,
    TE,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

type Service = BoxCloneSyncService<Request<Incoming>, Response<tonic::body::Body>, Infallible>;

/// The services, by the start of their paths.
#[derive(Debug)]
pub(super) struct Others([(&'static str, Service); 3]);

impl Others {
    pub(super) fn new(health: Arc<Health>) -> Self {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let decodes = "the descriptors are part of the program, and a test decodes them";
        let v1 = reflection().build_v1().expect(decodes).max_decoding_message_size(MAX_QUESTION_BYTES);
        let v1alpha =
            reflection().build_v1alpha().expect(decodes).max_decoding_message_size(MAX_QUESTION_BYTES);
        Self([
            ("/grpc.health.v1.Health/", BoxCloneSyncService::new(health::service(health))),
            ("/grpc.reflection.v1.ServerReflection/", BoxCloneSyncService::new(v1)),
            ("/grpc.reflection.v1alpha.ServerReflection/", BoxCloneSyncService::new(v1alpha)),
        ])
    }

    /// The answer of the service that the path names.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Reply>, Status> {
        let path = request.uri().path();
        let Some((_, service)) = self.0.iter().find(|(prefix, _)| path.starts_with(prefix)) else {
            return Err(Status::unimplemented("unknown method"));
        };
        let Ok(response) = service.clone().oneshot(request).await;
        Ok(response.map(Reply::Tonic))
    }
}

/// The call as these services get it. Headers that nobody reads would be held for as long as a watch is open, and a
/// client may send thousands of calls with 16 KiB each.
pub(super) fn request(call: Request<RecvStream>) -> Request<Incoming> {
    let (mut parts, body) = call.into_parts();
    let known = |name: &HeaderName| Some((name.clone(), parts.headers.remove(name)?));
    parts.headers = HEADERS.iter().filter_map(known).collect();
    Request::from_parts(parts, Incoming::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_descriptors_decode() {
        drop(Others::new(Arc::new(Health::new())));
    }
}
