//! What the command is asked.

use clap::Parser;
use fluxlimit_load::child::root;
use std::path::PathBuf;
use std::time::Duration;

/// Asks three servers, over memory, Redis and Postgres, for a long time, changes their rules and kills their stores,
/// and fails if an answer cannot be explained or if something grows.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Cli {
    /// How long.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) minutes: f64,
    /// Half a minute, one outage of each store: whether everything works. Too short to see a sweep or a slow leak.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Calls a second that each server is asked; 300, or 60 with --quick.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// The server's program.
    #[arg(long, default_value_os_t = root().join("target/release/fluxlimit"))]
    pub(crate) fluxlimit: PathBuf,
}

/// When what is done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) length: Duration,
    /// Calls a second that each server is asked.
    pub(crate) rate: f64,
    /// Between two changes of the rules.
    pub(crate) reload_every: Duration,
    /// Between the end of an outage and the next of the same store.
    pub(crate) outage_every: Duration,
    /// How long a store is away at least.
    pub(crate) outage: Duration,
    /// Between two looks at a server.
    pub(crate) sample_every: Duration,
    /// Between two tables.
    pub(crate) table_every: Duration,
    /// Whether keys live shorter than the run, so that their number has to become steady.
    pub(crate) is_long: bool,
    /// After how long a connection is told to go.
    pub(crate) connection_age: Duration,
}

/// A run of so many minutes sees a key come, expire and be swept several times.
const LONG: Duration = Duration::from_mins(10);

impl Plan {
    pub(crate) fn new(cli: &Cli) -> Self {
        let seconds = Duration::from_secs;
        if cli.quick {
            return Self {
                length: seconds(24),
                rate: cli.rate.unwrap_or(60.0),
                reload_every: seconds(2),
                // One for each store; the second would not end in time.
                outage_every: seconds(60),
                outage: seconds(1),
                sample_every: seconds(1),
                table_every: seconds(8),
                is_long: false,
                connection_age: seconds(5),
            };
        }
        let length = Duration::from_secs_f64(cli.minutes.max(1.0) * 60.0);
        Self {
            length,
            rate: cli.rate.unwrap_or(300.0),
            reload_every: seconds(5),
            outage_every: seconds(50),
            outage: seconds(3),
            sample_every: seconds(1),
            table_every: seconds(60),
            is_long: length >= LONG,
            connection_age: seconds(20),
        }
    }

    /// When a store is killed for the first time; the stores take turns.
    pub(crate) fn first_outage(&self, turn: u32) -> Duration {
        if self.is_long { self.outage_every * (turn + 1) / 2 } else { self.length / 6 * (turn + 1) }
    }
}
