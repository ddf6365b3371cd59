//! Looks at states without touching them, on connections of its own.

use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::super::settings::Address;
use super::super::state::decode;
use super::routes::Routes;
use super::slot::Tag;
use crate::algorithm::State;
use crate::engine::Key;
use crate::store::StoreError;

/// Connections on which states are looked at, one per node that was asked.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<(Address, MultiplexedConnection)>>);

impl Readers {
    /// The state under `key`; `None` if there is none.
    ///
    /// # Errors
    /// The node cannot be reached or refuses; what it keeps is no state of this version.
    pub(super) async fn state(&self, routes: &Routes, key: &Key) -> Result<Option<State>, StoreError> {
        let tag = Tag::of_identity(key);
        let prefix = routes.settings().key_prefix.as_bytes();
        let unknown = || StoreError::Unavailable { reason: "no node is known to serve the slot".to_owned() };
        let address = routes.address_of(tag.slot()).ok_or_else(unknown)?;
        let mut get = redis::cmd("GET");
        get.arg([prefix, tag.as_bytes(), key.as_bytes()].concat());
        let mut connection = self.connection(routes, &address).await?;
        let bytes: redis::RedisResult<Option<Vec<u8>>> = get.query_async(&mut connection).await;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                // The next question may find it elsewhere, or on a connection that works.
                self.0.lock().await.retain(|(known, _)| *known != address);
                routes.doubt();
                return Err(StoreError::Refused { reason: error.to_string() });
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let unreadable =
            || StoreError::Unreadable { reason: format!("{key:?} holds no state of this version") };
        decode(key.algorithm(), &bytes).ok_or_else(unreadable).map(Some)
    }

    async fn connection(
        &self,
        routes: &Routes,
        address: &Address,
    ) -> Result<MultiplexedConnection, StoreError> {
        let mut known = self.0.lock().await;
        if let Some((_, connection)) = known.iter().find(|(known, _)| known == address) {
            return Ok(connection.clone());
        }
        let connection = routes.connector().connect_to(address).await?;
        known.push((address.clone(), connection.clone()));
        Ok(connection)
    }
}
