//! Who has to hear how exchanges with a store end, where that is not what a test is about.

use fluxlimit::store::{Observer, RoundTrip};

/// Hears nothing.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Observer for Nobody {
    fn ended(&self, _: &RoundTrip<'_>) {}
}
