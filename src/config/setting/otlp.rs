//! The settings of what leaves for a collector: where it is, and which traces and metrics it gets.

use std::ffi::OsString;

use super::{MAX_WAIT_MS, Setting, filled, path, problems, put, ratio, setting};
use crate::config::Config;
use crate::otlp::{Endpoint, Protocol, VARIABLES, attributes, headers};
use crate::yaml::{Message, Problem, Value};

/// The settings of exporters, traces and pushed metrics.
pub(super) const SETTINGS: &[Setting] = &[
    setting("otlp.endpoint", |value, to| {
        put(&mut to.otlp.endpoint, parsed(value, Endpoint::parse).map(Some));
    }),
    setting("otlp.protocol", |value, to| {
        put(&mut to.otlp.protocol, value.choice(&Protocol::ALL).map(Some));
    }),
    setting("otlp.headers", |value, to| put(&mut to.otlp.headers, parsed(value, headers))),
    setting("otlp.timeout_ms", |value, to| put(&mut to.otlp.timeout_ms, value.u64_in(1..=MAX_WAIT_MS))),
    setting("otlp.tls_ca_file", |value, to| {
        let path = path(value, to);
        put(&mut to.otlp.tls.ca, path.map(Some));
    }),
    setting("otlp.tls_cert_file", |value, to| {
        let path = path(value, to);
        put(&mut to.otlp.tls.cert, path.map(Some));
    }),
    setting("otlp.tls_key_file", |value, to| {
        let path = path(value, to);
        put(&mut to.otlp.tls.key, path.map(Some));
    }),
    setting("otlp.service_name", |value, to| put(&mut to.otlp.service_name, filled(value).map(Some))),
    setting("otlp.resource_attributes", |value, to| {
        put(&mut to.otlp.resource_attributes, parsed(value, attributes));
    }),
    setting("traces.otlp", |value, to| put(&mut to.traces.otlp, value.bool())),
    setting("traces.sample_ratio", |value, to| put(&mut to.traces.sample_ratio, ratio(value))),
    setting("traces.values", |value, to| put(&mut to.traces.values, value.bool())),
    setting("metrics.otlp", |value, to| put(&mut to.metrics.otlp, value.bool())),
    setting("metrics.otlp_interval_ms", |value, to| {
        put(&mut to.metrics.otlp_interval_ms, value.u64_in(100..=MAX_WAIT_MS));
    }),
];

/// Reads OpenTelemetry's variables.
pub(super) fn read_variables(environment: &[(OsString, OsString)], config: &mut Config) {
    for (place, name) in config.otlp.environment.0.iter_mut().zip(VARIABLES) {
        let found = environment.iter().find(|(variable, value)| variable == name && !value.is_empty());
        *place = found.map(|(_, value)| value.to_string_lossy().into_owned());
    }
}

/// Completes the settings of exporters, if there are any: what others set for all programs must not keep a server
/// from starting that exports nothing.
pub(super) fn complete(config: &mut Config) -> Vec<Problem> {
    if !config.traces.otlp && !config.metrics.otlp {
        return Vec::new();
    }
    problems(config.otlp.complete())
}

fn parsed<T>(value: &mut Value<'_, '_>, parse: fn(&str) -> Result<T, Message>) -> Option<T> {
    let text = value.text()?;
    parse(&text).map_err(|message| value.error(message)).ok()
}
