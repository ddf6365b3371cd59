//! Every integration test, in one binary.

mod buckets;
mod conformance;
mod keys;
mod matching;
mod memory;
mod model;
mod naive_matching;
mod policy;
mod settlements;
mod steps;
mod trees;
mod windows;
