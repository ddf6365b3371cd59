//! The first bytes of a connection: does the client speak HTTP/2 at all?
//!
//! hyper would answer a browser's `GET /` with binary frames. So the 24 bytes with which every HTTP/2
//! client begins (RFC 9113, section 3.4) are read here first, and hyper reads them again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What somebody gets who speaks HTTP/1 to this port.
const HTTP1_ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 66\r\n\
    connection: close\r\n\
    \r\n\
    this port speaks gRPC over HTTP/2; plain HTTP is on the other one\n";

/// Most bytes of an HTTP/1 request that are read and thrown away: closing a socket with unread bytes
/// resets it, and the client may never see the answer.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// A connection whose client has begun with the preface.
#[derive(Debug)]
pub(super) struct Greeted<I> {
    /// How much of [`PREFACE`] is still to be read again.
    again: &'static [u8],
    io: I,
}

/// Reads the preface. `None` if the client speaks something else; if that is HTTP/1, it has been told.
pub(super) async fn read<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) -> io::Result<Option<Greeted<I>>> {
    let mut received = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        let more = io.read(&mut received[length..]).await?;
        if more == 0 {
            return Ok(None);
        }
        length += more;
        if !PREFACE.starts_with(&received[..length]) {
            // Every method of HTTP/1 begins with a letter; a TLS client, for example, does not.
            if received[0].is_ascii_alphabetic() {
                refuse(io).await?;
            }
            return Ok(None);
        }
    }
    Ok(Some(Greeted { again: PREFACE, io }))
}

async fn refuse<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) -> io::Result<()> {
    io.write_all(HTTP1_ANSWER).await?;
    io.shutdown().await?;
    tokio::io::copy(&mut io.take(MAX_DISCARDED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

impl<I: AsyncRead + Unpin> AsyncRead for Greeted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.again.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let (now, later) = self.again.split_at(self.again.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.again = later;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Greeted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client receives if it sends these pieces and closes, and whether it was taken for HTTP/2.
    async fn greet(pieces: &[&[u8]]) -> (String, bool) {
        let (mut client, server) = tokio::io::duplex(4096);
        let server = tokio::spawn(read(server));
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        let greeted = server.await.unwrap().unwrap().is_some();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (answer, greeted)
    }

    #[tokio::test]
    async fn the_preface_may_arrive_in_pieces_and_is_read_again() {
        let (mut client, server) = tokio::io::duplex(4096);
        let server = tokio::spawn(read(server));
        client.write_all(&PREFACE[..1]).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(&PREFACE[1..]).await.unwrap();
        client.write_all(b"rest").await.unwrap();
        client.shutdown().await.unwrap();
        let mut again = Vec::new();
        server.await.unwrap().unwrap().unwrap().read_to_end(&mut again).await.unwrap();
        assert_eq!(again, [PREFACE.as_slice(), b"rest"].concat());
    }

    #[tokio::test]
    async fn http1_is_told_what_this_port_speaks() {
        for request in ["GET / HTTP/1.1\r\n\r\n", "PROPFIND / HTTP/1.1\r\n\r\n", "PUT / HTTP/1.0\r\n\r\n"] {
            let (answer, greeted) = greet(&[request.as_bytes()]).await;
            assert!(!greeted);
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 505 "), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", text.len())), "{head}");
            assert!(text.starts_with("this port speaks gRPC"), "{text}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_closed_without_a_word() {
        for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"", b"PRI * H", b"\0\0\0"] {
            assert_eq!(greet(&[bytes]).await, (String::new(), false));
        }
    }
}
