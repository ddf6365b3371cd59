//! What is answered for a domain while its store does not answer.

/// What a request gets whose limits the store could not be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnStoreFailure {
    /// An error, so that Envoy's `failure_mode_deny` decides.
    #[default]
    Error,
    /// It passes.
    Allow,
    /// It is refused where a limit applies that can refuse it.
    Deny,
}

impl OnStoreFailure {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Error, Self::Allow, Self::Deny];

    /// Its name in rule files, settings and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}
