//! `fluxlimit completions`: what a shell needs to complete our arguments.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

/// Prints the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit completions bash > ~/.local/share/bash-completion/completions/fluxlimit
  fluxlimit completions zsh > ~/.zfunc/_fluxlimit
  fluxlimit completions fish > ~/.config/fish/completions/fluxlimit.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "fluxlimit", &mut text);
        output::print(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}
