//! Every integration test, in one binary: a module per area.

mod buckets;
mod conformance;
mod counting;
mod envoy;
mod golden_loads;
mod golden_scalars;
mod golden_transcripts;
mod headers;
mod keys;
mod layers;
mod matching;
mod memory;
mod model;
mod naive_matching;
mod policy;
mod rule_fixtures;
mod served;
mod settlements;
mod statuses;
mod steps;
mod support;
mod trees;
mod windows;
