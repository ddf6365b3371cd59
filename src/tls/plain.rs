//! Connections that are not to be: how they begin and how they are closed.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first byte of every handshake of TLS.
const HANDSHAKE: u8 = 0x16;

/// What somebody gets who speaks HTTP/1 to this port. Clients of gRPC show it too.
const HTTP1_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 22\r\n\
    connection: close\r\n\
    \r\n\
    this port speaks TLS\r\n";

/// Most bytes of a request that are read and thrown away: closing a socket with unread bytes resets it, and the
/// client may never see the answer.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    Tls,
    /// HTTP, or what looks like it.
    Letter,
    Other,
    /// Closed before it began.
    Nothing,
}

/// Waits for the first byte of a connection, and leaves it there.
pub(super) async fn beginning(stream: &TcpStream) -> io::Result<Beginning> {
    let mut first = [0];
    Ok(match (stream.peek(&mut first).await?, first[0]) {
        (0, _) => Beginning::Nothing,
        (_, HANDSHAKE) => Beginning::Tls,
        (_, byte) if byte.is_ascii_alphabetic() => Beginning::Letter,
        _ => Beginning::Other,
    })
}

/// Tells a client of HTTP/1 what this port speaks.
pub(super) async fn turn_away(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.write_all(HTTP1_ANSWER).await?;
    Ok(stream)
}

/// Closes a connection such that the client reads the last word before it sees the end.
pub(super) async fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_DISCARDED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}
