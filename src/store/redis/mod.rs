//! Redis: a place for states that many servers share.

pub mod cluster;
mod connect;
mod driver;
mod eviction;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handshake;
mod options;
mod refusal;
mod reply;
mod script;
mod sentinel;
mod settings;
mod state;
mod store;
mod tls;
mod url;
mod work;

pub use eviction::Eviction;
pub use options::{LoginOptions, Options};
pub use settings::{
    Address, DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_CONNECTIONS, DEFAULT_KEY_PREFIX, DEFAULT_MAX_WAITING,
    DEFAULT_TIMEOUT_MS, Endpoint, Form, Login, Sentinel, Settings,
};
pub use store::RedisStore;
pub use tls::{Tls, TlsFiles};
pub use url::{MAX_DATABASE, Url};
