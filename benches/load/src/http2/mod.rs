//! The client's side of HTTP/2 (RFC 9113), as far as unary calls over cleartext need it.

mod connection;
mod frame;
mod hpack;

pub use connection::{Connection, Ended, Outcome};
