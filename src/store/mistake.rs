//! What is wrong with the settings of a store.

use crate::yaml::Message;

/// Settings that do not go together, or that name what cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting that it is about.
    pub setting: &'static str,
    /// What is wrong.
    pub message: Message,
}
