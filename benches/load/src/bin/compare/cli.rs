//! What the command is asked.

use crate::row::{Group, ROWS, Row};
use clap::Parser;
use fluxlimit_load::child::root;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Measures fluxlimit beside a server that decides nothing, and beside others.
///
/// Each row of the tables in docs/performance.md is measured on its own and kept, so that a run that was
/// interrupted goes on where it was. When all rows of a table are there, the table is written.
#[derive(Debug, Clone, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Cli {
    /// Rows, or tables of rows; all of them unless said. `--list` names them.
    pub(crate) rows: Vec<String>,
    /// Say which rows there are, and end.
    #[arg(long)]
    pub(crate) list: bool,
    /// A moment for each row and few keys: whether everything works, not how fast it is. Prints the tables.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the tables and the plot instead of writing them to docs/.
    #[arg(long)]
    pub(crate) print: bool,
    /// Measure rows again that this build has already been measured in.
    #[arg(long)]
    pub(crate) again: bool,
    /// Another server to measure: NAME=ADDRESS, or NAME=ADDRESS=PID to tell its core time too. It has to run with
    /// the rules that the command names, pinned like ours.
    #[arg(long = "server", value_name = "NAME=ADDRESS[=PID]")]
    pub(crate) servers: Vec<Foreign>,
    /// How often each server is measured, in turn.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// The core of the servers; the first that this process may use unless said.
    #[arg(long)]
    pub(crate) server_core: Option<usize>,
    /// The core of the generator and of stores; the second unless said.
    #[arg(long)]
    pub(crate) load_core: Option<usize>,
    /// The server's program.
    #[arg(long, default_value_os_t = root().join("target/release/fluxlimit"))]
    pub(crate) fluxlimit: PathBuf,
    /// The yardstick's program.
    #[arg(long, default_value_os_t = root().join("benches/load/target/release/yardstick"))]
    pub(crate) yardstick: PathBuf,
    /// Envoy's program, as .ci/setup installs it.
    #[arg(long, default_value_os_t = root().join(".tools/envoy/envoy"))]
    pub(crate) envoy: PathBuf,
    /// Where performance.md and img/ are.
    #[arg(long, default_value_os_t = root().join("docs"))]
    pub(crate) docs: PathBuf,
    /// Where results and rule files are kept.
    #[arg(long, default_value_os_t = root().join("benches/load/target/results"))]
    pub(crate) results: PathBuf,
}

impl Cli {
    /// The rows that were asked for, in the order of the tables.
    pub(crate) fn chosen(&self) -> Result<Vec<&'static Row>, String> {
        for name in &self.rows {
            if !ROWS.iter().any(|row| row.is_called(name)) {
                let groups: Vec<_> = Group::ALL.iter().map(|group| group.name()).collect();
                return Err(format!(
                    "there is no row `{name}`; expected one of --list, or a table: {}",
                    groups.join(", ")
                ));
            }
        }
        let is_chosen = |row: &&Row| self.rows.is_empty() || self.rows.iter().any(|name| row.is_called(name));
        Ok(ROWS.iter().filter(is_chosen).collect())
    }
}

/// A server that somebody else has started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foreign {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) pid: Option<u32>,
}

impl FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('=');
        let (Some(name), Some(address)) = (parts.next().filter(|name| !name.is_empty()), parts.next()) else {
            return Err("expected NAME=ADDRESS, such as reference=127.0.0.1:8081".to_owned());
        };
        let address = address.parse().map_err(|_| format!("`{address}` is not ADDRESS:PORT"))?;
        let number = |pid: &str| pid.parse().map_err(|_| format!("`{pid}` is not the number of a process"));
        let pid = parts.next().map(number).transpose()?;
        if parts.next().is_some() {
            return Err("expected NAME=ADDRESS or NAME=ADDRESS=PID".to_owned());
        }
        Ok(Self { name: name.to_owned(), address, pid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_has_a_name_an_address_and_perhaps_a_process() {
        let server: Foreign = "go=127.0.0.1:8081=42".parse().expect("it is one");
        assert_eq!((server.name.as_str(), server.address.port(), server.pid), ("go", 8081, Some(42)));
        assert_eq!("go=127.0.0.1:8081".parse::<Foreign>().expect("it is one").pid, None);
        for wrong in ["go", "=127.0.0.1:1", "go=here", "go=127.0.0.1:1=x", "go=127.0.0.1:1=2=3"] {
            assert!(wrong.parse::<Foreign>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_are_chosen_by_name_and_by_table() {
        let chosen = |rows: &[&str]| {
            let arguments = ["compare"].iter().chain(rows);
            let rows = Cli::parse_from(arguments).chosen()?;
            Ok::<_, String>(rows.iter().map(|row| row.name).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&["redis-10k", "memory-1"]), Ok(vec!["memory-1", "redis-10k"]));
        assert!(chosen(&["redis"]).is_ok_and(|rows| rows.len() > 2 && rows.contains(&"redis-1")));
        assert!(chosen(&[]).is_ok_and(|rows| rows.len() == ROWS.len()));
        assert!(chosen(&["redis", "redsi"]).is_err_and(|error| error.contains("`redsi`")));
    }
}
