//! How the commands that ask a server speak TLS.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::store::Mistake;
use crate::tls::{ClientFiles, Connector, Protocol};

/// Flags with the names that curl and grpcurl have for them.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsFlags {
    /// Speaks TLS; so does each of the following
    #[arg(long)]
    tls: bool,
    /// Authorities that may have signed the server's certificate [default: those that the system trusts]
    #[arg(long, visible_alias = "ca", value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Certificate to show to the server, and those that lead to its authority
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Whom the server's certificate has to be for [default: the host that is asked]
    #[arg(long, visible_alias = "server-name", value_name = "NAME")]
    servername: Option<String>,
}

impl TlsFlags {
    /// What shakes hands with servers; `None` if TLS is not asked for.
    ///
    /// # Errors
    /// Every file that cannot be used, and why.
    pub(super) fn connector(&self, protocol: Protocol) -> Result<Option<Connector>, Box<dyn Error>> {
        let Self { tls, cacert, cert, key, servername } = self;
        let is_on = *tls || cacert.is_some() || cert.is_some() || servername.is_some();
        if !is_on {
            return Ok(None);
        }
        let files = ClientFiles { ca: cacert.clone(), cert: cert.clone(), key: key.clone() };
        let connector = Connector::open(&files, servername.clone(), protocol).map_err(|mistakes| {
            let lines = mistakes.iter().map(|Mistake { setting, message }| format!("{setting}: {message}"));
            lines.collect::<Vec<_>>().join("\n")
        })?;
        Ok(Some(connector))
    }
}
