//! The bytes of `ShouldRateLimit`: a message read straight into a [`Request`](crate::request::Request), a
//! [`Decision`](crate::engine::Decision) written straight into an answer.
//!
//! The messages of [`message`](super::message) say the same with types of their own; going through them costs
//! as much as matching. Tests hold the two to each other, and to the crate `envoy-types`.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>. Field numbers are those of Envoy's API.

mod answer;
mod fields;
mod request;

pub use answer::framed;
pub use fields::MalformedMessage;
pub use request::{UnreadableRequest, request};

/// What an integer of protobuf is followed by, in the low three bits of a field's key.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const GROUP: u64 = 3;
const GROUP_END: u64 = 4;
const FIXED32: u64 = 5;
