//! Who may ask: who has the token; without one, who is no page in somebody's browser.
//!
//! A page can send requests to a listener on this machine, and by a name of its own that leads here it could read
//! the answers. So without a token a request has to name its host by address or as `localhost`, and may not come
//! from a page.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Peer, error};
use crate::store::Password;
use crate::time::Stopwatch;

/// How long after a line about a refused token there is no other, in milliseconds.
const LOG_MS: u64 = 1_000;

/// What has to be brought along.
#[derive(Debug, Clone)]
pub(super) struct Access(Arc<Door>);

#[derive(Debug)]
struct Door {
    token: Option<Password>,
    /// When the log last had a line about a refused token, and how many it has not had since.
    said: Mutex<(Option<Stopwatch>, u64)>,
}

impl Access {
    pub(super) fn new(token: Option<Password>) -> Self {
        Self(Arc::new(Door { token, said: Mutex::default() }))
    }

    /// The token as it is now; `None`: nobody needs one.
    pub(super) async fn token(&self) -> Result<Option<Vec<u8>>, String> {
        match &self.0.token {
            Some(token) => token.read("token").await.map(Some),
            None => Ok(None),
        }
    }

    /// Notes a refused token in the log, unless it had such a line just now.
    fn say(&self, peer: Option<&Peer>) {
        let mut said = self.0.said.lock();
        let (last, left_out) = &mut *said;
        if last.is_some_and(|last| last.elapsed() < Duration::from_millis(LOG_MS)) {
            *left_out += 1;
            return;
        }
        let left_out = std::mem::take(left_out);
        *last = Some(Stopwatch::start());
        drop(said);
        let peer = peer.map(tracing::field::display);
        tracing::warn!(peer, left_out, "a request to admin without the right token was refused");
    }
}

/// Lets a request through that may ask and does not change anything by accident.
pub(super) async fn check(State(access): State<Access>, request: Request<Body>, next: Next) -> Response {
    let headers = request.headers();
    match access.token().await {
        Ok(Some(token)) => {
            if !brings(headers, &token) {
                access.say(request.extensions().get());
                let mut refused = error(
                    StatusCode::UNAUTHORIZED,
                    "expected the header `Authorization: Bearer TOKEN` with the token of this server",
                );
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return refused;
            }
        }
        Ok(None) => {
            if let Err(reason) = is_no_page(headers) {
                return error(StatusCode::FORBIDDEN, reason);
            }
        }
        Err(problem) => {
            tracing::error!(problem, "admin can let nobody in");
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token of this server cannot be read; its log says why",
            );
        }
    }
    // A form of a page can post only what is no JSON.
    if request.method() == Method::POST && !is_json(headers) {
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected `Content-Type: application/json`");
    }
    next.run(request).await
}

/// Whether the headers bring `token`, compared in a time that depends on neither.
fn brings(headers: &HeaderMap, token: &[u8]) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let given = given.split_at_checked("Bearer ".len());
    let Some((_, given)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer ")) else {
        return false;
    };
    Sha256::digest(given.trim_ascii()).ct_eq(&Sha256::digest(token)).into()
}

fn is_no_page(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Err("a page in a browser may ask only with a token");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_address) {
        return Err("without a token the host has to be an address or `localhost`");
    }
    Ok(())
}

/// Whether a host, with or without a port, is an address or the name of this machine for itself.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => address,
        Some((address, port)) if port.starts_with(':') => address,
        Some(_) => return false,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).and_then(|content| content.to_str().ok());
    let kind = content.map(|content| content.split(';').next().unwrap_or(content).trim());
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_this_machine() {
        for host in ["localhost", "LOCALHOST:6070", "127.0.0.1", "127.0.0.1:6070", "[::1]", "[::1]:6070"] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "",
            ":",
            "evil.test",
            "evil.test:6070",
            "localhost.evil.test",
            "[::1].evil.test",
            "127.0.0.1.evil.test",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let check = |header: &[u8]| {
            let value = HeaderValue::from_bytes(header).unwrap();
            brings(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), b"secret")
        };
        for right in [&b"Bearer secret"[..], b"bearer secret", b"Bearer  secret "] {
            assert!(check(right), "{right:?}");
        }
        for wrong in [
            &b""[..],
            b"secret",
            b"Bearer",
            b"Bearer ",
            b"Bearer secre",
            b"Bearer secrets",
            b"Basic secret",
            b"Bearer \xff",
        ] {
            assert!(!check(wrong), "{wrong:?}");
        }
        assert!(!brings(&HeaderMap::new(), b"secret"));
    }
}
