//! The integration tests: one binary, a module per area.

mod golden_loads;
mod golden_scalars;
mod golden_transcripts;
mod rule_fixtures;
