//! A real Envoy in front of the server, driven over HTTP.
//!
//! Limits are per day or per year, so that no time that a test takes can change a count.

mod costs;
mod examples;
mod flood;
mod harness;
mod headers;
mod life;
mod limits;
mod matching;
mod python_apps;
mod rolling;
mod sample;
mod store;

use crate::support::{Envoy, Fluxlimit, RuleDirectory, Site};
use std::path::{Path, PathBuf};

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

fn in_the_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A configuration of the repository that people run by hand, with what does not suit a test replaced: each
/// text, which has to stand there once, by its other.
fn with_replaced(path: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(in_the_repository(path)).expect("it is there");
    for (fixed, free) in replacements {
        assert_eq!(text.matches(fixed).count(), 1, "`{fixed}` in {path}");
        text = text.replace(fixed, free);
    }
    text
}
