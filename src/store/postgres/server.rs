//! Which Postgres, as whom, and how well protected.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::conninfo::Parameters;
use super::options::{Options, STORE};
use super::tls::TlsFiles;
use crate::store::{Mistake, Password};

/// The port that Postgres listens on unless it is told another one.
pub const DEFAULT_PORT: u16 = 5432;

/// Where a Postgres is and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The places to try, in order; at least one. Only a server that takes writes is used.
    pub hosts: Vec<Host>,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// The user's password, if it does not stand in `passfile`.
    pub password: Option<Password>,
    /// A file with passwords by host, port, database and user, in libpq's form.
    pub passfile: Option<PathBuf>,
    /// What is asked of TLS.
    pub ssl_mode: SslMode,
    /// The files that TLS needs, read anew for each connection.
    pub tls_files: TlsFiles,
    /// Whether the password has to be bound to the TLS connection (SCRAM with channel binding).
    pub channel_binding: ChannelBinding,
    /// What the server calls this client in its log and in `pg_stat_activity`.
    pub application_name: String,
    /// What the server process is started with, such as `-c search_path=x`; `PgBouncer` refuses it.
    pub options: Option<String>,
}

/// One place where a server may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name or address, or the directory of a unix socket, which begins with `/`.
    pub name: String,
    /// The address, if `name` is not to be looked up.
    pub address: Option<IpAddr>,
    /// The port, which is a part of a unix socket's name as well.
    pub port: u16,
}

/// What is asked of TLS, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// None.
    Disable,
    /// TLS if the server has it, and anybody may be the server.
    #[default]
    Prefer,
    /// TLS, and anybody may be the server, unless `sslrootcert` is given: then as [`Self::VerifyCa`].
    Require,
    /// TLS with a certificate of an authority in `sslrootcert`, for whatever name.
    VerifyCa,
    /// The same, for the name that was asked for.
    VerifyFull,
}

/// Whether a login has to prove that nobody sits between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// It is not tried.
    Disable,
    /// It is used where both sides can.
    #[default]
    Prefer,
    /// There is no login without.
    Require,
}

impl Server {
    /// The server at a connection string, with nothing from the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let wrong = |message| vec![Mistake { setting: STORE, message }];
        let string = Parameters::parse(text).map_err(wrong)?;
        Options { string, ..Options::default() }.server()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            hosts: vec![Host { name: "localhost".to_owned(), address: None, port: DEFAULT_PORT }],
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            password: None,
            passfile: None,
            ssl_mode: SslMode::default(),
            tls_files: TlsFiles::default(),
            channel_binding: ChannelBinding::default(),
            application_name: "fluxlimit".to_owned(),
            options: None,
        }
    }
}

impl Host {
    /// The directory of its unix socket, if it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.name.starts_with('/').then(|| Path::new(&self.name))
    }
}

impl SslMode {
    /// Every mode with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl ChannelBinding {
    /// Every value with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("disable", Self::Disable), ("prefer", Self::Prefer), ("require", Self::Require)];
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Postgres at ")?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, ", database `{}`, user `{}`", self.database, self.user)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, port } = self;
        match address {
            Some(address) if name.is_empty() => write!(f, "{}", std::net::SocketAddr::new(*address, *port)),
            _ if name.starts_with('/') => write!(f, "{name}/.s.PGSQL.{port}"),
            _ if name.contains(':') => write!(f, "[{name}]:{port}"),
            _ => write!(f, "{name}:{port}"),
        }
    }
}
