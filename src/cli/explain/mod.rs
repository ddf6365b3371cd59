//! `fluxlimit explain`: which rule a request reaches, or why it reaches none. No server is asked.

mod json;
mod text;
mod why;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::entries::{Asked, shell, written};
use super::output;
use super::rules::Reading;
use crate::request::Entry;
use crate::rules::explain::{Explainer, Explanation, Spot};

/// How the program ends if no limit applies: neither an error nor a hit.
const NO_LIMIT: u8 = 3;

/// Says which limit applies to a request and why, or why none does
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit explain --rules config/rules --domain edge remote_address=10.0.0.1
  fluxlimit explain --rules config/rules --domain edge action=login remote_address=10.0.0.1
  fluxlimit explain --rules config/rules --domain edge action=search + remote_address=10.0.0.1
  fluxlimit explain --rules config/rules --domain llm --hits 1500 tenant=acme

The entries are those of one descriptor, in the order in which Envoy sends them: that of the `actions` of one
item of `rate_limits`. Several items make several descriptors; write ` + ` between them.

Exit status: 0 a limit applies, 3 no limit applies, 1 the rules have errors, 2 wrong arguments.")]
pub(super) struct Explain {
    /// Rule file, or directory of *.yaml and *.yml files; may be given several times
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    reading: Reading,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// An explanation and what it takes to tell it.
struct Told<'a> {
    explain: &'a Explain,
    request: &'a crate::request::Request,
    explainer: &'a Explainer<'a>,
    explanation: &'a Explanation<'a>,
}

impl Explain {
    pub(super) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let request = self.asked.request(false).unwrap_or_else(|error| error.exit());
        let loaded = self.reading.rules(&self.rules)?.load();
        if !loaded.is_ok() {
            output::print_error(&output::problems(&loaded.problems))?;
            return Ok(ExitCode::FAILURE);
        }
        let explainer = Explainer::new(&loaded.files);
        let explanation = explainer.explain(&request);
        let told =
            Told { explain: &self, request: &request, explainer: &explainer, explanation: &explanation };
        output::print(&if self.json { output::json(&told.json()) } else { told.text() })?;
        Ok(if explanation.is_limited() { ExitCode::SUCCESS } else { ExitCode::from(NO_LIMIT) })
    }
}

impl Told<'_> {
    /// The command that explains other descriptors, or another domain, by the same rules.
    fn command(&self, domain: Option<&str>, descriptors: Option<&[Vec<Entry>]>) -> String {
        let mut command = "fluxlimit explain".to_owned();
        for path in &self.explain.rules {
            command = format!("{command} --rules {}", shell(&path.display().to_string()));
        }
        let asked = &self.explain.asked;
        let domain = shell(domain.unwrap_or(&asked.domain));
        command = format!("{command}{} --domain {domain}", self.explain.reading.typed());
        if asked.hits != 1 {
            command = format!("{command} --hits {}", asked.hits);
        }
        if let Some(limit) = asked.limit {
            let units = match limit.unit_multiplier() {
                1 => String::new(),
                units => units.to_string(),
            };
            let unit = limit.unit().name();
            command = format!("{command} --limit {}/{units}{unit}", limit.requests_per_unit());
        }
        let own = || self.request.descriptors.iter().map(|descriptor| descriptor.entries.to_vec()).collect();
        let descriptors = descriptors.map_or_else(own, <[_]>::to_vec);
        format!("{command} {}", written(&descriptors))
    }
}

/// Where a node is written.
fn place(spot: Spot<'_>) -> String {
    let position = spot.node.position;
    format!("{}:{}:{}", spot.file, position.line, position.column)
}

/// What a node matches, as it is written: `key=value` or `key`.
fn node(spot: Spot<'_>) -> String {
    match (spot.node.key.as_str(), spot.node.value.as_str()) {
        (key, "") => key.to_owned(),
        (key, value) => format!("{key}={value}"),
    }
}
