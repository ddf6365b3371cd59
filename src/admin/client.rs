//! Asks an admin listener, for the command line.

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpStream;

/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct Client {
    /// `HOST:PORT`.
    pub server: String,
    /// The token, if the server wants one.
    pub token: Option<Vec<u8>>,
    /// How long to wait for the answer, in milliseconds.
    pub timeout_ms: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody answers there.
    #[error("cannot ask the admin listener at {server}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// It answered an error.
    #[error("the admin listener at {server} answers {}: {reason}", status.as_u16())]
    Refused {
        /// Where it was asked.
        server: String,
        /// How it answered.
        status: StatusCode,
        /// What it says.
        reason: String,
    },
}

impl Client {
    /// What the page answers; `body` is posted, without one the page is got.
    ///
    /// # Errors
    /// Nobody answers, or not with what was asked for.
    pub async fn ask(&self, page: &str, body: Option<&Json>) -> Result<Json, AdminError> {
        let unreachable = |reason: String| AdminError::Unreachable { server: self.server.clone(), reason };
        let exchange =
            tokio::time::timeout(Duration::from_millis(self.timeout_ms), self.exchange(page, body));
        let exchanged =
            exchange.await.map_err(|_| unreachable(format!("no answer in {} ms", self.timeout_ms)))?;
        let (status, text) = exchanged.map_err(|error| unreachable(error.to_string()))?;
        let answer = serde_json::from_slice::<Json>(&text);
        if status.is_success() {
            return answer.map_err(|_| unreachable("it answers no JSON; is that the right port?".to_owned()));
        }
        let reason = answer.ok().and_then(|answer| Some(answer.get("error")?.as_str()?.to_owned()));
        let Some(reason) = reason else {
            return Err(unreachable(format!("it answers {}; is that the right port?", status.as_u16())));
        };
        Err(AdminError::Refused { server: self.server.clone(), status, reason })
    }

    async fn exchange(
        &self,
        page: &str,
        body: Option<&Json>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.server).await?;
        // The address that was reached: without a token the server takes no name of a host but `localhost`.
        let host = stream.peer_addr()?.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(page)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, [b"Bearer ", &token[..]].concat());
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        let text = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
        connection.abort();
        Ok((status, text))
    }
}
