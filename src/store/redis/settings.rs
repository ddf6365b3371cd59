//! What has to be known to reach a Redis, checked and complete.

use std::fmt;
use std::path::PathBuf;

use super::options::Options;
use super::tls::Tls;
use super::url::Url;
use crate::store::{Mistake, Password};

/// What every key begins with unless settings say otherwise.
pub const DEFAULT_KEY_PREFIX: &str = "fluxlimit:";

/// Connections to one Redis: while the answers of one are being read, the next batch goes out on the other.
pub const DEFAULT_CONNECTIONS: usize = 2;

/// Settlements that wait to be sent at most, as for every store: at ten thousand something is badly wrong, and
/// whoever waits behind them would wait in vain.
pub const DEFAULT_MAX_WAITING: usize = 10_000;

/// How long one attempt to connect may take, in milliseconds: a round trip around the world and a TLS
/// handshake fit several times.
pub const DEFAULT_CONNECT_TIMEOUT_MS: u64 = 1000;

/// How long an answer may take, in milliseconds, unless settings say otherwise.
pub const DEFAULT_TIMEOUT_MS: u64 = 100;

/// How a Redis is reached. [`Options`] makes it of what the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How it is deployed, and where.
    pub form: Form,
    /// Who asks.
    pub login: Login,
    /// How its connections are encrypted; `None`: not at all.
    pub tls: Option<Tls>,
    /// The number of the database; 0 in a cluster.
    pub database: u32,
    /// What every key begins with; holds no brace, which would mean a hash tag in a cluster.
    pub key_prefix: String,
    /// Connections to one Redis, at least 1.
    pub connections: usize,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long one attempt to connect may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Settlements that wait to be sent at most.
    pub max_waiting: usize,
}

/// How a Redis is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One server.
    Standalone(Endpoint),
    /// One server at a time, which Sentinels name.
    Sentinel(Box<Sentinel>),
    /// Several servers that share the keys: those that are asked first, at least one.
    Cluster(Vec<Address>),
}

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// On TCP.
    Tcp(Address),
    /// On a unix socket.
    Socket(PathBuf),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without the brackets that an IPv6 address has in a URL.
    pub host: String,
    /// The port, at least 1.
    pub port: u16,
}

/// How the Sentinels are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinel {
    /// Where they listen, at least one; asked in turn.
    pub addresses: Vec<Address>,
    /// The name under which they know the master.
    pub master: String,
    /// Who asks them; their users are not those of the master.
    pub login: Login,
    /// How connections to them are encrypted.
    pub tls: Option<Tls>,
}

/// A user and how its password is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// The user of the access control list; `None` is the default user.
    pub username: Option<String>,
    /// The password; `None`: none is sent.
    pub password: Option<Password>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            form: Form::Standalone(Endpoint::Tcp(Address { host: "localhost".to_owned(), port: 6379 })),
            login: Login::default(),
            tls: None,
            database: 0,
            key_prefix: DEFAULT_KEY_PREFIX.to_owned(),
            connections: DEFAULT_CONNECTIONS,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            connect_timeout_ms: DEFAULT_CONNECT_TIMEOUT_MS,
            max_waiting: DEFAULT_MAX_WAITING,
        }
    }
}

impl Settings {
    /// The settings that a URL alone means.
    ///
    /// # Errors
    /// What is wrong with it, without what it says.
    pub fn from_url(url: &str) -> Result<Self, Vec<Mistake>> {
        let url = Url::parse(url).map_err(|message| vec![Mistake { setting: "store", message }])?;
        Options { url: Some(url), ..Options::default() }.settings()
    }
}

/// Without user and password, for logs.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone(endpoint) => write!(f, "redis at {endpoint}"),
            Self::Sentinel(sentinel) => {
                let Sentinel { addresses, master, .. } = &**sentinel;
                write!(f, "redis `{master}` of the sentinels at {}", Listed(addresses))
            }
            Self::Cluster(addresses) => write!(f, "redis cluster at {}", Listed(addresses)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

struct Listed<'a>(&'a [Address]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_shows_no_password() {
        let settings = Settings::from_url("redis://app:hunter2@cache:7000/3").unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("cache") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn logs_say_where_it_is_and_not_who_asks() {
        for (url, shown) in [
            ("redis://app:hunter2@[::1]:7000", "redis at [::1]:7000"),
            ("unix:///run/redis.sock", "redis at /run/redis.sock"),
            ("redis+sentinel://a,b:1/main", "redis `main` of the sentinels at a:26379, b:1"),
            ("redis+cluster://a,b:1", "redis cluster at a:6379, b:1"),
        ] {
            assert_eq!(Settings::from_url(url).unwrap().form.to_string(), shown);
        }
    }
}
