//! Which limits apply to which descriptors.
//!
//! [`source`] finds the files, [`load`] turns their texts into [`file::RuleFile`]s or into every
//! problem that they have.

mod check;
mod decode;
pub mod file;
pub mod load;
pub mod pattern;
pub mod source;
