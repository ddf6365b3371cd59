//! A stream whose other end has only so much time to take an answer.
//!
//! Who never reads costs its connection and what is left of the answer, which may be megabytes of metrics.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::connections::Place;

/// The stream of the connection at `place`.
#[derive(Debug)]
pub(super) struct Patient<I> {
    io: I,
    place: Place,
    patience_ms: u64,
    /// Since when the client takes an answer slowly, and to which request it is. Counted from the first time that
    /// a write has to wait, through all writes of the answer: a client that takes a byte now and then is no better.
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<I> Patient<I> {
    /// Gives the client `patience_ms` milliseconds for each answer. Requests are told to `place`.
    pub(super) fn new(io: I, place: Place, patience_ms: u64) -> Self {
        Self { io, place, patience_ms, waiting: None }
    }

    fn within_patience<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let request = self.place.last_use();
        if self.waiting.as_ref().is_none_or(|(of, _)| *of != request) {
            self.waiting = Some((request, Box::pin(sleep(Duration::from_millis(self.patience_ms)))));
        }
        let is_over = self.waiting.as_mut().is_some_and(|(_, over)| over.as_mut().poll(context).is_ready());
        if is_over {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the answer was not taken in time",
            )));
        }
        Poll::Pending
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.within_patience(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.within_patience(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.within_patience(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.within_patience(context, shut)
    }
}
