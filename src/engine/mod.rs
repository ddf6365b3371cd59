//! A whole request, still pure.

mod decision;
mod value;

pub use decision::{Code, Decision, Header, Status, StatusLimit};
pub use value::{Map, Value};
