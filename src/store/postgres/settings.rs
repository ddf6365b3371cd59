//! What can be set about the Postgres store.

use std::fmt;

/// Settings of the Postgres store.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where Postgres is, `postgres://…` or `host=… …`; may hold a password.
    pub url: String,
    /// Connections that apply batches, at least 1; one more sweeps and answers pings.
    pub connections: usize,
    /// How long a connection may take to open, in milliseconds.
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            connections: 2,
            connect_timeout_ms: 2000,
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

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may hold a password.
        f.debug_struct("Settings")
            .field("connections", &self.connections)
            .field("schema", &self.schema)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
