//! The rule files that servers run with.

use fluxlimit_load::child::Failure;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The tenants: `acme` has a limit that nothing reaches, `busy` one that nearly everything is beyond, `double` two
/// of the first kind, `lasting` one whose counters stay (a hit of `acme` is refilled in microseconds, and the sweeper
/// then removes the key), `sliding` a sliding window of five minutes, so that slots outlast their row; any other tenant is like `acme`.
const OURS: &str = "\
domain: bench
descriptors:
- key: tenant
  value: acme
  descriptors:
  - key: user
    rate_limit: { algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }
    descriptors:
    - key: entry-3
      rate_limit: { algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }
      descriptors:
      - key: entry-4
        rate_limit: { algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }
- key: tenant
  value: busy
  descriptors:
  - key: user
    rate_limit: { algorithm: token_bucket, unit: second, requests_per_unit: 100 }
- key: tenant
  value: double
  descriptors:
  - key: user
    rate_limit:
    - { algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }
    - { algorithm: token_bucket, unit: second, requests_per_unit: 500000000 }
- key: tenant
  value: lasting
  descriptors:
  - key: user
    rate_limit: { algorithm: token_bucket, unit: year, requests_per_unit: 1000, burst: 1000000 }
- key: tenant
  value: sliding
  descriptors:
  - key: user
    rate_limit: { algorithm: sliding_window, unit: minute, unit_multiplier: 5, requests_per_unit: 1000000 }
- key: tenant
  descriptors:
  - key: user
    rate_limit: { algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }
";

/// The same as far as envoyproxy/ratelimit can say it, for servers that read its format.
const PLAIN: &str = "\
domain: bench
descriptors:
- key: tenant
  value: busy
  descriptors:
  - key: user
    rate_limit: { unit: second, requests_per_unit: 100 }
- key: tenant
  descriptors:
  - key: user
    rate_limit: { unit: hour, requests_per_unit: 500000000 }
";

/// What a key says in `OURS`, for the user that has a counter: the domain and the entries.
pub(crate) fn key_text_bytes(tenant: &str) -> usize {
    ["bench", "tenant", tenant, "user", "u00000000"].iter().map(|text| text.len()).sum()
}

/// Writes our rules below a directory and says where.
pub(crate) fn write_ours(directory: &Path) -> Result<PathBuf, Failure> {
    write(directory, "bench.yaml", OURS)
}

/// Writes the rules for other servers below a directory and says where.
pub(crate) fn write_plain(directory: &Path) -> Result<PathBuf, Failure> {
    write(directory, "bench-plain.yaml", PLAIN)
}

/// Writes a domain of so many rules below a directory: one for the tenant that is asked about, the others of
/// tenants that never come.
pub(crate) fn write_many(directory: &Path, count: usize) -> Result<PathBuf, Failure> {
    write(directory, &format!("bench-{count}.yaml"), &many(count))
}

fn many(count: usize) -> String {
    let mut text = "domain: bench\ndescriptors:\n".to_owned();
    let tenants = (1..count).map(|number| format!("tenant-{number}"));
    for tenant in std::iter::once("acme".to_owned()).chain(tenants) {
        let _ = writeln!(
            text,
            "- key: tenant\n  value: {tenant}\n  descriptors:\n  - key: user\n    \
             rate_limit: {{ algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }}"
        );
    }
    text
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

#[test]
fn a_domain_has_as_many_rules_as_it_was_to_have() {
    assert_eq!(many(1).matches("rate_limit").count(), 1);
    assert_eq!(many(1000).matches("rate_limit").count(), 1000);
}
