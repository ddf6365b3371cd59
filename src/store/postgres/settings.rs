//! What can be set about the Postgres store.

use crate::store::StoreError;

/// Settings of the Postgres store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where Postgres is, and as whom. Its debug form shows no password.
    pub server: tokio_postgres::Config,
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

impl Settings {
    /// The defaults, for the server at `connection`: `postgres://…` or `host=… …`.
    ///
    /// # Errors
    /// It cannot be read. The reason does not repeat it, since it may hold a password.
    pub fn of(connection: &str) -> Result<Self, StoreError> {
        let server = connection.parse();
        let reason = || "the address of Postgres cannot be read".to_owned();
        let server = server.map_err(|_| StoreError::Refused { reason: reason() })?;
        Ok(Self { server, ..Self::default() })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: tokio_postgres::Config::new(),
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
