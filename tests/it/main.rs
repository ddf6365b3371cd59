//! The integration tests: the built program, driven from outside.

mod grpc_calls;
mod grpc_front;
mod grpc_hostile;
mod http_front;
