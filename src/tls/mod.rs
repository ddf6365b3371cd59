//! TLS of the listeners: certificates that may change while connections are open, and clients that are known by
//! theirs.
//!
//! A connection shakes hands inside its own task, before it speaks its protocol. A plain listener pays nothing: what
//! it serves is compiled without any of this.

use std::sync::Arc;

use tokio::net::TcpListener;

mod acceptor;
mod client;
mod clients;
mod load;
mod names;
mod plain;
mod settings;

pub use acceptor::{Acceptor, Stream};
pub use client::{ClientFiles, Connector};
pub use names::{AllowedName, MAX_NAMES};
pub use settings::{GRPC, HTTP, MinVersion, Names, Settings};

/// What is spoken on a listener, for clients that ask which of several it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, over HTTP/2 alone.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// Where clients connect, and how connections are protected.
#[derive(Debug)]
pub struct Listener {
    /// Where they connect.
    pub tcp: TcpListener,
    /// What shakes hands; `None` where connections are plain.
    pub tls: Option<Arc<Acceptor>>,
}

/// A plain one.
impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}
