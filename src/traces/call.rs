//! The span of one call, and what it is made of.

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};

use super::{StoreSpan, Tracer};
use crate::engine::{Code, Decision, Matched, Question};
use crate::request::{Descriptor, Request};
use crate::store::StoreError;

/// The most descriptors that a span tells something of.
const MAX_TOLD: usize = 16;

/// The most bytes of one descriptor that are told.
const MAX_TOLD_BYTES: usize = 256;

/// The span of a call to a front. Dropping it before its end says that the caller has gone.
#[derive(Debug)]
pub struct CallSpan {
    tracer: Arc<Tracer>,
    context: Context,
    has_ended: bool,
}

impl CallSpan {
    pub(super) fn new(
        tracer: Arc<Tracer>,
        name: String,
        parent: &Context,
        attributes: Vec<KeyValue>,
    ) -> Self {
        let span = tracer.start(name, SpanKind::Server, parent, attributes);
        Self { context: Context::new().with_span(span), tracer, has_ended: false }
    }

    /// What log lines carry that are written meanwhile.
    #[must_use]
    pub fn log(&self) -> tracing::Span {
        let span = self.context.span();
        let ids = span.span_context();
        // As an error, since a line of any level is to have it.
        tracing::error_span!("call", trace_id = %ids.trace_id(), span_id = %ids.span_id())
    }

    /// Matches `request` in a span of its own.
    pub fn matching<'r>(&self, request: &Request, question: impl FnOnce() -> Question<'r>) -> Question<'r> {
        let mut span = self.tracer.start("match", SpanKind::Internal, &self.context, Vec::new());
        let question = question();
        for attribute in told(request, &question, self.tracer.tells_values) {
            span.set_attribute(attribute);
        }
        span.end();
        question
    }

    /// The span of asking a store that is far away.
    #[must_use]
    pub fn asking(&self) -> StoreSpan {
        StoreSpan::new(&self.tracer, &self.context)
    }

    /// The store was not asked: what it refused a moment ago is known.
    pub fn remembered(&self) {
        self.set("fluxlimit.answered_by", "local_cache");
    }

    /// The store did not answer, so `on_store_failure` does.
    pub fn unanswered(&self, error: &StoreError) {
        self.set("fluxlimit.answered_by", "on_store_failure");
        self.set("fluxlimit.store.error", error.kind());
    }

    /// What was decided.
    pub fn decided(&self, decision: &Decision) {
        self.set("fluxlimit.code", code(decision.code));
    }

    /// Ends it with the status of gRPC of that name. `failure` is what went wrong on this side.
    pub fn end_rpc(mut self, status: &'static str, failure: Option<String>) {
        self.set("rpc.response.status_code", status);
        self.end(status, failure);
    }

    /// Ends it with that status of HTTP.
    pub fn end_http(mut self, status: u16) {
        self.set("http.response.status_code", i64::from(status));
        let failure = (status >= 500).then(String::new);
        self.end(status.to_string(), failure);
    }

    fn set(&self, name: &'static str, value: impl Into<Value>) {
        self.context.span().set_attribute(KeyValue::new(name, value));
    }

    fn end(&mut self, kind: impl Into<Value>, failure: Option<String>) {
        if let Some(reason) = failure {
            self.set("error.type", kind);
            self.context.span().set_status(Status::error(reason));
        }
        self.context.span().end();
        self.has_ended = true;
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let (kind, failure) = if std::thread::panicking() {
            ("panic", Some("the call ended in a panic".to_owned()))
        } else {
            ("cancelled", None)
        };
        self.set("fluxlimit.ended", kind);
        self.end(kind, failure);
    }
}

const fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::OverLimit => "over_limit",
    }
}

/// What is told of a request: words of rule files, and those of clients only with `values`.
fn told(request: &Request, question: &Question<'_>, values: bool) -> Vec<KeyValue> {
    let descriptors = i64::try_from(request.descriptors.len()).unwrap_or(i64::MAX);
    let mut told = vec![KeyValue::new("fluxlimit.descriptors.count", descriptors)];
    // A domain without rules is any text that somebody sent.
    if question.domain.is_some() || values {
        told.push(KeyValue::new("fluxlimit.domain", String::from_utf8_lossy(&request.domain).into_owned()));
    }
    let matched = question.matched.iter().take(MAX_TOLD).map(|matched| match matched {
        Matched::Nothing(miss) => StringValue::from(miss.name()),
        Matched::Exempt => "exempt".into(),
        Matched::Unlimited => "unlimited".into(),
        Matched::Limited(Some(rule)) => rule.path.to_string().into(),
        Matched::Limited(None) => "override".into(),
    });
    told.push(KeyValue::new("fluxlimit.matched", Value::Array(Array::String(matched.collect()))));
    if values {
        let texts = request.descriptors.iter().take(MAX_TOLD).map(|descriptor| text(descriptor).into());
        told.push(KeyValue::new("fluxlimit.descriptors", Value::Array(Array::String(texts.collect()))));
    }
    told
}

fn text(descriptor: &Descriptor) -> String {
    let mut bytes = Vec::new();
    for entry in &descriptor.entries {
        if !bytes.is_empty() {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&entry.key);
        bytes.push(b'=');
        bytes.extend_from_slice(&entry.value);
        if bytes.len() > MAX_TOLD_BYTES {
            bytes.truncate(MAX_TOLD_BYTES);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
