//! What a login takes, read from files at the moment of connecting, so that what is renewed there is used.

use std::io;
use std::path::Path;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::PASSWORD_FILE;
use super::pgpass::{self, Wanted};
use super::server::{Host, Server, SslMode};
use crate::store::files::read_bounded;
use crate::store::{Mistake, Password};
use crate::yaml::{Message, quoted};

/// Largest file with passwords, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The rights of everybody but the owner of a file.
const OTHERS: u32 = 0o077;

/// Where a unix socket is so usual that password files call it `localhost`.
const USUAL_SOCKETS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// The files of a server, read.
pub(super) struct Login {
    tls: Option<MakeRustlsConnect>,
    /// The password for all hosts.
    password: Option<String>,
    /// The text of the password file.
    passwords: Option<String>,
    /// Why the password file is not used.
    unused: Option<String>,
}

impl Login {
    /// Reads the files of `server`.
    ///
    /// # Errors
    /// Why one of them cannot be used.
    pub(super) async fn read(server: &Server) -> Result<Self, String> {
        let server = server.clone();
        let reading = tokio::task::spawn_blocking(move || Self::read_now(&server));
        reading.await.unwrap_or_else(|_| Err("reading the files of the login failed".to_owned()))
    }

    fn read_now(server: &Server) -> Result<Self, String> {
        let told = |mistakes: Vec<Mistake>| {
            let lines: Vec<String> =
                mistakes.iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message)).collect();
            lines.join("; ")
        };
        let tls = (server.ssl_mode != SslMode::Disable).then(|| server.tls_files.load(server.ssl_mode));
        let tls = tls.transpose().map_err(told)?.map(MakeRustlsConnect::new);
        let password = match &server.password {
            Some(Password::Text(secret)) => Some(secret.reveal().to_owned()),
            Some(Password::File(path)) => Some(password_in(path).map_err(|mistake| told(vec![mistake]))?),
            None => None,
        };
        let (passwords, unused) = match (&password, &server.passfile) {
            (None, Some(path)) => passwords_in(path),
            _ => (None, None),
        };
        Ok(Self { tls, password, passwords, unused })
    }

    /// What begins TLS, unless there shall be none.
    pub(super) fn tls(&self) -> Option<&MakeRustlsConnect> {
        self.tls.as_ref()
    }

    /// The password at `host`.
    pub(super) fn password(&self, server: &Server, host: &Host) -> Option<String> {
        if self.password.is_some() {
            return self.password.clone();
        }
        let address = host.address.map(|address| address.to_string()).unwrap_or_default();
        let name = if host.name.is_empty() { address.as_str() } else { &host.name };
        let also = if USUAL_SOCKETS.contains(&name) { "localhost" } else { name };
        let (port, database, user) = (host.port, server.database.as_str(), server.user.as_str());
        pgpass::password(self.passwords.as_ref()?, &Wanted { hosts: &[name, also], port, database, user })
    }

    /// Why there is no connection, and what about the password may be the cause.
    pub(super) fn explained(&self, why: String, error: &Error) -> String {
        let missing = error.as_db_error().is_none() && why.ends_with("password missing");
        if missing || error.code() == Some(&SqlState::INVALID_PASSWORD) {
            let why =
                if missing { "the server asks for a password, and there is none".to_owned() } else { why };
            return match &self.unused {
                Some(unused) => format!("{why}; {unused}"),
                None => why,
            };
        }
        why
    }
}

impl Server {
    /// What is wrong with the files that are read at each connection, told before the first.
    pub(super) fn mistakes_in_files(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.ssl_mode != SslMode::Disable {
            mistakes.extend(self.tls_files.load(self.ssl_mode).err().into_iter().flatten());
        }
        if let Some(Password::File(path)) = &self.password {
            mistakes.extend(password_in(path).err());
        }
        mistakes
    }
}

/// The password that a file holds alone.
fn password_in(path: &Path) -> Result<String, Mistake> {
    let wrong = |what: &str| {
        let message = Message::new(format!("{} {what}", quoted(&path.display().to_string())));
        Mistake { setting: PASSWORD_FILE, message }
    };
    let text = text_of(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(wrong("is empty")) } else { Ok(text.to_owned()) }
}

/// The text of a password file in libpq's form, or why it is not used. One that is not there is no mistake.
fn passwords_in(path: &Path) -> (Option<String>, Option<String>) {
    let shown = quoted(&path.display().to_string());
    match is_private(path) {
        Ok(true) => {}
        Ok(false) => {
            let unused =
                format!("the password file {shown} is not used, since others than its owner may use it");
            return (None, Some(unused));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, None),
        Err(error) => return (None, Some(format!("the password file {shown} cannot be read: {error}"))),
    }
    match text_of(path) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(format!("the password file {shown} cannot be read: {error}"))),
    }
}

/// As libpq wants it: nobody but its owner may do anything with it.
fn is_private(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let of_others = about.permissions().mode() & OTHERS;
    Ok(of_others == 0)
}

fn text_of(path: &Path) -> io::Result<String> {
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests;
