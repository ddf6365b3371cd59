//! A rate-limit server that decides nothing: what answering costs when deciding is free.
//!
//! hyper's HTTP/2 on the ordinary multi-thread runtime, with every stream polled inside its connection's own
//! task. It decodes each request and answers a fixed OK.

use bytes::{Bytes, BytesMut};
use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `overall_code: OK` and one status `code: OK`, with the gRPC prefix.
const ANSWER: &[u8] = &[0, 0, 0, 0, 6, 0x08, 1, 0x12, 2, 0x08, 1];
const PREFIX: usize = 5;

#[derive(Debug, Parser)]
struct Options {
    /// Where to listen; the chosen address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // In a task of its own, so that accepting runs on a worker like everything else.
    runtime.block_on(async move { tokio::spawn(serve(options.addr)).await? })
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening grpc={}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(connection(socket));
    }
}

async fn connection(socket: TcpStream) {
    let streams = Streams::default();
    let service = hyper::service::service_fn(answer);
    let connection = hyper::server::conn::http2::Builder::new(streams.clone())
        .serve_connection(TokioIo::new(socket), service);
    streams.drive(connection).await;
}

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes a connection's streams, to be polled inside the connection's own task.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<Vec<Stream>>>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        let stream = Box::pin(async move {
            stream.await;
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }
}

impl Streams {
    /// Polls the connection and its streams until the connection ends.
    async fn drive(self, connection: impl Future) {
        let mut connection = pin!(connection);
        let mut running: FuturesUnordered<Stream> = FuturesUnordered::new();
        poll_fn(|context| {
            loop {
                if connection.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                let mut has_moved = false;
                for stream in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                    running.push(stream);
                    has_moved = true;
                }
                while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {
                    has_moved = true;
                }
                if !has_moved {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Answer>, Infallible> {
    let body = read(request.into_body()).await;
    if let Some(message) = body.get(PREFIX..)
        && let Ok(decoded) = RateLimitRequest::decode(message)
    {
        std::hint::black_box(&decoded);
    }
    let mut response = http::Response::new(Answer::Message);
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    Ok(response)
}

/// The whole body, copied only if it came in parts.
async fn read(mut body: Incoming) -> Bytes {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(part) = frame.into_data() else { continue };
        if first.is_empty() {
            first = part;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&part);
        }
    }
    if joined.is_empty() { first } else { joined.freeze() }
}

/// The answer's body: what comes next.
enum Answer {
    Message,
    Trailers,
    End,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (frame, next) = match *self {
            Self::Message => (Some(Ok(Frame::data(Bytes::from_static(ANSWER)))), Self::Trailers),
            Self::Trailers => {
                let mut trailers = http::HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                (Some(Ok(Frame::trailers(trailers))), Self::End)
            }
            Self::End => (None, Self::End),
        };
        *self = next;
        Poll::Ready(frame)
    }
}
