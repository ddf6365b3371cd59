//! How a listener speaks TLS, as settings say it.

use std::path::PathBuf;

use super::AllowedName;
use crate::store::Mistake;
use crate::yaml::Message;

/// How long a handshake may take unless settings say otherwise, in milliseconds: as long as Envoy waits for a
/// connection, so whoever waits longer has been given up.
const DEFAULT_HANDSHAKE_TIMEOUT_MS: u64 = 5_000;

/// Handshakes that are worked on at once unless settings say otherwise. Each holds a place for one round trip, so
/// this is far above what a fleet that connects anew needs.
const DEFAULT_MAX_HANDSHAKES: usize = 1_024;

/// What a listener, and those of its settings that are talked about, are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Of the listener in metrics and in the log.
    pub listener: &'static str,
    /// Of the setting for the chain of certificates.
    pub cert_file: &'static str,
    /// Of the setting for the key.
    pub key_file: &'static str,
    /// Of the setting for the authorities of clients.
    pub client_ca_file: &'static str,
    /// Of the setting for the names of clients.
    pub client_sans: &'static str,
    /// Of the setting for the file with names of clients.
    pub client_sans_file: &'static str,
}

/// The names of the listener `$listener`, whose settings stand below `$group`.
macro_rules! names {
    ($listener:literal, $group:literal) => {
        Names {
            listener: $listener,
            cert_file: concat!($group, ".cert_file"),
            key_file: concat!($group, ".key_file"),
            client_ca_file: concat!($group, ".client_ca_file"),
            client_sans: concat!($group, ".client_sans"),
            client_sans_file: concat!($group, ".client_sans_file"),
        }
    };
}

/// The listener of gRPC.
pub const GRPC: Names = names!("grpc", "grpc_tls");

/// The listener of HTTP.
pub const HTTP: Names = names!("http", "http_tls");

/// The listener of operators.
pub const ADMIN: Names = names!("admin", "admin_tls");

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinVersion {
    /// The names of both in settings.
    pub const ALL: [(&'static str, Self); 2] = [("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

/// How a listener speaks TLS; plain, unless a certificate is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The certificate to show, and those that lead from it to its authority.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub key_file: Option<PathBuf>,
    /// The authorities that sign clients; `None`: clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
    /// The clients that may connect, with those of the file; all that the authorities sign, if there is neither.
    pub client_sans: Vec<AllowedName>,
    /// A file with a name on each line.
    pub client_sans_file: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    pub min_version: MinVersion,
    /// How long a handshake may take, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Handshakes that are worked on at once.
    pub max_handshakes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            client_sans: Vec::new(),
            client_sans_file: None,
            min_version: MinVersion::Tls12,
            handshake_timeout_ms: DEFAULT_HANDSHAKE_TIMEOUT_MS,
            max_handshakes: DEFAULT_MAX_HANDSHAKES,
        }
    }
}

impl Settings {
    /// Whether the listener is to speak TLS.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }

    /// Every file that is named.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file, &self.client_sans_file];
        files.into_iter().flatten().cloned().collect()
    }

    /// What is missing: whoever names some of it believes that the listener is protected.
    #[must_use]
    pub fn mistakes(&self, names: &Names) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut needs = |is_set: bool, setting: &'static str, other: &'static str, is_there: bool| {
            if is_set && !is_there {
                mistakes.push(Mistake { setting, message: Message::new(format!("`{other}` is missing")) });
            }
        };
        let (cert, key, ca) =
            (self.cert_file.is_some(), self.key_file.is_some(), self.client_ca_file.is_some());
        needs(cert, names.cert_file, names.key_file, key);
        needs(key, names.key_file, names.cert_file, cert);
        needs(ca, names.client_ca_file, names.cert_file, cert);
        needs(!self.client_sans.is_empty(), names.client_sans, names.client_ca_file, ca);
        needs(self.client_sans_file.is_some(), names.client_sans_file, names.client_ca_file, ca);
        mistakes
    }
}
