//! The integration tests: one binary, a module per area.

mod golden_loads;
mod golden_scalars;
mod rule_fixtures;
