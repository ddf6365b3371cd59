//! Opens connections: one place after the other, with what files say at that moment.

use std::error::Error as _;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio_postgres::config::SslMode as WireMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, Error, NoTls, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::login::Login;
use super::server::{ChannelBinding, Host, Server, SslMode};
use super::settings::Settings;
use crate::store::StoreError;

/// When a silent connection is asked whether it is still there, in seconds, and how often, so that one whose
/// other end has vanished does not stay for hours.
const KEEPALIVE_IDLE_S: u64 = 30;
const KEEPALIVE_INTERVAL_S: u64 = 10;
const KEEPALIVE_RETRIES: u32 = 3;

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Connector {
    server: Server,
    timeout: Duration,
}

/// A connection, with a task that serves it until the client is dropped.
pub(super) struct Opened {
    /// What sends requests on it.
    pub(super) client: Client,
    /// What stops a request that runs.
    pub(super) cancel: Cancel,
}

/// Asks the server to stop what it does for a connection.
#[derive(Clone)]
pub(super) struct Cancel {
    token: CancelToken,
    tls: Option<MakeRustlsConnect>,
}

/// One address to try.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    host: &'a Host,
    /// `None` for a unix socket.
    address: Option<IpAddr>,
}

impl Connector {
    /// Opens connections as the settings say.
    pub(super) fn new(settings: &Settings) -> Self {
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        Self { server: settings.server.clone(), timeout }
    }

    /// How long [`Self::connect`] may take if every host has one address and none answers.
    pub(super) fn patience(&self) -> Duration {
        let hosts = u32::try_from(self.server.hosts.len()).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(hosts)
    }

    /// Opens a connection to the first place where a server takes writes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with the reason of every place.
    pub(super) async fn connect(&self) -> Result<Opened, StoreError> {
        let login = Login::read(&self.server).await.map_err(|reason| StoreError::Unavailable { reason })?;
        let mut reasons: Vec<String> = Vec::new();
        for host in &self.server.hosts {
            let places = match self.places(host).await {
                Ok(places) => places,
                Err(reason) => {
                    reasons.push(format!("{host}: {reason}"));
                    continue;
                }
            };
            for place in places {
                let attempt = tokio::time::timeout(self.timeout, self.open(place, &login)).await;
                let late = || Err(format!("no connection within {} ms", self.timeout.as_millis()));
                match attempt.unwrap_or_else(|_| late()) {
                    Ok(opened) => return Ok(opened),
                    Err(reason) => reasons.push(format!("{place}: {reason}")),
                }
            }
        }
        Err(StoreError::Unavailable { reason: reasons.join("; ") })
    }

    async fn places<'a>(&self, host: &'a Host) -> Result<Vec<Place<'a>>, String> {
        if host.socket().is_some() {
            return Ok(vec![Place { host, address: None }]);
        }
        if let Some(address) = host.address.or_else(|| host.name.parse().ok()) {
            return Ok(vec![Place { host, address: Some(address) }]);
        }
        let lookup = tokio::net::lookup_host((host.name.as_str(), host.port));
        let found = tokio::time::timeout(self.timeout, lookup).await;
        let found = found.map_err(|_| "the name is not found in time".to_owned())?;
        let found = found.map_err(|error| format!("the name is not found: {error}"))?;
        let places: Vec<Place<'a>> =
            found.map(|address| Place { host, address: Some(address.ip()) }).collect();
        if places.is_empty() { Err("the name has no address".to_owned()) } else { Ok(places) }
    }

    async fn open(&self, place: Place<'_>, login: &Login) -> Result<Opened, String> {
        let mut config = self.config(place, login);
        let opened = match (self.server.ssl_mode, login.tls()) {
            // There is no TLS on a unix socket, as with libpq.
            (mode, Some(tls)) if mode != SslMode::Disable && place.address.is_some() => {
                let wire = if mode == SslMode::Prefer { WireMode::Prefer } else { WireMode::Require };
                let opened = establish(config.ssl_mode(wire), tls.clone()).await;
                match opened {
                    Err(error) if mode == SslMode::Prefer && may_go_without_tls(&error) => {
                        establish(config.ssl_mode(WireMode::Disable), NoTls)
                            .await
                            .map(|client| (client, None))
                    }
                    opened => opened.map(|client| (client, Some(tls.clone()))),
                }
            }
            _ => establish(config.ssl_mode(WireMode::Disable), NoTls).await.map(|client| (client, None)),
        };
        let (client, tls) = opened.map_err(|error| login.explained(why(&error), &error))?;
        let read_only = is_read_only(&client).await.map_err(|error| why(&error))?;
        if read_only {
            return Err("the server takes no writes".to_owned());
        }
        let cancel = Cancel { token: client.cancel_token(), tls };
        Ok(Opened { client, cancel })
    }

    fn config(&self, place: Place<'_>, login: &Login) -> Config {
        let Server { user, database, application_name, options, channel_binding, .. } = &self.server;
        let mut config = Config::new();
        config
            .user(user)
            .dbname(database)
            .application_name(application_name)
            .port(place.host.port)
            .keepalives_idle(Duration::from_secs(KEEPALIVE_IDLE_S))
            .keepalives_interval(Duration::from_secs(KEEPALIVE_INTERVAL_S))
            .keepalives_retries(KEEPALIVE_RETRIES)
            .channel_binding(match channel_binding {
                ChannelBinding::Disable => tokio_postgres::config::ChannelBinding::Disable,
                ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
                ChannelBinding::Require => tokio_postgres::config::ChannelBinding::Require,
            });
        if let Some(options) = options {
            config.options(options);
        }
        if let Some(password) = login.password(&self.server, place.host) {
            config.password(password);
        }
        match (place.host.socket(), place.address) {
            (Some(directory), _) => config.host_path(directory),
            (None, Some(address)) => {
                // The name is what a certificate has to be for; it is not looked up again.
                let name = &place.host.name;
                let name = if name.is_empty() { address.to_string() } else { name.clone() };
                config.host(name).hostaddr(address)
            }
            (None, None) => config.host(&place.host.name),
        };
        config
    }
}

impl Cancel {
    /// Asks it. Nothing tells whether it came in time.
    ///
    /// # Errors
    /// The server could not be asked.
    pub(super) async fn cancel(self) -> Result<(), Error> {
        match self.tls {
            Some(tls) => self.token.cancel_query(tls).await,
            None => self.token.cancel_query(NoTls).await,
        }
    }
}

async fn establish<T>(config: &Config, tls: T) -> Result<Client, Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // Its error reaches every request that waits on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// A standby, or a server that was told to take no writes: it says so before anything is asked of it.
async fn is_read_only(client: &Client) -> Result<bool, Error> {
    let rows = client.simple_query("SHOW transaction_read_only").await?;
    Ok(rows.iter().any(|row| matches!(row, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"))))
}

/// Whether `prefer` tries again without TLS, as libpq does: there was no TLS after all, or the server lets this
/// user in only without.
fn may_go_without_tls(error: &Error) -> bool {
    is_tls(error) || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

/// The library has no other way to tell.
fn is_tls(error: &Error) -> bool {
    error.to_string() == "error performing TLS handshake"
}

/// Why there is no connection. What the server says is its message; details may show more than a log should.
fn why(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    match error.source() {
        Some(source) if is_tls(error) => format!("no TLS: {source}"),
        // "Connection refused" says it all.
        Some(source) if source.is::<std::io::Error>() => source.to_string(),
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        match address {
            // The name and what it means here.
            Some(address) if host.address.is_none() && host.name.parse() != Ok(*address) => {
                write!(f, "{host} ({})", SocketAddr::new(*address, host.port))
            }
            Some(address) => write!(f, "{}", SocketAddr::new(*address, host.port)),
            None => write!(f, "{host}"),
        }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("client", &self.client).finish_non_exhaustive()
    }
}
