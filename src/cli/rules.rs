//! The rules that a command looks at, read as `serve` reads them.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Flags};
use crate::rules::load::{LoadOptions, Loaded, load};
use crate::rules::source::read_paths;
use crate::yaml::{Problem, Severity};

/// How rules are read.
#[derive(Debug, Clone, Args)]
pub(super) struct Reading {
    /// Settings file of the server, for its `merge_domains`, `strict_rules` and `defaults`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Several files may hold rules of the same domain
    #[arg(long)]
    merge_domains: bool,
}

/// Where rules are, and how they are read.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) paths: Vec<PathBuf>,
    pub(super) options: LoadOptions,
}

impl Reading {
    /// The rules at `paths`, or those of the settings if there are none.
    ///
    /// The settings come from the same places as those of the server, so that both read the same rules.
    pub(super) fn rules(&self, paths: &[PathBuf]) -> Result<Rules, Box<dyn Error>> {
        let flags = Flags { config: self.config.clone(), rules: paths.to_vec(), ..Flags::default() };
        let settings = Config::load(&flags)?.reload;
        let mut options = settings.options;
        options.merge_domains |= self.merge_domains;
        Ok(Rules { paths: settings.paths, options })
    }

    /// The flags of this, as they are typed.
    pub(super) fn typed(&self) -> String {
        let config = self.config.as_ref().map(|path| format!(" --config {}", path.display()));
        let merge = if self.merge_domains { " --merge-domains" } else { "" };
        format!("{}{merge}", config.unwrap_or_default())
    }
}

impl Rules {
    /// Reads the files, with everything that is wrong with any of them.
    pub(super) fn load(&self) -> Loaded {
        let mut found = read_paths(&self.paths);
        if self.options.strict {
            found.problems.iter_mut().for_each(|problem| problem.severity = Severity::Error);
        }
        let loaded = load(&found.sources, &self.options);
        let problems: Vec<Problem> = found.problems.into_iter().chain(loaded.problems).collect();
        Loaded { files: loaded.files, problems }
    }
}
