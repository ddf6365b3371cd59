//! Every integration test, in one binary.

mod buckets;
mod keys;
mod steps;
mod windows;
