//! `fluxlimit log-level`: which lines the log of a running server has.

use std::error::Error;

use clap::Args;
use serde_json::json;

use super::admin::{Admin, block_on};
use super::output;

/// Shows or changes which lines the log of a running server has
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit log-level                              what is logged now?
  fluxlimit log-level debug
  fluxlimit log-level info,fluxlimit::store=debug
  fluxlimit log-level --reset                      as the settings say again

A restart forgets it. The change itself is always logged.

Exit status: 0 done, 1 the server is not there or refuses, 2 wrong arguments.")]
pub(super) struct LogLevel {
    /// A level (off, error, warn, info, debug, trace), or levels by module
    #[arg(value_name = "FILTER", conflicts_with = "reset")]
    filter: Option<String>,
    /// Goes back to the filter of the settings
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    admin: Admin,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
}

impl LogLevel {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let client = self.admin.client(self.timeout_ms)?;
        let change = (self.reset || self.filter.is_some()).then(|| json!({ "filter": self.filter }));
        let answer = block_on(client.ask("/v1/log-level", change.as_ref()))??;
        let word = |name: &str| output::printable(answer[name].as_str().unwrap_or_default());
        let (filter, configured) = (word("filter"), word("configured"));
        let text = match () {
            () if self.json => output::json(&answer),
            () if filter == configured => format!("{filter}, as the settings say\n"),
            () => format!("{filter}; the settings say {configured}\n"),
        };
        output::print(&text)?;
        Ok(())
    }
}
