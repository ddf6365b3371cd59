//! Every integration test, in one binary.

mod buckets;
mod conformance;
mod counting;
mod headers;
mod keys;
mod layers;
mod matching;
mod memory;
mod model;
mod naive_matching;
mod policy;
mod served;
mod settlements;
mod statuses;
mod steps;
mod trees;
mod windows;
