//! The span of asking a store that is far away, as one request sees it.
//!
//! One exchange with the store carries many requests, of as many traces. A span that belongs to one of them and
//! is linked to the others would be missing in all but one, so each has a span of its own, from handing over its
//! settlement to the answer, which says how many went together and how long it waited to be sent.

use opentelemetry::trace::{Span as _, SpanKind, Status};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

use super::Tracer;
use crate::engine::Outcome;
use crate::store::StoreError;
use crate::store::queue::Exchange;
use crate::time::Stopwatch;

/// A store that is far away, in the words of the conventions for databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `redis` or `postgresql`.
    pub system: &'static str,
    /// What is run there.
    pub operation: &'static str,
    /// The database, if it is known.
    pub namespace: Option<String>,
    /// The table, if there is one.
    pub collection: Option<String>,
    /// Where it is, as the settings say.
    pub address: Option<String>,
    /// On which port.
    pub port: Option<u16>,
}

/// The span of one request to a store.
#[derive(Debug)]
pub struct StoreSpan {
    span: Span,
    since: Stopwatch,
}

impl Backend {
    /// The name of its spans: the operation and its target.
    fn name(&self) -> String {
        match (&self.collection, &self.address, self.port) {
            (Some(table), _, _) => format!("{} {table}", self.operation),
            (None, Some(address), Some(port)) => format!("{} {address}:{port}", self.operation),
            (None, Some(address), None) => format!("{} {address}", self.operation),
            (None, None, _) => self.operation.to_owned(),
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let texts = [
            ("db.namespace", &self.namespace),
            ("db.collection.name", &self.collection),
            ("server.address", &self.address),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text.clone()?)));
        let port = self.port.map(|port| KeyValue::new("server.port", i64::from(port)));
        [KeyValue::new("db.system.name", self.system), KeyValue::new("db.operation.name", self.operation)]
            .into_iter()
            .chain(texts)
            .chain(port)
            .collect()
    }
}

impl StoreSpan {
    pub(super) fn new(tracer: &Tracer, parent: &Context) -> Self {
        let (name, attributes) = match &tracer.backend {
            Some(backend) => (backend.name(), backend.attributes()),
            None => ("settle".to_owned(), Vec::new()),
        };
        Self { span: tracer.start(name, SpanKind::Client, parent, attributes), since: Stopwatch::start() }
    }

    /// Ends it with what the store answered, and with what carried the answer, if that is known.
    pub fn end(mut self, outcome: &Result<Outcome, StoreError>, exchange: Option<&Exchange>) {
        if let Some(Exchange { since, settlements }) = exchange {
            // By the conventions, one alone is no batch.
            if *settlements > 1 {
                let size = i64::try_from(*settlements).unwrap_or(i64::MAX);
                self.span.set_attribute(KeyValue::new("db.operation.batch.size", size));
            }
            let waited = self.since.elapsed().saturating_sub(since.elapsed());
            let waited_us = i64::try_from(waited.as_micros()).unwrap_or(i64::MAX);
            self.span.set_attribute(KeyValue::new("fluxlimit.store.waited_us", waited_us));
        }
        if let Err(error) = outcome {
            self.span.set_attribute(KeyValue::new("error.type", error.kind()));
            self.span.set_status(Status::error(error.to_string()));
        }
        self.span.end();
    }
}
