//! The integration tests: the built program, driven from outside.

mod envoy;
mod support;
