//! A whole request, still pure: no clock, no lock, no I/O, nothing that can fail.
//!
//! [`settle`] holds the charges of a request against the states of their keys;
//! [`answer`] makes the decision of what was matched and what came out.

mod answer;
mod decision;
mod headers;
mod judged;
mod key;
mod metadata;
mod path;
mod question;
mod settle;
mod settlement;
mod stable_hash;
mod value;

pub use answer::{AnswerSettings, answer};
pub use decision::{Code, Decision, Header, Status, StatusLimit};
pub use headers::{HeaderNames, HeaderStyle};
pub use key::{Counted, Identity, Key, MAX_IDENTITY};
pub use path::Path;
pub use question::{LimitFacts, Matched, Miss, Question, RuleFacts};
pub use settle::{settle, settle_alone};
pub use settlement::{Charge, Group, Outcome, Settlement, Write};
pub use stable_hash::{StableHash, stable_hash};
pub use value::{Map, Value};
