//! The statements, with the names that the settings give to schema and table.
//!
//! All are sent unprepared, with the types of their parameters: a pooler such as `PgBouncer` in transaction mode
//! hands each transaction to another connection, where a prepared statement would not exist.

use super::settings::{Durability, Settings};

/// The longest name that Postgres keeps whole, in bytes; it cuts longer ones.
pub const MAX_NAME_BYTES: usize = 63;

/// The statements for one table.
#[derive(Debug)]
pub(super) struct Sql {
    /// `"schema"."table"`.
    pub(super) table: String,
    /// Begins a transaction of a batch.
    pub(super) begin: String,
    /// Locks the rows of keys in their order, and reads them.
    pub(super) lock: String,
    /// Adds rows; says of how many keys there was none yet.
    pub(super) insert: String,
    /// Replaces rows.
    pub(super) update: String,
    /// Begins a transaction of the sweeper.
    pub(super) begin_sweep: String,
    /// Locks the sweeper's own row if nobody has it, and reads it.
    pub(super) sweep_state: String,
    /// Makes that row, unless it is there.
    pub(super) sweep_first: String,
    /// Notes in that row how far the sweep is.
    pub(super) sweep_note: String,
    /// How many blocks the table has.
    pub(super) blocks: String,
    /// Asks whether the table can be read.
    pub(super) ping: String,
}

/// The database's clock, in milliseconds since the Unix epoch.
///
/// In a statement of its own after the one that locks: a time that was read before a wait for a lock would be in
/// the past of the state that the wait was for.
pub(super) const NOW: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The key of the sweeper's own row. No counter has it, since their keys are longer.
const SWEEP_KEY: &str = r"'\x'::bytea";

impl Sql {
    /// The statements for the table that the settings name.
    pub(super) fn new(settings: &Settings) -> Self {
        let table = format!("{}.{}", quoted(&settings.schema), quoted(&settings.table));
        let timeout_ms = settings.timeout_ms.max(1);
        let commit = match settings.durability {
            Durability::On => "on",
            Durability::Off | Durability::Unlogged => "off",
        };
        let rows = "unnest($1::bytea[], $2::bytea[], $3::bigint[]) AS n(key, state, expires_at_ms)";
        Self {
            begin: begin(timeout_ms, commit),
            lock: format!(
                "SELECT key, state FROM {table} WHERE key = ANY($1) ORDER BY key FOR NO KEY UPDATE"
            ),
            insert: format!(
                "INSERT INTO {table} (key, state, expires_at_ms) SELECT n.key, n.state, n.expires_at_ms \
                 FROM {rows} ORDER BY n.key ON CONFLICT (key) DO NOTHING"
            ),
            update: format!(
                "UPDATE {table} AS t SET state = n.state, expires_at_ms = n.expires_at_ms FROM {rows} \
                 WHERE t.key = n.key"
            ),
            // Nothing is lost if a row that had expired is there again.
            begin_sweep: begin(timeout_ms.max(1000), "off"),
            sweep_state: format!(
                "SELECT state FROM {table} WHERE key = {SWEEP_KEY} FOR NO KEY UPDATE SKIP LOCKED"
            ),
            sweep_first: format!(
                "INSERT INTO {table} (key, state, expires_at_ms) VALUES ({SWEEP_KEY}, $1, {}) \
                 ON CONFLICT (key) DO NOTHING",
                i64::MAX
            ),
            sweep_note: format!("UPDATE {table} SET state = $1 WHERE key = {SWEEP_KEY}"),
            blocks: format!(
                "SELECT pg_relation_size('{}'::regclass) / current_setting('block_size')::bigint",
                table.replace('\'', "''")
            ),
            ping: format!("SELECT FROM {table} WHERE key = {SWEEP_KEY}"),
            table,
        }
    }

    /// Removes the rows in the blocks from `first` up to before `end` that expired before `$1`, but for those
    /// that somebody has locked.
    ///
    /// A range of places is read without an index, so a pass over the table reads each page once and in order.
    pub(super) fn sweep(&self, first: u64, end: u64) -> String {
        let table = &self.table;
        let expired = "expires_at_ms < $1";
        // The condition stands twice: a row may have changed between being seen and being locked.
        format!(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} \
             WHERE ctid >= '({first},0)'::tid AND ctid < '({end},0)'::tid AND {expired} \
             FOR UPDATE SKIP LOCKED)) AND {expired}"
        )
    }
}

/// Whatever the role or the database has for defaults, the settings of a transaction are its own. They are made
/// anew in each, since behind a pooler the next one may run on another connection.
fn begin(timeout_ms: u64, synchronous_commit: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; \
         SET LOCAL statement_timeout = {timeout_ms}; \
         SET LOCAL lock_timeout = {timeout_ms}; \
         SET LOCAL idle_in_transaction_session_timeout = {timeout_ms}; \
         SET LOCAL synchronous_commit = {synchronous_commit}; \
         SET LOCAL enable_seqscan = off; \
         SET LOCAL enable_hashjoin = off; \
         SET LOCAL enable_mergejoin = off"
    )
}

/// A name as an identifier, exactly as it is written.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether Postgres keeps `text` whole as the name of a schema or table.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted(r#"a"; DROP TABLE b"#), r#""a""; DROP TABLE b""#);
    }

    #[test]
    fn a_name_that_would_be_cut_or_refused_is_none() {
        assert!(is_name("Grüße") && is_name(&"x".repeat(63)));
        for bad in ["", "a\0b", "a\nb", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
