//! Who asks the nodes for the map of the slots.

use std::time::Duration;

use redis::Value;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use tokio::time::timeout;

use super::super::refusal::words;
use super::super::settings::Address;
use super::map::{Range, ranges};
use super::routes::Routes;
use crate::store::StoreError;

/// Questions on one connection before another node is asked: a node that was cut off from the others does
/// not know that its map is old.
const MAX_QUESTIONS: u32 = 10;

/// A connection for questions.
#[derive(Debug, Default)]
pub(super) struct Asker {
    connection: Option<(Address, MultiplexedConnection)>,
    questions: u32,
    /// Which node is asked next.
    turn: usize,
}

impl Asker {
    /// The map as the first node tells it that answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with what every node said.
    pub(super) async fn ranges(&mut self, routes: &Routes) -> Result<Vec<Range>, StoreError> {
        if self.questions < MAX_QUESTIONS
            && let Some((address, connection)) = &mut self.connection
            && let Ok(found) = ask(connection, address, routes).await
        {
            self.questions += 1;
            return Ok(found);
        }
        self.connection = None;
        self.questions = 0;
        let addresses = routes.addresses();
        let mut reasons = Vec::new();
        for offset in 0..addresses.len() {
            let address = &addresses[(self.turn + offset) % addresses.len()];
            match self.begin(address, routes).await {
                Ok(found) => {
                    self.turn = (self.turn + offset + 1) % addresses.len();
                    return Ok(found);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Err(StoreError::Unavailable { reason: reasons.join("; ") })
    }

    async fn begin(&mut self, address: &Address, routes: &Routes) -> Result<Vec<Range>, String> {
        let connected = routes.connector().connect_to(address).await;
        let mut connection = connected.map_err(|error| match error {
            StoreError::Unavailable { reason } => reason,
            other => other.to_string(),
        })?;
        let found = ask(&mut connection, address, routes).await?;
        self.connection = Some((address.clone(), connection));
        Ok(found)
    }
}

/// `CLUSTER SLOTS` is answered by every version of Redis and Valkey; `CLUSTER SHARDS` only since Redis 7.
async fn ask(
    connection: &mut MultiplexedConnection,
    address: &Address,
    routes: &Routes,
) -> Result<Vec<Range>, String> {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let patience = Duration::from_millis(routes.settings().connect_timeout_ms);
    let asked = timeout(patience, connection.req_packed_command(&question)).await;
    let problem = match asked {
        Err(_) => format!("no answer within {} ms", patience.as_millis()),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(Value::ServerError(error))) => words(&error),
        Ok(Ok(answer)) => match ranges(&answer, address) {
            Some(found) if !found.is_empty() => return Ok(found),
            Some(_) => "it knows of no slots".to_owned(),
            None => "its answer to CLUSTER SLOTS cannot be read".to_owned(),
        },
    };
    Err(format!("redis at {address}: {problem}"))
}
