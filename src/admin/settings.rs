//! Where the admin listener is, and who may use it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::connections::{Beyond, Bounds};
use crate::store::{Mistake, Password, Secret};
use crate::yaml::Message;

/// Where it listens unless settings say otherwise: the port of the reference's debug pages, on this machine only.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6070);

/// Somebody with a shell, and a dashboard.
const MAX_CONNECTIONS: usize = 16;

/// How long requests in flight may take to finish after the stop, in milliseconds: longer than a store may.
const STOP_MS: u64 = 1_000;

/// Settings of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub address: Address,
    /// What a request has to bring along.
    pub token: Option<Secret>,
    /// The file that holds the token alone; it is read for each request.
    pub token_file: Option<PathBuf>,
    /// Whether others than this machine may use it without a token.
    pub without_token: bool,
    /// Bounds of the listener.
    pub bounds: Bounds,
}

/// Where the admin listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// There. If [`DEFAULT_ADDRESS`] is taken it is nowhere: another server on the machine is no reason not to start.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: Address::At(DEFAULT_ADDRESS),
            token: None,
            token_file: None,
            without_token: false,
            bounds: Bounds { connections: MAX_CONNECTIONS, beyond: Beyond::Replaces, stop_ms: STOP_MS },
        }
    }
}

impl Settings {
    /// What a request has to bring along; `None`: nothing.
    #[must_use]
    pub fn expected_token(&self) -> Option<Password> {
        let file = self.token_file.clone().map(Password::File);
        self.token.clone().map(Password::Text).or(file)
    }

    /// What does not go together.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.token.is_some() && self.token_file.is_some() {
            let message = Message::new("there is an `admin.token` as well").expected("one of the two");
            mistakes.push(Mistake { setting: "admin.token_file", message });
        }
        if let Address::At(address) = self.address
            && !address.ip().is_loopback()
            && self.expected_token().is_none()
            && !self.without_token
        {
            let message =
                Message::new(format!("others than this machine reach `{address}`, and there is no token"))
                    .expected("`admin.token_file`, or an address such as `127.0.0.1:6070`")
                    .hint("`admin.without_token: true` lets everybody in who reaches it");
            mistakes.push(Mistake { setting: "admin.address", message });
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_than_this_machine_need_a_token() {
        let check = |address: &str, token: bool, without_token: bool, expected: usize| {
            let token = token.then(|| Secret::new("x"));
            let address = Address::At(address.parse().unwrap());
            let settings = Settings { address, token, without_token, ..Settings::default() };
            assert_eq!(settings.mistakes().len(), expected, "{settings:?}");
        };
        check("127.0.0.9:1", false, false, 0);
        check("[::1]:1", false, false, 0);
        check("0.0.0.0:1", false, false, 1);
        check("[::]:1", false, false, 1);
        check("10.0.0.1:1", true, false, 0);
        check("10.0.0.1:1", false, true, 0);
    }
}
