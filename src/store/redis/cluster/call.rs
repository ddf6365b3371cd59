//! One call of the script on one node: sent, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, ServerError, Value};
use tokio::time::timeout;

use super::errand::Errand;
use super::wire::Wire;
use crate::time::Stopwatch;

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What was sent.
    pub(super) errands: Vec<Errand>,
    /// Over which connection of the line.
    pub(super) generation: u64,
    /// Since it was sent.
    pub(super) since: Stopwatch,
    /// From sending to the answer or the failure.
    pub(super) took: Duration,
    /// What the script answered.
    pub(super) answer: Result<Value, Trouble>,
}

/// Why the script has not answered.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server answered something else.
    Server(ServerError),
    /// The connection broke.
    Lost(String),
    /// Nothing came in time.
    TimedOut,
}

/// Sends `errands`, which have one place, in one call, and waits for at most `patience`.
pub(super) async fn call(
    mut connection: MultiplexedConnection,
    generation: u64,
    errands: Vec<Errand>,
    wire: Arc<Wire>,
    patience: Duration,
) -> Ended {
    let since = Stopwatch::start();
    let asking = errands.first().is_some_and(|errand| errand.asking);
    let exchange = async {
        let known = exchange(&mut connection, wire.call(&errands, false), asking).await;
        match known {
            // It has not run, and the text comes with the next attempt.
            Err(Trouble::Server(error)) if error.code() == "NOSCRIPT" => {
                exchange(&mut connection, wire.call(&errands, true), asking).await
            }
            known => known,
        }
    };
    let answer = timeout(patience, exchange).await.unwrap_or(Err(Trouble::TimedOut));
    Ended { errands, generation, since, took: since.elapsed(), answer }
}

/// With `asking` the node is told before that the slot is on its way to it. Both go out in one write: between
/// them nothing of somebody else may come, since the node forgets it after one command.
async fn exchange(
    connection: &mut MultiplexedConnection,
    command: Cmd,
    asking: bool,
) -> Result<Value, Trouble> {
    let mut commands = Pipeline::with_capacity(2);
    if asking {
        commands.cmd("ASKING");
    }
    commands.add_command(command);
    let count = commands.len();
    let answers = connection.req_packed_commands(&commands, 0, count).await;
    let lost = |error: RedisError| Trouble::Lost(error.to_string());
    match answers.map_err(lost)?.pop() {
        Some(Value::ServerError(error)) => Err(Trouble::Server(error)),
        Some(answer) => Ok(answer),
        None => Err(Trouble::Lost("it gave no answer".to_owned())),
    }
}
