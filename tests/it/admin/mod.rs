//! The admin listener of real servers.

mod access;
mod commands;
mod keys;
mod pages;
mod resets;

use std::net::SocketAddr;

use hyper::Method;
use serde_json::{Value as Json, json};

use crate::support::{Answer, Client};

/// Somebody who asks an admin listener.
struct Operator {
    address: SocketAddr,
}

impl Operator {
    async fn send(&self, method: Method, page: &str, headers: &[(&str, &[u8])], body: String) -> Answer {
        let host = self.address.to_string();
        let mut all: Vec<(&str, &[u8])> = vec![("host", host.as_bytes())];
        all.extend(headers);
        let answer = Client::new(self.address).send(method, page, &all, body.into()).await;
        answer.expect("the admin listener answers")
    }

    async fn get(&self, page: &str) -> Json {
        let answer = self.send(Method::GET, page, &[], String::new()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Posts JSON: the status and the answer.
    async fn post(&self, page: &str, body: Json) -> (u16, Json) {
        let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
        let answer = self.send(Method::POST, page, &headers, body.to_string()).await;
        (answer.status.as_u16(), serde_json::from_str(&answer.body).unwrap())
    }

    /// What a page answers that changes or looks, which has to succeed.
    async fn done(&self, page: &str, body: Json) -> Json {
        let (status, answer) = self.post(page, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// A request about one entry in the domain `edge`.
fn about(key: &str, value: &str) -> Json {
    json!({ "domain": "edge", "descriptors": [{ "entries": [{ "key": key, "value": value }] }] })
}
