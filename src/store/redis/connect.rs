//! From settings to a connection that may be used: found, opened, encrypted, logged in and looked at.

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::eviction::Eviction;
use super::handshake::{Hop, refusal, text};
use super::sentinel::Sentinels;
use super::settings::{Address, Endpoint, Form, Settings};
use crate::store::StoreError;

/// Makes connections to the Redis of the settings.
#[derive(Debug)]
pub(super) struct Connector {
    settings: Settings,
    sentinels: Option<Sentinels>,
    eviction: Eviction,
}

impl Connector {
    /// Opens nothing yet.
    pub(super) fn new(settings: Settings) -> Self {
        let sentinels = match &settings.form {
            Form::Sentinel(sentinel) => Some(Sentinels::new((**sentinel).clone())),
            _ => None,
        };
        Self { settings, sentinels, eviction: Eviction::default() }
    }

    /// What was seen of the servers' memory.
    pub(super) const fn eviction(&self) -> &Eviction {
        &self.eviction
    }

    /// A new connection, logged in, in the database of the settings. Nothing is tried twice.
    ///
    /// It knows no deadline for answers; whoever asks has one. With Sentinels it is a connection to what
    /// they name and what holds itself for the master; in a cluster, to the first server that answers.
    ///
    /// Dropping the future closes what was opened.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with where it was tried and why it failed, and without any password.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let connected = match (&self.settings.form, &self.sentinels) {
            (Form::Sentinel(_), Some(sentinels)) => self.connect_to_master(sentinels).await,
            (Form::Standalone(endpoint), _) => self.connect_to_endpoint(endpoint, Role::Any).await,
            (Form::Cluster(seeds), _) => self.connect_to_any(seeds).await,
            (Form::Sentinel(_), None) => unreachable!("made together"),
        };
        connected.map_err(|reason| StoreError::Unavailable { reason })
    }

    /// The same to one server, whichever the settings name: a node of a cluster.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(super) async fn connect_to(&self, address: &Address) -> Result<MultiplexedConnection, StoreError> {
        let endpoint = Endpoint::Tcp(address.clone());
        self.connect_to_endpoint(&endpoint, Role::Any)
            .await
            .map_err(|reason| StoreError::Unavailable { reason })
    }

    async fn connect_to_any(&self, addresses: &[Address]) -> Result<MultiplexedConnection, String> {
        let mut reasons = Vec::new();
        for address in addresses {
            match self.connect_to_endpoint(&Endpoint::Tcp(address.clone()), Role::Any).await {
                Ok(connection) => return Ok(connection),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    }

    /// Asks each Sentinel until one names a server that is the master.
    async fn connect_to_master(&self, sentinels: &Sentinels) -> Result<MultiplexedConnection, String> {
        let mut reasons = Vec::new();
        let mut tried = Vec::new();
        for index in sentinels.in_turn() {
            let named = sentinels.master_of(index, self.settings.connect_timeout_ms).await;
            match named {
                // Another Sentinel has named it already, and it could not be used.
                Ok(address) if tried.contains(&address) => {}
                Ok(address) => {
                    let endpoint = Endpoint::Tcp(address.clone());
                    match self.connect_to_endpoint(&endpoint, Role::Master).await {
                        Ok(connection) => {
                            sentinels.begin_with(index);
                            return Ok(connection);
                        }
                        Err(reason) => reasons.push(reason),
                    }
                    tried.push(address);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    }

    async fn connect_to_endpoint(
        &self,
        endpoint: &Endpoint,
        role: Role,
    ) -> Result<MultiplexedConnection, String> {
        let Settings { login, tls, database, connect_timeout_ms, form, .. } = &self.settings;
        let hop =
            Hop { endpoint, login, tls: tls.as_ref(), database: *database, timeout_ms: *connect_timeout_ms };
        let mut questions = redis::pipe();
        questions.cmd("INFO").arg("memory");
        if role == Role::Master {
            questions.cmd("ROLE");
        }
        let (connection, answers) = hop.connect(&questions).await?;
        if role == Role::Master {
            let answer = answers.get(1).unwrap_or(&Value::Nil);
            is_master(answer).map_err(|reason| format!("redis at {endpoint}: {reason}"))?;
        }
        // One server that moves is one server; the nodes of a cluster are several.
        let name = match form {
            Form::Cluster(_) => endpoint.to_string(),
            _ => form.to_string(),
        };
        self.eviction.note(&name, answers.first());
        Ok(connection)
    }
}

/// What a server has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Whatever the settings name is meant.
    Any,
    /// What Sentinels name may have been one yesterday.
    Master,
}

/// <https://redis.io/docs/latest/commands/role/>: an array that begins with `master`, `slave` or `sentinel`.
fn is_master(answer: &Value) -> Result<(), String> {
    if let Some(refusal) = refusal(answer) {
        return Err(format!("whether it is the master is not known: {refusal}"));
    }
    let role = match answer {
        Value::Array(parts) => parts.first().and_then(text),
        _ => None,
    };
    match role.as_deref() {
        Some("master") => Ok(()),
        Some(other) => Err(format!("it is no master any more but a `{other}`")),
        None => Err("its answer to ROLE cannot be read".to_owned()),
    }
}
