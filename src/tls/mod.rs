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
pub use settings::{ADMIN, GRPC, HTTP, MinVersion, Names, Settings};

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
pub struct Socket {
    /// Where they connect.
    pub tcp: TcpListener,
    /// What shakes hands; `None` where connections are plain.
    pub tls: Option<Arc<Acceptor>>,
}

impl Protocol {
    /// Its name in ALPN.
    pub(crate) fn alpn(self) -> Vec<u8> {
        match self {
            Self::Grpc => b"h2".to_vec(),
            Self::Http => b"http/1.1".to_vec(),
        }
    }
}

/// A plain one.
impl From<TcpListener> for Socket {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}
