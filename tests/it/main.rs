//! Every integration test, in one binary.

mod buckets;
mod conformance;
mod keys;
mod memory;
mod model;
mod settlements;
mod steps;
mod windows;
