//! gRPC's framing of one message over HTTP/2: a flag, a length, the bytes
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tonic::Status;

/// Largest message, in bytes. Envoy's are below 1 KiB unless a header of the request is huge.
pub(super) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Most bytes of unfinished messages that one connection may make the server hold: without it, 4,096
/// streams that each stop one byte short of 1 MiB would hold 4 GiB.
const MAX_HELD_BYTES: usize = 4 * MAX_MESSAGE_BYTES;

/// Length of what stands before a message: one byte of flags, four of length.
const PREFIX_BYTES: usize = 5;

/// Why no message could be read. The code of each is the one that gRPC's specification names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the request ended without a message")]
    NoMessage,
    #[error("the request ended {missing} bytes before the end of its message")]
    Short { missing: usize },
    #[error("{extra} bytes after the end of the message; expected one message")]
    Extra { extra: usize },
    #[error("the message is compressed; expected grpc-encoding identity")]
    Compressed,
    #[error("unknown flags {flags} before the message; expected 0")]
    UnknownFlags { flags: u8 },
    #[error("a message of {found} bytes; expected at most {MAX_MESSAGE_BYTES}")]
    TooLarge { found: usize },
    #[error("too many unfinished messages on this connection")]
    TooManyUnfinished,
    #[error("the request was cut off")]
    CutOff,
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Self {
        let message = error.to_string();
        match error {
            FrameError::Compressed => {
                let mut status = Self::unimplemented(message);
                let identity = tonic::metadata::MetadataValue::from_static("identity");
                status.metadata_mut().insert("grpc-accept-encoding", identity);
                status
            }
            FrameError::TooLarge { .. } | FrameError::TooManyUnfinished => Self::resource_exhausted(message),
            FrameError::CutOff => Self::cancelled(message),
            FrameError::NoMessage
            | FrameError::Short { .. }
            | FrameError::Extra { .. }
            | FrameError::UnknownFlags { .. } => Self::internal(message),
        }
    }
}

/// Counts the bytes of unfinished messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Unfinished(AtomicUsize);

/// What one stream holds; given back when dropped.
struct Held<'a> {
    unfinished: &'a Unfinished,
    bytes: usize,
}

impl Held<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), FrameError> {
        let before = self.unfinished.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > MAX_HELD_BYTES { Err(FrameError::TooManyUnfinished) } else { Ok(()) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.unfinished.0.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// What of a body is here without waiting.
#[derive(Debug, Default)]
pub(super) struct Received {
    first: Bytes,
}

impl Received {
    /// The message, if all of `body` is here.
    pub(super) fn message(&self, body: &impl Body) -> Option<Result<Bytes, FrameError>> {
        if !body.is_end_stream() {
            return None;
        }
        Some(match missing_bytes(&self.first) {
            Err(error) => Err(error),
            Ok(None) => Err(FrameError::NoMessage),
            Ok(Some(0)) => Ok(self.first.slice(PREFIX_BYTES..)),
            Ok(Some(missing)) => Err(FrameError::Short { missing }),
        })
    }
}

/// The first piece of `body`, if it is here. Envoy's messages come in one.
pub(super) fn received<B>(body: &mut B) -> Received
where
    B: Body<Data = Bytes> + Unpin,
{
    match body.frame().now_or_never() {
        Some(Some(Ok(frame))) => Received { first: frame.into_data().unwrap_or_default() },
        // An error is found again when the body is read on.
        _ => Received::default(),
    }
}

/// The bytes of the one message in `body`, after what was `received` of it. They are a slice of the received
/// frame if the message came in one. A message that breaks a rule is refused as soon as that is known, unread.
pub(super) async fn read<B>(
    received: Received,
    mut body: B,
    unfinished: &Unfinished,
) -> Result<Bytes, FrameError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut held = Held { unfinished, bytes: 0 };
    let Received { mut first } = received;
    let mut joined = BytesMut::new();
    let mut missing = missing_bytes(&first)?;
    if !body.is_end_stream() {
        held.add(first.len())?;
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| FrameError::CutOff)?.into_data() else { continue };
        let length = data.len();
        if first.is_empty() {
            first = data;
            missing = missing_bytes(&first)?;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
            missing = missing_bytes(&joined)?;
        }
        if body.is_end_stream() {
            break;
        }
        held.add(length)?;
    }
    match missing {
        None => Err(FrameError::NoMessage),
        Some(0) if joined.is_empty() => Ok(first.split_off(PREFIX_BYTES)),
        Some(0) => Ok(joined.split_off(PREFIX_BYTES).freeze()),
        Some(missing) => Err(FrameError::Short { missing }),
    }
}

/// How many bytes are missing from the message that `received` begins with; `None` if nothing was received.
fn missing_bytes(received: &[u8]) -> Result<Option<usize>, FrameError> {
    match received.first() {
        None => return Ok(None),
        Some(0) => {}
        Some(1) => return Err(FrameError::Compressed),
        Some(&flags) => return Err(FrameError::UnknownFlags { flags }),
    }
    let Some((&[_, a, b, c, d], message)) = received.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(Some(PREFIX_BYTES - received.len()));
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE_BYTES {
        return Err(FrameError::TooLarge { found: length });
    }
    match length.checked_sub(message.len()) {
        Some(missing) => Ok(Some(missing)),
        None => Err(FrameError::Extra { extra: message.len() - length }),
    }
}

/// The body of an answer that is not one message.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing more.
    End,
    /// Text for somebody who does not speak gRPC.
    Text(&'static str),
    /// What one of tonic's services answers.
    Tonic(tonic::body::Body),
}

/// An error is sent in the headers alone, with no body.
impl Default for Reply {
    fn default() -> Self {
        Self::End
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Self::End => Poll::Ready(None),
            Self::Text(text) => {
                let text = Bytes::from_static(text.as_bytes());
                *self = Self::End;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Self::Tonic(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::End => true,
            Self::Tonic(body) => body.is_end_stream(),
            Self::Text(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;

    use super::*;

    /// Reads a body that arrives in these pieces.
    fn read_pieces(pieces: &[&[u8]]) -> Result<Bytes, FrameError> {
        let frames =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))));
        let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let unfinished = Unfinished::default();
        let read = read(Received::default(), body, &unfinished).now_or_never().expect("nothing to wait for");
        assert_eq!(unfinished.0.into_inner(), 0, "everything held is given back");
        read
    }

    #[test]
    fn a_message_may_arrive_in_any_pieces() {
        let frame = [0, 0, 0, 0, 3, b'a', b'b', b'c'];
        assert_eq!(read_pieces(&[&frame]).unwrap(), "abc");
        assert_eq!(read_pieces(&frame.iter().map(std::slice::from_ref).collect::<Vec<_>>()).unwrap(), "abc");
        assert_eq!(read_pieces(&[&[], &frame[..5], &[], &frame[5..], &[]]).unwrap(), "abc");
        assert_eq!(read_pieces(&[&[0; 5]]).unwrap(), "");
    }

    #[test]
    fn a_broken_frame_is_refused_with_what_is_wrong() {
        let check = |pieces: &[&[u8]], expected: FrameError| assert_eq!(read_pieces(pieces), Err(expected));
        check(&[], FrameError::NoMessage);
        check(&[&[]], FrameError::NoMessage);
        check(&[&[0, 0, 0]], FrameError::Short { missing: 2 });
        check(&[&[0, 0, 0, 0, 9, 1]], FrameError::Short { missing: 8 });
        check(&[&[0, 0, 0, 0, 1, 1, 0]], FrameError::Extra { extra: 1 });
        check(&[&[0, 0, 0, 0, 0], &[0, 0, 0, 0, 0]], FrameError::Extra { extra: 5 });
        check(&[&[1, 0, 0, 0, 0]], FrameError::Compressed);
        check(&[&[7]], FrameError::UnknownFlags { flags: 7 });
        check(&[&[0, 0, 0x10, 0, 1]], FrameError::TooLarge { found: MAX_MESSAGE_BYTES + 1 });
        check(&[b"POST /json HTTP/1.1"], FrameError::UnknownFlags { flags: b'P' });
    }

    #[test]
    fn each_error_has_the_code_that_grpc_names() {
        use tonic::Code;
        let code = |error: FrameError| Status::from(error).code();
        assert_eq!(code(FrameError::Compressed), Code::Unimplemented);
        assert_eq!(code(FrameError::TooLarge { found: 1 << 30 }), Code::ResourceExhausted);
        assert_eq!(code(FrameError::NoMessage), Code::Internal);
    }

    #[test]
    fn a_connection_can_hold_only_so_many_unfinished_bytes() {
        let unfinished = Unfinished::default();
        let mut held: Vec<_> = (0..4).map(|_| Held { unfinished: &unfinished, bytes: 0 }).collect();
        for held in &mut held {
            assert_eq!(held.add(MAX_MESSAGE_BYTES), Ok(()));
        }
        assert_eq!(held[0].add(1), Err(FrameError::TooManyUnfinished));
        drop(held);
        assert_eq!(unfinished.0.load(Ordering::Relaxed), 0);
    }
}
