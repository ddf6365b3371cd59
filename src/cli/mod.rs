//! The command line.

mod serve;

use std::error::Error;

use clap::{Parser, Subcommand};

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(
    name = "fluxlimit",
    version,
    about = "A rate-limit server for Envoy",
    long_about = "A rate-limit server for Envoy.\n\nEnvoy, Istio, Envoy Gateway or Contour ask it for each request; \
                  it matches the request's descriptors against rules and answers OK or OVER_LIMIT.",
    after_help = "Every setting, with its default, is explained in config/fluxlimit.yaml.",
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
}

impl Cli {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        match self.command {
            Command::Serve(serve) => serve.run(),
        }
    }
}
