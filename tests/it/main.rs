//! The integration tests: one binary, a module per area.

mod golden_http;
mod golden_loads;
mod golden_scalars;
mod golden_transcripts;
mod grpc_calls;
mod grpc_front;
mod grpc_hostile;
mod http_front;
mod rule_fixtures;
