//! Where the admin listener is, for the commands that ask it.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::admin::client::Client;
use crate::store::Password;

/// The arguments of those commands.
#[derive(Debug, Args)]
pub(super) struct Admin {
    /// Where the admin listener is
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6070")]
    admin: String,
    /// File with the token of the admin listener, if it wants one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Admin {
    pub(super) fn client(self, timeout_ms: u64) -> Result<Client, Box<dyn Error>> {
        let token = self.token_file.map(|path| block_on(Password::File(path).read("token"))).transpose()?;
        let token = token.transpose()?;
        Ok(Client { server: self.admin, token, timeout_ms })
    }
}

/// Runs what waits for one answer.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
