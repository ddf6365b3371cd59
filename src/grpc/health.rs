//! `grpc.health.v1.Health`, answered from the shared [`Health`].

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as Service, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::health::{Health, Readiness};

/// The names that have a health. Envoy asks for "", clients of the reference for "ratelimit".
const NAMES: [&str; 3] = ["", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService"];

/// The longest question is a name; anything larger is none.
const MAX_QUESTION_BYTES: usize = 4 * 1024;

/// The service.
pub(super) fn service(health: Arc<Health>) -> HealthServer<impl Service> {
    HealthServer::new(Answers(health)).max_decoding_message_size(MAX_QUESTION_BYTES)
}

struct Answers(Arc<Health>);

#[tonic::async_trait]
impl Service for Answers {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if NAMES.contains(&request.get_ref().service.as_str()) {
            Ok(Response::new(answer(status(self.0.readiness()))))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The state now and after each change. The stream ends with the `NOT_SERVING` of a server that is
    /// about to stop: an open watch would hold the graceful end of its connection.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let watch = self.0.watch();
        let statuses = stream::unfold((watch, None, false), move |(mut watch, last, ended)| async move {
            if ended {
                return None;
            }
            let (next, ended) = loop {
                let readiness = *watch.borrow_and_update();
                let next = if known { status(readiness) } else { ServingStatus::ServiceUnknown };
                if last != Some(next) || readiness.draining {
                    break (next, readiness.draining);
                }
                watch.changed().await.ok()?;
            };
            Some((Ok(answer(next)), (watch, Some(next), ended)))
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

fn status(readiness: Readiness) -> ServingStatus {
    match readiness.check() {
        Ok(()) => ServingStatus::Serving,
        Err(_) => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn named(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    #[tokio::test]
    async fn every_name_follows_readiness_and_others_are_unknown() {
        let health = Arc::new(Health::new());
        let answers = Answers(health.clone());
        for name in NAMES {
            let status = answers.check(named(name)).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::NotServing);
        }
        health.set_rules_loaded(true);
        health.set_store_answered(true);
        for name in NAMES {
            let status = answers.check(named(name)).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving);
        }
        assert_eq!(answers.check(named("other")).await.unwrap_err().code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn a_watch_shows_changes_and_ends_when_draining() {
        let health = Arc::new(Health::new());
        let watch = Answers(health.clone()).watch(named("")).await.unwrap();
        let mut watch = watch.into_inner().map(|answer| answer.unwrap().status());
        assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
        health.set_rules_loaded(true);
        health.set_store_answered(true);
        assert_eq!(watch.next().await, Some(ServingStatus::Serving));
        health.drain();
        assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test]
    async fn a_watch_of_an_unknown_service_says_so() {
        let health = Arc::new(Health::new());
        let watch = Answers(health.clone()).watch(named("other")).await.unwrap();
        let mut watch = watch.into_inner().map(|answer| answer.unwrap().status());
        assert_eq!(watch.next().await, Some(ServingStatus::ServiceUnknown));
        health.drain();
        assert_eq!(watch.next().await, Some(ServingStatus::ServiceUnknown));
        assert_eq!(watch.next().await, None);
    }
}
