//! Redis: a place for states that many servers share.

#[expect(dead_code, reason = "the store that connects follows")]
mod connect;
mod eviction;
mod handshake;
mod options;
mod sentinel;
mod settings;
mod tls;
mod url;

pub use eviction::Eviction;
pub use options::{LoginOptions, Mistake, Options};
pub use settings::{
    Address, DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_CONNECTIONS, DEFAULT_KEY_PREFIX, DEFAULT_MAX_WAITING,
    DEFAULT_TIMEOUT_MS, Endpoint, Form, Login, Password, Secret, Sentinel, Settings,
};
pub use tls::{Tls, TlsFiles};
pub use url::{MAX_DATABASE, Url};
