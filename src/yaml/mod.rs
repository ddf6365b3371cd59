//! YAML text → a tree with positions → collected, located errors.
//!
//! Rule files and settings are both read this way, so both report every mistake of a file at once.
//!
//! [`parse`] reads a text into [`Node`]s, with the scalar readings of YAML 1.1 as Go's yaml.v2 has them
//! ([`Reading`]). [`decode`] then hands the [`Fields`] of the root map to a function that asks for
//! them by name. Every mistake is recorded with its place and decoding goes on; what was never
//! asked for is an unknown key.
//!
//! ```
//! use fluxlimit::yaml::{self, Message};
//!
//! struct Settings { drain_delay_ms: u64, headers: &'static str, rules: Vec<String>, max_keys: u64 }
//!
//! let text = b"drain_delay_ms: soon\nresponse_headers: both\nmemory: {max_kyes: 5}\nrules: [a.yaml]\n";
//! let decoded = yaml::decode("fluxlimit.yaml", text, |fields| Settings {
//!     drain_delay_ms: fields.u64("drain_delay_ms").unwrap_or(5000),
//!     headers: fields.choice("response_headers", &[("off", "none"), ("both", "all")]).unwrap_or("none"),
//!     rules: fields.list("rules", |item| item.text()).unwrap_or_default(),
//!     max_keys: fields.map("memory", |fields| fields.u64_in("max_keys", 1..=1 << 32)).flatten().unwrap_or(1000),
//! });
//! let lines: Vec<String> = decoded.problems.iter().map(ToString::to_string).collect();
//! assert_eq!(lines, [
//!     "fluxlimit.yaml:1:17: drain_delay_ms: wrong type: found the text `soon`; \
//!      expected a whole number of at least 0",
//!     "fluxlimit.yaml:3:10: memory.max_kyes: unknown key `max_kyes`; expected `max_keys`\n  \
//!      hint: did you mean `max_keys`?",
//! ]);
//! // Own checks are reported at the place of a value, and do not end the decoding either.
//! let decoded = yaml::decode("fluxlimit.yaml", b"near_limit_ratio: 7", |fields| {
//!     fields.field("near_limit_ratio", |value| {
//!         let ratio = value.f64()?;
//!         if ratio <= 1.0 { return Some(ratio) }
//!         value.error(Message::new("the ratio is too large").expected("at most 1"));
//!         None
//!     })
//! });
//! assert_eq!(decoded.problems.len(), 1);
//! ```

mod binary;
mod decode;
mod map;
mod parse;
mod problem;
mod scalar;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub use decode::{Decoded, Decoder, Fields, decode};
pub use parse::{MAX_DEPTH, parse};
pub use problem::{Message, Problem, Problems, Severity, either, quoted};
pub use scalar::Reading;
pub use suggest::nearest;
pub use tree::{Entry, Kind, Node, Replaced, Scalar, Tag, Why};
pub use value::Value;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}
