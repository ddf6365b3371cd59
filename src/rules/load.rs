//! Texts of rule files → the rules of every domain, or every mistake in them.

use std::collections::HashMap;

use crate::yaml::{Problem, Problems, Severity};

use super::check::check;
use super::decode::decode;
pub use super::file::Defaults;
use super::file::RuleFile;

/// One rule file before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How messages name it.
    pub name: String,
    /// Its content.
    pub text: Vec<u8>,
}

/// What the settings say about loading rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Whether several files may hold rules of the same domain.
    pub merge_domains: bool,
    /// Whether warnings are errors.
    pub strict: bool,
    /// What limits are that neither say it themselves nor get it from their file.
    pub defaults: Defaults,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The files in the order of their sources. Of use only if there is no error.
    pub files: Vec<RuleFile>,
    /// Everything that is wrong, file by file, in the order of the places.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// Whether the rules can be used; there may be warnings.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.problems.iter().any(Problem::is_error)
    }
}

/// Reads all files, and says everything that is wrong with any of them.
#[must_use]
pub fn load(sources: &[Source], options: &LoadOptions) -> Loaded {
    let mut decoded: Vec<_> =
        sources.iter().map(|source| decode(&source.name, &source.text, options.defaults)).collect();
    let mut problems: Vec<Problem> = decoded.iter_mut().flat_map(|file| file.problems.drain(..)).collect();
    problems.extend(bounded(check(&decoded, options.merge_domains)));

    let order: HashMap<&str, usize> =
        sources.iter().enumerate().map(|(index, source)| (source.name.as_str(), index)).collect();
    problems.sort_by_key(|problem| {
        // What is about a file as a whole, such as the count of problems left out, stands after the rest.
        let is_whole = problem.position.is_none();
        (order.get(&*problem.file).copied(), is_whole, problem.position)
    });
    if options.strict {
        for problem in &mut problems {
            problem.severity = Severity::Error;
        }
    }
    Loaded { files: decoded.into_iter().filter_map(|file| file.file).collect(), problems }
}

/// The first problems of each severity; more of the same kind help nobody.
fn bounded(problems: Vec<Problem>) -> impl Iterator<Item = Problem> {
    let mut counts = [0; 2];
    problems.into_iter().filter(move |problem| {
        let count = &mut counts[problem.severity as usize];
        *count += 1;
        *count <= Problems::MAX
    })
}
