//! The rules that servers run with, and how they change.

use fluxlimit_load::child::Failure;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What a domain says about its requests while the store is away; one domain for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Error,
    Allow,
    Deny,
}

impl Policy {
    pub(crate) const ALL: [Self; 3] = [Self::Error, Self::Allow, Self::Deny];

    /// As rule files have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    pub(crate) fn domain(self) -> String {
        format!("soak-{}", self.name())
    }
}

/// Limits that are in every version. A hit of each `fresh` key is over after a second or two.
const STEADY: [(&str, &str); 9] = [
    ("known", "{ algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }"),
    ("fresh-token", "{ algorithm: token_bucket, unit: second, requests_per_unit: 5 }"),
    ("fresh-leaky", "{ algorithm: leaky_bucket, unit: second, requests_per_unit: 5 }"),
    ("fresh-fixed", "{ algorithm: fixed_window, unit: second, unit_multiplier: 2, requests_per_unit: 5 }"),
    (
        "fresh-sliding",
        "{ algorithm: sliding_window, unit: second, unit_multiplier: 2, requests_per_unit: 5 }",
    ),
    ("limited", "{ unit: second, requests_per_unit: 1 }"),
    ("shared", "{ algorithm: sliding_window, unit: minute, requests_per_unit: 4000000000 }"),
    ("refused", "{ algorithm: sliding_window, unit: second, requests_per_unit: 0 }"),
    ("costly", "{ algorithm: token_bucket, unit: hour, requests_per_unit: 10 }"),
];

/// How long a counter matters at most, in seconds, of those whose keys are endless.
pub(crate) const FRESH_S: f64 = 2.0;

/// Rules that every second version has in addition.
const MORE: usize = 300;

/// One version of a domain. The limit of `changing` lets everything pass in the even ones, and nothing in the odd.
fn text(policy: Policy, version: usize) -> String {
    let mut text =
        format!("domain: {}\non_store_failure: {}\ndescriptors:\n", policy.domain(), policy.name());
    let mut put = |tenant: &str, limit: &str| {
        let _ = writeln!(text, "- key: tenant\n  value: {tenant}\n  descriptors:");
        let _ = writeln!(text, "  - key: user\n    rate_limit: {limit}");
        if tenant == "fresh-token" {
            let _ = writeln!(text, "    detailed_metric: {}", policy == Policy::Error);
        }
    };
    for (tenant, limit) in STEADY {
        put(tenant, limit);
    }
    let unlike = if version.is_multiple_of(2) {
        "{ algorithm: token_bucket, unit: hour, requests_per_unit: 500000000 }"
    } else {
        "{ algorithm: sliding_window, unit: minute, requests_per_unit: 0 }"
    };
    put("changing", unlike);
    for number in 0..(version % 2) * MORE {
        put(&format!("more-{number}"), "{ algorithm: leaky_bucket, unit: minute, requests_per_unit: 60 }");
    }
    // No two versions are the same.
    put("version", &format!("{{ unit: hour, requests_per_unit: {} }}", version + 1));
    text
}

/// The rule files of all servers, changed as Kubernetes changes those of a `ConfigMap`: all at once, by a symbolic
/// link.
#[derive(Debug)]
pub(crate) struct Rules {
    directory: PathBuf,
    /// The version in force, and how many were written.
    version: usize,
    written: usize,
}

impl Rules {
    pub(crate) fn write(directory: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&directory)?;
        let mut rules = Self { directory, version: 0, written: 0 };
        rules.put(false)?;
        for policy in Policy::ALL {
            let file = file_name(policy);
            symlink(Path::new("..data").join(&file), rules.directory.join(file))?;
        }
        Ok(rules)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts the next version in force.
    pub(crate) fn change(&mut self) -> Result<(), Failure> {
        self.version += 1;
        self.put(false)
    }

    /// The version in force once more, with a mistake in one of its files: nothing of it may change anything.
    pub(crate) fn spoil(&mut self) -> Result<(), Failure> {
        self.put(true)
    }

    fn put(&mut self, is_bad: bool) -> Result<(), Failure> {
        let name = |number: usize| format!("..{number}");
        let own = self.directory.join(name(self.written));
        fs::create_dir(&own)?;
        for policy in Policy::ALL {
            let mut text = text(policy, self.version);
            if is_bad && policy == Policy::Allow {
                text = text.replacen("unit: hour", "unit: huor", 1);
            }
            fs::write(own.join(file_name(policy)), text)?;
        }
        let link = self.directory.join("..next");
        symlink(name(self.written), &link)?;
        fs::rename(link, self.directory.join("..data"))?;
        // Somebody may still read the one before.
        if let Some(old) = self.written.checked_sub(2) {
            fs::remove_dir_all(self.directory.join(name(old)))?;
        }
        self.written += 1;
        Ok(())
    }
}

fn file_name(policy: Policy) -> String {
    format!("{}.yaml", policy.domain())
}

#[test]
fn versions_differ_and_a_spoilt_one_only_by_its_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rules = Rules::write(directory.path().join("rules")).expect("they are written");
    let read = |rules: &Rules, policy| {
        fs::read_to_string(rules.directory().join(file_name(policy))).expect("it is there")
    };
    let first = Policy::ALL.map(|policy| read(&rules, policy));
    rules.spoil().expect("they are written");
    assert_eq!(read(&rules, Policy::Deny), first[2]);
    assert_eq!(read(&rules, Policy::Allow).replace("huor", "hour"), first[1]);
    rules.change().expect("they are written");
    let second = Policy::ALL.map(|policy| read(&rules, policy));
    rules.change().expect("they are written");
    let third = read(&rules, Policy::Error);
    assert!(first[0] != second[0] && second[0] != third && first[0] != third);
    assert!(second.iter().all(|text| text.contains("more-7") && !text.contains("huor")));
}
