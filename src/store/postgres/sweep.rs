//! Removes rows that have expired, a few pages at a time.
//!
//! How far the sweep is, and when its next step is due, stands in a row of the table itself. So all servers on one
//! table share one sweep, whoever comes first makes the step, and it goes on when any of them ends.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};

use super::batch::column;
use super::connect::Link;
use super::driver::Shared;
use super::error::{Failure, before_commit};
use super::exchange::{Time, read_clock, roll_back};
use super::sql::NOW;
use crate::store::StoreError;
use crate::store::pause::Pause;

/// Pages of one step, 256 KiB: a row in them is locked for a few milliseconds.
const STEP_BLOCKS: u64 = 32;

/// The longest pause between two looks at the sweeper's row, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 10_000;

/// The version of the sweeper's row.
const VERSION: u8 = 1;

/// What stands in the sweeper's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Note {
    /// The block that comes next.
    next_block: u64,
    /// When it is due, in milliseconds since the Unix epoch.
    due_ms: u64,
}

/// Sweeps for as long as the store lives.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let mut pause = Pause::default();
    loop {
        let stepped = match shared.link().await {
            Ok(mut link) => {
                let patience = shared.patience().max(Duration::from_secs(1));
                let stepped = tokio::time::timeout(patience, step(&shared, &mut link)).await;
                stepped.unwrap_or_else(|_| Err(StoreError::TimedOut.into()))
            }
            Err(error) => Err(error.into()),
        };
        let wait = match stepped {
            Ok(wait_ms) => {
                pause = Pause::default();
                Duration::from_millis(wait_ms.min(LONGEST_PAUSE_MS))
            }
            Err(failure) => {
                shared.note(&failure);
                // An outage is told by those who answer requests.
                tracing::debug!(error = %failure.error, "could not sweep");
                pause.next()
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Makes the next step if it is due; milliseconds until there may be something to do again.
async fn step(shared: &Shared, link: &mut Link) -> Result<u64, Failure> {
    link.busy = true;
    let stepped = try_step(shared, link).await;
    if stepped.is_err() && link.busy {
        roll_back(link).await;
    }
    stepped
}

async fn try_step(shared: &Shared, link: &mut Link) -> Result<u64, Failure> {
    let (sql, client) = (&shared.sql, &link.client);
    let failed = |error: tokio_postgres::Error| before_commit(&error);
    let (begun, note, blocks, now) = tokio::join!(
        biased;
        client.batch_execute(&sql.begin_sweep),
        client.query_typed(&sql.sweep_state, &[]),
        client.query_typed_one(&sql.blocks, &[]),
        client.query_typed(NOW, &[]),
    );
    begun.map_err(failed)?;
    let (note, blocks, now) = (note.map_err(failed)?, blocks.map_err(failed)?, now.map_err(failed)?);
    let now = match &shared.time {
        Time::Database => read_clock(&now)?,
        Time::Given(clock) => clock.now(),
    };
    let blocks: i64 = blocks.try_get(0).map_err(failed)?;
    let blocks = u64::try_from(blocks).unwrap_or(0);
    let pause_ms = (shared.settings.sweep_ms.saturating_mul(STEP_BLOCKS) / blocks.max(STEP_BLOCKS)).max(1);
    let Some(note) = note.first() else {
        // It is the first sweep of this table, or another server is at it.
        finish(link, &sql.sweep_first, Note::default()).await?;
        return Ok(pause_ms);
    };
    let note = Note::read(note.try_get(0).map_err(failed)?);
    let latest_ms = now.ms().saturating_add(pause_ms);
    // A clock that was set back must not stop the sweep until it has caught up.
    if note.due_ms > now.ms() && note.due_ms <= latest_ms {
        client.batch_execute("COMMIT").await.map_err(failed)?;
        link.busy = false;
        return Ok(note.due_ms - now.ms());
    }
    let end = note.next_block.saturating_add(STEP_BLOCKS);
    if note.next_block < blocks {
        let now_ms = column(now.ms());
        let expired = [(&now_ms as &(dyn ToSql + Sync), Type::INT8)];
        client.execute_typed(&shared.sql.sweep(note.next_block, end), &expired).await.map_err(failed)?;
    }
    let next_block = if end < blocks { end } else { 0 };
    finish(link, &sql.sweep_note, Note { next_block, due_ms: latest_ms }).await?;
    Ok(pause_ms)
}

/// Writes the note and commits.
async fn finish(link: &mut Link, statement: &str, note: Note) -> Result<(), Failure> {
    let bytes = note.bytes();
    let noted = [(&&bytes[..] as &(dyn ToSql + Sync), Type::BYTEA)];
    let (noted, committed) = tokio::join!(
        biased;
        link.client.execute_typed(statement, &noted),
        link.client.batch_execute("COMMIT"),
    );
    link.busy = committed.is_err();
    noted.and(committed.map(|()| 0)).map(drop).map_err(|error| before_commit(&error))
}

impl Note {
    /// What the row says. One that cannot be read begins the sweep anew, which costs nothing but time.
    fn read(bytes: &[u8]) -> Self {
        let read = || {
            let (version, numbers) = bytes.split_first()?;
            let (next_block, due_ms) = numbers.split_first_chunk()?;
            let due_ms = <[u8; 8]>::try_from(due_ms).ok().filter(|_| *version == VERSION)?;
            Some(Self { next_block: u64::from_be_bytes(*next_block), due_ms: u64::from_be_bytes(due_ms) })
        };
        read().unwrap_or_default()
    }

    fn bytes(self) -> [u8; 17] {
        let mut bytes = [VERSION; 17];
        bytes[1..9].copy_from_slice(&self.next_block.to_be_bytes());
        bytes[9..].copy_from_slice(&self.due_ms.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_rubbish_begins_anew() {
        let note = Note { next_block: 96, due_ms: 1_700_000_000_123 };
        assert_eq!(Note::read(&note.bytes()), note);
        for rubbish in [&[][..], &[1], &[2; 17], &[1; 18]] {
            assert_eq!(Note::read(rubbish), Note::default());
        }
    }
}
