//! A value of no fixed type: the metadata of a rule, and the dynamic metadata of an answer.

use std::collections::BTreeMap;

/// What `google.protobuf.Value` can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, possibly infinite or not a number.
    Number(f64),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(Map),
}

/// Values by name, sorted.
pub type Map = BTreeMap<String, Value>;

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
