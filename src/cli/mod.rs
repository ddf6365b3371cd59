//! The command line.

mod admin;
mod ask;
mod check;
mod completions;
mod entries;
mod explain;
mod inspect;
mod log_level;
mod migrate;
mod numbers;
mod open_files;
mod output;
mod probe;
mod rules;
mod serve;
mod tls;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(
    name = "fluxlimit",
    version,
    about = "A rate-limit server for Envoy",
    long_about = "A rate-limit server for Envoy.\n\nEnvoy, Istio, Envoy Gateway or Contour ask it for each request; \
                  it matches the request's descriptors against rules and answers OK or OVER_LIMIT.",
    after_help = "Start here:
  fluxlimit check config/rules                          are the rules good, and what do they say?
  fluxlimit explain --rules config/rules --domain edge remote_address=10.0.0.1
                                                        which limit applies to a request, and why?
  fluxlimit serve --rules config/rules                  answer Envoy
  fluxlimit ask --domain edge remote_address=10.0.0.1   ask the running server once

Every setting, with its default, is explained in config/fluxlimit.yaml.",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Explain(explain::Explain),
    Ask(ask::Ask),
    LogLevel(log_level::LogLevel),
    Migrate(migrate::Migrate),
    Probe(probe::Probe),
    Completions(completions::Completions),
}

impl Cli {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        match self.command {
            Command::Serve(serve) => serve.run().map(|()| ExitCode::SUCCESS),
            Command::Check(check) => check.run(),
            Command::Explain(explain) => explain.run(),
            Command::Ask(ask) => ask.run(),
            Command::LogLevel(log_level) => log_level.run().map(|()| ExitCode::SUCCESS),
            Command::Migrate(migrate) => migrate.run().map(|()| ExitCode::SUCCESS),
            Command::Probe(probe) => probe.run(),
            Command::Completions(completions) => completions.run(),
        }
    }
}
