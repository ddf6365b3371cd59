//! The `fluxlimit` program.

fn main() {}
