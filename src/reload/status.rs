//! What is in force and where it came from, and what came of the last load: for operators.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::rules::load::Source;
use crate::time::Timestamp;
use crate::yaml::Problem;

/// Most problems of a load that are kept; the log has all.
const MAX_PROBLEMS: usize = 1000;

/// What loading came to so far.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The rules in force; `None` before the first.
    pub in_force: Option<InForce>,
    /// The last load that found something new; `None` before the first.
    pub last: Option<LastLoad>,
}

/// The source of the rules in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// How many rule sets there have been in this process, this one included.
    pub generation: u64,
    /// When they were put in force.
    pub loaded_at: Timestamp,
    /// The SHA-256 of the digests of all files, in hexadecimal: the same where the rules are.
    pub sha256: String,
    /// The files, in their order.
    pub files: Vec<RuleFileFacts>,
}

/// A rule file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFileFacts {
    /// How messages name it.
    pub name: String,
    /// Its size in bytes.
    pub bytes: usize,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLoad {
    /// When the files were read.
    pub at: Timestamp,
    /// Whether their rules are in force now.
    pub is_ok: bool,
    /// What is wrong with them: the first thousand.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub problems_left_out: usize,
}

impl Status {
    /// Files were read, with those problems; without an error among them their rules are put in force.
    pub(super) fn loaded(&mut self, sources: &[Source], problems: &[Problem], now: Timestamp) {
        let is_ok = !problems.iter().any(Problem::is_error);
        self.last = Some(LastLoad {
            at: now,
            is_ok,
            problems: problems.iter().take(MAX_PROBLEMS).cloned().collect(),
            problems_left_out: problems.len().saturating_sub(MAX_PROBLEMS),
        });
        if is_ok {
            let generation = self.in_force.as_ref().map_or(0, |before| before.generation) + 1;
            self.in_force = Some(InForce::of(sources, generation, now));
        }
    }
}

impl InForce {
    fn of(sources: &[Source], generation: u64, loaded_at: Timestamp) -> Self {
        let mut all = Sha256::new();
        let files = sources.iter().map(|source| {
            let digest = Sha256::digest(&source.text);
            all.update(digest);
            RuleFileFacts { name: source.name.clone(), bytes: source.text.len(), sha256: hex(&digest) }
        });
        let files = files.collect();
        Self { generation, loaded_at, sha256: hex(&all.finalize()), files }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Message;

    fn source(text: &str) -> Source {
        Source { name: "a.yaml".to_owned(), text: text.into() }
    }

    #[test]
    fn a_bad_load_leaves_what_is_in_force_and_says_what_is_wrong() {
        let mut status = Status::default();
        status.loaded(&[source("a")], &[], Timestamp::from_ms(1));
        let first = status.in_force.clone().unwrap();
        assert_eq!(
            (first.generation, first.files[0].sha256.as_str()),
            (1, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")
        );
        let problem = Problem::of_file("a.yaml", Message::new("wrong"));
        status.loaded(&[source("b")], &vec![problem; 1001], Timestamp::from_ms(2));
        assert_eq!(status.in_force, Some(first.clone()));
        let last = status.last.clone().unwrap();
        assert_eq!((last.is_ok, last.problems.len(), last.problems_left_out), (false, 1000, 1));
        status.loaded(&[source("a")], &[], Timestamp::from_ms(3));
        let again = status.in_force.unwrap();
        assert_eq!((again.generation, &again.sha256), (2, &first.sha256));
    }
}
