//! `fluxlimit check`: whether rule files are good, what they say, and what a change of them does.

mod changes;
mod listing;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value as Json, json};

use super::output::{self, bad, counted, doubtful, good};
use super::rules::{Reading, Rules};
use crate::rules::compare::{Change, compare};
use crate::rules::load::Loaded;
use crate::yaml::Problem;

/// Checks rule files, and prints what they define
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit check config/rules
  fluxlimit check --strict edge.yaml tenants/
  fluxlimit check config/rules --against /etc/fluxlimit/rules   what would a reload do?
  fluxlimit check --json config/rules | jq '.problems[]'

Errors and warnings go to standard error, one by one, as FILE:LINE:COLUMN: WHERE: WHAT. All of them are
told at once. A file that is good for the reference server is good here and means the same.

Exit status: 0 good (there may be warnings), 1 there are errors, 2 wrong arguments.")]
pub(super) struct Check {
    /// Rule files, and directories of *.yaml and *.yml files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Warnings are errors
    #[arg(long)]
    strict: bool,
    /// Rules that are in force now: says what the change does to each
    #[arg(long, value_name = "OLD_PATH", num_args = 1..)]
    against: Vec<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let mut rules = self.reading.rules(&self.paths)?;
        rules.options.strict |= self.strict;
        let new = rules.load();
        let old = (!self.against.is_empty()).then(|| {
            let mut options = rules.options;
            // What is in force is in force, with warnings or without.
            options.strict = false;
            Rules { paths: self.against.clone(), options }.load()
        });
        let is_ok = new.is_ok() && old.as_ref().is_none_or(Loaded::is_ok);
        let changes = old.as_ref().filter(|_| is_ok).map(|old| compare(&old.files, &new.files));
        let old_errors: Vec<Problem> =
            old.iter().flat_map(|old| &old.problems).filter(|problem| problem.is_error()).cloned().collect();
        if self.json {
            output::print(&output::json(&json(&new, &old_errors, changes.as_deref())))?;
        } else {
            output::print_error(&output::problems(&old_errors))?;
            output::print_error(&output::problems(&new.problems))?;
            output::print(&text(&new, changes.as_deref()))?;
        }
        Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(new: &Loaded, changes: Option<&[Change<'_>]>) -> String {
    let mut text = if new.is_ok() { listing::text(&new.files) } else { String::new() };
    if let Some(changes) = changes {
        text += &changes::text(changes);
    }
    text + &summary(new)
}

/// One line that says how it went.
fn summary(new: &Loaded) -> String {
    let errors = new.problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = new.problems.len() - errors;
    let found = match (errors, warnings) {
        (0, 0) => good("no problems").to_string(),
        (0, warnings) => doubtful(counted(warnings, "warning")).to_string(),
        (errors, 0) => bad(counted(errors, "error")).to_string(),
        (errors, warnings) => {
            format!("{} and {}", bad(counted(errors, "error")), doubtful(counted(warnings, "warning")))
        }
    };
    if !new.is_ok() {
        return format!("{found}: these rules cannot be loaded\n");
    }
    let totals = listing::Totals::of(&new.files);
    format!(
        "{}, {}, {}, {}: {found}\n",
        counted(new.files.len(), "file"),
        counted(totals.domains, "domain"),
        counted(totals.rules, "rule"),
        counted(totals.limits, "limit"),
    )
}

fn json(new: &Loaded, old_errors: &[Problem], changes: Option<&[Change<'_>]>) -> Json {
    json!({
        "ok": new.is_ok() && old_errors.is_empty(),
        "problems": new.problems.iter().map(problem).collect::<Vec<_>>(),
        "problems_of_old": old_errors.iter().map(problem).collect::<Vec<_>>(),
        "domains": if new.is_ok() { listing::json(&new.files) } else { json!([]) },
        "changes": changes.map(|changes| changes.iter().map(changes::json).collect::<Vec<_>>()),
    })
}

fn problem(problem: &Problem) -> Json {
    json!({
        "severity": problem.severity.name(),
        "file": &*problem.file,
        "line": problem.position.map(|position| position.line),
        "column": problem.position.map(|position| position.column),
        "path": problem.path,
        "statement": problem.message.statement,
        "found": problem.message.found,
        "expected": problem.message.expected,
        "hint": problem.message.hint,
    })
}
