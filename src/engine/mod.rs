//! A whole request, still pure.

mod value;

pub use value::{Map, Value};
