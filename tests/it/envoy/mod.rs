//! A real Envoy in front of the server, driven over HTTP.
//!
//! Limits are per day or per year, so that no time that a test takes can change a count.

mod costs;
mod flood;
mod harness;
mod headers;
mod life;
mod limits;
mod sample;

use crate::support::{Envoy, Fluxlimit, RuleDirectory, Site};

/// Counts every request under its `x-user` header.
const BY_USER: &str = "[{ actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }] }]";

/// A rule file with one rule: this `rate_limit`, in YAML, for every user.
fn per_user(rate_limit: &str) -> String {
    format!("domain: edge\ndescriptors:\n- key: user\n  rate_limit: {rate_limit}\n")
}

/// Everything that one test runs; the order of the fields is the order in which it ends.
#[derive(Debug)]
struct Stack {
    envoy: Envoy,
    _server: Fluxlimit,
    _rules: RuleDirectory,
}

impl Stack {
    /// A server with these rules behind an Envoy that counts by user, with these options of the filter.
    async fn by_user(rules: &str, filter: &str) -> Self {
        Self::start(rules, |site| site.route("/", BY_USER).filter(filter)).await
    }

    /// A server with these rules behind an Envoy that serves what `site` makes of an empty one.
    async fn start(rules: &str, site: impl FnOnce(Site) -> Site) -> Self {
        let rules = RuleDirectory::with(rules);
        let setup = Fluxlimit::with_rules_at(rules.path());
        let server = setup.setting("DYNAMIC_METADATA", "true").start().await;
        let envoy = site(Site::new("edge", server.grpc)).start().await;
        Self { envoy, _server: server, _rules: rules }
    }
}
