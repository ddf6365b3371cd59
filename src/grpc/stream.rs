//! One HTTP/2 stream: its request as a body, and an answer on its way out.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use tonic::Status;

use super::frame::Reply;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What the client sends after the headers.
#[derive(Debug)]
pub(super) struct Incoming(RecvStream);

impl Incoming {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self(stream)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.0.poll_data(context)).transpose()? {
            // What has ended needs no more room; dropping it gives back what it took of the connection's.
            if !self.0.is_end_stream() {
                self.0.flow_control().release_capacity(data.len())?;
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(self.0.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// What a call is answered.
pub(super) enum Answer {
    /// A message with its prefix, and that all is well.
    Message(Bytes),
    /// Anything else.
    Whole(Response<Reply>),
}

impl From<Result<Bytes, Status>> for Answer {
    fn from(answered: Result<Bytes, Status>) -> Self {
        match answered {
            Ok(message) => Self::Message(message),
            Err(status) => Self::Whole(status.into_http()),
        }
    }
}

/// Sends one message and the trailer that says OK. It is small, so it need not wait for room: h2 keeps what
/// the client's window does not hold.
pub(super) fn send_message(respond: &mut SendResponse<Bytes>, message: Bytes) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// Sends an answer of any kind, as fast as the client takes it.
pub(super) async fn send(respond: &mut SendResponse<Bytes>, answer: Answer) -> Result<(), h2::Error> {
    let (head, body) = match answer {
        Answer::Message(message) => return send_message(respond, message),
        Answer::Whole(answer) => answer.into_parts(),
    };
    let mut body = pin!(body);
    let is_empty = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), is_empty)?;
    if is_empty {
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        };
        match frame.into_data() {
            Ok(data) => send_data(&mut stream, data).await?,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return stream.send_trailers(trailers);
            }
        }
    }
    stream.send_data(Bytes::new(), true)
}

/// Sends `data` piece by piece, as the client's window has room.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => room?,
            // The stream has ended.
            None => return Ok(()),
        };
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}
