//! What can be set about the Postgres store.

use super::server::Server;
use crate::store::Mistake;

/// Connections that apply batches. With one, batches are twice as large as with two, and every batch costs the
/// database about the same; docs/performance.md has the figures.
pub const DEFAULT_CONNECTIONS: usize = 1;

/// How long an attempt to connect may take, in milliseconds.
pub const DEFAULT_CONNECT_TIMEOUT_MS: u64 = 2_000;

/// Settings of the Postgres store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where Postgres is, and as whom.
    pub server: Server,
    /// Connections that apply batches, at least 1; one more sweeps and answers pings.
    pub connections: usize,
    /// How long an attempt to connect to one address may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a batch may take, in milliseconds.
    pub timeout_ms: u64,
    /// The most settlements that wait to be sent.
    pub max_waiting: usize,
    /// The most settlements in one transaction, at least 1.
    pub max_batch: usize,
    /// The schema of the table.
    pub schema: String,
    /// The name of the table.
    pub table: String,
    /// Who brings the table up to date.
    pub migrations: Migrations,
    /// What a crash of the database may lose.
    pub durability: Durability,
    /// In what time the whole table is looked at once for rows that have expired, in milliseconds.
    pub sweep_ms: u64,
}

/// Who brings the table up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrations {
    /// The program, when it first connects.
    Auto,
    /// Somebody else; the program refuses to work with a table of another version.
    Check,
    /// Somebody else, and the program does not look.
    Off,
}

/// What a crash of the database may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was answered: each commit waits for the disk.
    On,
    /// The last moments: commits do not wait (`synchronous_commit = off`).
    Off,
    /// Everything: the table is not logged, and empty after a crash.
    Unlogged,
}

impl Migrations {
    /// Every value with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("check", Self::Check), ("off", Self::Off)];
}

impl Durability {
    /// Every value with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("on", Self::On), ("off", Self::Off), ("unlogged", Self::Unlogged)];
}

impl Settings {
    /// The defaults, for the server at a connection string.
    ///
    /// # Errors
    /// Everything that is wrong with the string.
    pub fn of(connection: &str) -> Result<Self, Vec<Mistake>> {
        Ok(Self { server: Server::parse(connection)?, ..Self::default() })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: Server::default(),
            connections: DEFAULT_CONNECTIONS,
            connect_timeout_ms: DEFAULT_CONNECT_TIMEOUT_MS,
            timeout_ms: 100,
            max_waiting: 10_000,
            max_batch: 500,
            schema: "public".to_owned(),
            table: "fluxlimit".to_owned(),
            migrations: Migrations::Auto,
            durability: Durability::On,
            sweep_ms: 300_000,
        }
    }
}
