//! One transaction for one batch, in pipelined round trips.
//!
//! 1. BEGIN, lock the rows that exist in the order of their keys and read them, read the clock.
//! 2. Add the rows that did not exist, replace the others, COMMIT. If rows were added, COMMIT goes only after it
//!    is known that nobody else added one of them meanwhile.
//!
//! No two transactions can wait for each other in a circle. While rows are locked, a transaction waits only for
//! locks on later keys. While it adds rows it waits only for transactions that add a later key or that are past
//! waiting: a row that is merely locked does not make `ON CONFLICT DO NOTHING` wait, and rows are replaced after
//! the last row was added. The sweeper never waits for a lock.

use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::batch::{Applied, Batch, Rows};
use super::connect::Link;
use super::driver::Turn;
use super::error::{Failure, after_commit, before_commit};
use super::sql::{NOW, Sql};
use crate::engine::Outcome;
use crate::store::StoreError;
use crate::time::{Clock, Timestamp};

/// How often a batch begins again because others created its keys, before it gives up. After the first time
/// there is a row for each key, so there is hardly a second.
const MAX_RACES: usize = 3;

/// Where the time of a settlement comes from.
#[derive(Debug, Clone)]
pub(super) enum Time {
    /// The database's clock, read when the rows are locked.
    Database,
    /// A clock in the hands of a test.
    Given(Arc<dyn Clock>),
}

/// The outcomes of a batch, one for each settlement.
pub(super) type Outcomes = Vec<Result<Outcome, StoreError>>;

/// Why a transaction was rolled back.
enum Undone {
    /// Somebody else created one of the keys in the meantime.
    Raced(Timestamp),
    Failed(Failure),
}

/// Applies a batch. The connection stays busy if what became of the transaction is not known.
pub(super) async fn settle(
    link: &mut Link,
    sql: &Sql,
    time: &Time,
    batch: &Batch<'_>,
    turn: Turn<'_>,
) -> Result<Outcomes, Failure> {
    let mut turn = Some(turn);
    let mut may_repeat = true;
    for _ in 0..MAX_RACES {
        match attempt(link, sql, time, batch, &mut turn).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(Undone::Raced(now)) => fill(link, sql, batch, now).await?,
            // The server says that it did not run, so running it now is no second time.
            Err(Undone::Failed(failure)) if failure.may_repeat && may_repeat => may_repeat = false,
            Err(Undone::Failed(failure)) => return Err(failure),
        }
    }
    let reason = "keys were created and removed elsewhere at the same time".to_owned();
    Err(StoreError::Refused { reason }.into())
}

async fn attempt(
    link: &mut Link,
    sql: &Sql,
    time: &Time,
    batch: &Batch<'_>,
    turn: &mut Option<Turn<'_>>,
) -> Result<Outcomes, Undone> {
    link.busy = true;
    let locked = lock(&link.client, sql, time, batch.keys()).await;
    let (rows, now) = match locked {
        Ok(locked) => locked,
        Err(failure) => {
            roll_back(link).await;
            return Err(Undone::Failed(failure));
        }
    };
    let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let pairs = match pairs.collect::<Result<Vec<(&[u8], &[u8])>, tokio_postgres::Error>>() {
        Ok(pairs) => pairs,
        Err(error) => {
            roll_back(link).await;
            return Err(Undone::Failed(before_commit(&error)));
        }
    };
    let applied = batch.apply(now, pairs.into_iter());
    let Applied { outcomes, inserts, updates } = applied;
    if !inserts.is_empty() && !add(link, sql, &inserts).await.map_err(Undone::Failed)? {
        roll_back(link).await;
        return Err(Undone::Raced(now));
    }
    replace(link, sql, &updates, turn).await.map_err(Undone::Failed)?;
    Ok(outcomes)
}

/// The first round trip. What is polled first is sent first, and nothing waits for an answer in between.
async fn lock(
    client: &Client,
    sql: &Sql,
    time: &Time,
    keys: &[&[u8]],
) -> Result<(Vec<Row>, Timestamp), Failure> {
    let parameters = [(&keys as &(dyn ToSql + Sync), Type::BYTEA_ARRAY)];
    let (begun, rows, now) = tokio::join!(
        biased;
        client.batch_execute(&sql.begin),
        client.query_typed(&sql.lock, &parameters),
        client.query_typed(NOW, &[]),
    );
    // The first error is the one that has a cause; the others follow from it.
    begun.map_err(|error| before_commit(&error))?;
    let rows = rows.map_err(|error| before_commit(&error))?;
    let now = now.map_err(|error| before_commit(&error))?;
    let now = match time {
        Time::Database => read_clock(&now)?,
        Time::Given(clock) => clock.now(),
    };
    Ok((rows, now))
}

/// The time in the one row of [`NOW`].
pub(super) fn read_clock(rows: &[Row]) -> Result<Timestamp, Failure> {
    let read = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
    let now_ms = read.and_then(|now_ms| u64::try_from(now_ms).ok());
    let reason = || "the clock of the database".to_owned();
    now_ms.map(Timestamp::from_ms).ok_or_else(|| StoreError::Unreadable { reason: reason() }.into())
}

/// Adds rows; false if one of them was there already.
async fn add(link: &mut Link, sql: &Sql, rows: &Rows<'_>) -> Result<bool, Failure> {
    match link.client.execute_typed(&sql.insert, &parameters(rows)).await {
        Ok(added) => Ok(added == rows.len()),
        Err(error) => {
            roll_back(link).await;
            Err(before_commit(&error))
        }
    }
}

/// Replaces rows and commits.
///
/// The client library does not show the tag of COMMIT, which says ROLLBACK after an error. But every reply before
/// it is seen, so an error is never missed.
async fn replace(
    link: &mut Link,
    sql: &Sql,
    rows: &Rows<'_>,
    turn: &mut Option<Turn<'_>>,
) -> Result<(), Failure> {
    let parameters = parameters(rows);
    let replacing = async {
        if rows.is_empty() { Ok(0) } else { link.client.execute_typed(&sql.update, &parameters).await }
    };
    let sent = async { drop(turn.take()) };
    let (replaced, committed, ()) =
        tokio::join!(biased; replacing, link.client.batch_execute("COMMIT"), sent);
    // COMMIT ended the transaction, whether it was good or not.
    link.busy = committed.is_err();
    let replaced = replaced.map_err(|error| after_commit(&error))?;
    committed.map_err(|error| after_commit(&error))?;
    if replaced != rows.len() {
        // Locked rows do not go away: a trigger or a policy of the table swallowed them.
        let reason = format!("the table took {replaced} of {} rows", rows.len());
        return Err(StoreError::Unreadable { reason }.into());
    }
    Ok(())
}

/// Makes a row for each key that has none, in a transaction of its own: with rows locked it would have to wait
/// for others that wait for those.
async fn fill(link: &mut Link, sql: &Sql, batch: &Batch<'_>, now: Timestamp) -> Result<(), Failure> {
    link.busy = true;
    let rows = Rows::empty(batch.keys(), now);
    let parameters = parameters(&rows);
    let (begun, added, committed) = tokio::join!(
        biased;
        link.client.batch_execute(&sql.begin),
        link.client.execute_typed(&sql.insert, &parameters),
        link.client.batch_execute("COMMIT"),
    );
    link.busy = committed.is_err();
    // An empty row books nothing, so it does not matter whether it was committed.
    begun.and(added.map(drop)).and(committed).map_err(|error| before_commit(&error))
}

/// Ends a transaction without a trace. If that fails the connection stays busy, and is given up.
pub(super) async fn roll_back(link: &mut Link) {
    link.busy = link.client.is_closed() || link.client.batch_execute("ROLLBACK").await.is_err();
}

fn parameters<'a>(rows: &'a Rows<'_>) -> [(&'a (dyn ToSql + Sync), Type); 3] {
    [
        (&rows.keys, Type::BYTEA_ARRAY),
        (&rows.states, Type::BYTEA_ARRAY),
        (&rows.expire_at_ms, Type::INT8_ARRAY),
    ]
}
