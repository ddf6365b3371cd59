//! gRPC's framing of one message over HTTP/2: a flag, a length, the bytes
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tonic::Status;

use super::unfinished::Unfinished;

/// Length of what stands before a message: one byte of flags, four of length.
pub(super) const PREFIX_BYTES: usize = 5;

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
    #[error("a message of {found} bytes; expected at most {most}")]
    TooLarge { found: usize, most: usize },
    #[error("too many unfinished messages")]
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

/// What of a body is here without waiting.
#[derive(Debug, Default)]
pub(super) struct Received {
    first: Bytes,
}

impl Received {
    /// The message, if all of `body` is here; one of more than `most` bytes is refused.
    pub(super) fn message(&self, body: &impl Body, most: usize) -> Option<Result<Bytes, FrameError>> {
        if !body.is_end_stream() {
            return None;
        }
        Some(match missing_bytes(&self.first, most) {
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
    let mut held = unfinished.begin()?;
    let most = unfinished.max_message_bytes();
    let Received { mut first } = received;
    let mut joined = BytesMut::new();
    let mut missing = missing_bytes(&first, most)?;
    if !body.is_end_stream() {
        held.add(first.len())?;
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| FrameError::CutOff)?.into_data() else { continue };
        let length = data.len();
        if first.is_empty() {
            first = data;
            missing = missing_bytes(&first, most)?;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
            missing = missing_bytes(&joined, most)?;
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
fn missing_bytes(received: &[u8], most: usize) -> Result<Option<usize>, FrameError> {
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
    if length > most {
        return Err(FrameError::TooLarge { found: length, most });
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
    use std::sync::Arc;

    use http_body_util::StreamBody;

    use super::super::settings::Settings;
    use super::*;

    /// Reads a body that arrives in these pieces.
    fn read_pieces(pieces: &[&[u8]]) -> Result<Bytes, FrameError> {
        let frames =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))));
        let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let unfinished = Unfinished::new(&Settings::default(), Arc::default());
        read(Received::default(), body, &unfinished).now_or_never().expect("nothing to wait for")
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
        let most = Settings::default().message_bytes;
        check(&[&[0, 0, 0x10, 0, 1]], FrameError::TooLarge { found: most + 1, most });
        check(&[b"POST /json HTTP/1.1"], FrameError::UnknownFlags { flags: b'P' });
    }

    #[test]
    fn each_error_has_the_code_that_grpc_names() {
        use tonic::Code;
        let code = |error: FrameError| Status::from(error).code();
        assert_eq!(code(FrameError::Compressed), Code::Unimplemented);
        assert_eq!(code(FrameError::TooLarge { found: 1 << 30, most: 1 << 20 }), Code::ResourceExhausted);
        assert_eq!(code(FrameError::NoMessage), Code::Internal);
    }
}
