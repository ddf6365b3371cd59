//! What a failure of Postgres means for the settlements that it hit.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::store::StoreError;

/// Why a transaction came to nothing.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What the settlements are told.
    pub(super) error: StoreError,
    /// The server says that it did not run, and that it may go well when it is tried again.
    pub(super) may_repeat: bool,
    /// The table is missing, or not as it should be: it is looked at again before the next batch.
    pub(super) schema_lost: bool,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { error, may_repeat: false, schema_lost: false }
    }
}

/// A failure before COMMIT was sent: nothing was booked.
pub(super) fn before_commit(error: &Error) -> Failure {
    failure(error, |reason| StoreError::Unavailable { reason })
}

/// A failure after COMMIT was sent. If the connection ended, nobody knows what was booked.
pub(super) fn after_commit(error: &Error) -> Failure {
    failure(error, |reason| StoreError::Lost { reason })
}

fn failure(error: &Error, ended: impl Fn(String) -> StoreError) -> Failure {
    let reason = said(error);
    let Some(said) = error.as_db_error() else {
        let is_ours = !error.is_closed() && !is_io(error);
        return if is_ours { StoreError::Unreadable { reason } } else { ended(reason) }.into();
    };
    if matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
        return ended(reason).into();
    }
    of_statement(said, reason)
}

/// A failure of a statement: the transaction is rolled back, so nothing was booked.
fn of_statement(said: &DbError, reason: String) -> Failure {
    let code = said.code();
    let error = if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        StoreError::TimedOut
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        // A standby, or a server that was told to take no more writes.
        StoreError::Unavailable { reason }
    } else {
        StoreError::Refused { reason }
    };
    let repeatable = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    let schema = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
    Failure { error, may_repeat: repeatable.contains(code), schema_lost: schema.contains(code) }
}

fn is_io(error: &Error) -> bool {
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}

/// What went wrong in the server's own words, without the details, which may show keys.
pub(super) fn said(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
