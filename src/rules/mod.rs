//! Which limits apply to which descriptors.

pub mod file;
