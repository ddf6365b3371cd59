//! `fluxlimit ask`: one request to a running server, as Envoy would send it.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map as JsonMap, Value as Json, json};

use super::admin::Admin;
use super::entries::{Asked, shown};
use super::inspect::{self, Action};
use super::numbers::duration;
use super::output::{self, aligned, bad, good, printable, strong};
use crate::engine::{Code, Decision, Map, Status, StatusLimit, Value};
use crate::grpc::client;
use crate::request::Request;

/// How the program ends if the request is refused.
pub(super) const OVER_LIMIT: u8 = 4;

/// Asks a running server once, and prints what it decides
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit ask --domain edge remote_address=10.0.0.1
  fluxlimit ask --domain edge action=login remote_address=10.0.0.1 + tenant=acme
  fluxlimit ask --domain llm --hits 0 tenant=acme                 looks without counting
  fluxlimit ask --domain llm --hits 500 --give-back tenant=acme   gives 500 hits back
  fluxlimit ask --domain edge --limit 10/minute session=1f3a      brings a limit along
  fluxlimit ask --server ratelimit:8081 --json --domain edge remote_address=10.0.0.1
  fluxlimit ask --look --domain edge remote_address=10.0.0.1      how does it stand, limit by limit?
  fluxlimit ask --reset --domain edge remote_address=10.0.0.1     lets it in again, now

The request counts like any other. The server may be any that speaks Envoy's rate-limit protocol, version 3.
With `--look` and `--reset` nothing is counted, and the admin listener of fluxlimit is asked instead.

Exit status: 0 OK, 4 OVER_LIMIT, 1 no decision (the server is not there, or answers an error), 2 wrong arguments.
With `--look`: 0 it would pass, 4 it would not, 3 no limit applies. With `--reset`: 0 reset, 3 there is no such limit.")]
pub(super) struct Ask {
    /// Where the server answers gRPC
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    server: String,
    #[command(flatten)]
    asked: Asked,
    /// Gives the hits back instead of counting them
    #[arg(long)]
    give_back: bool,
    /// Says how the limits of the request stand, and counts nothing
    #[arg(long, conflicts_with_all = ["server", "give_back", "reset"])]
    look: bool,
    /// Makes the limits of the request unused
    #[arg(long, conflicts_with_all = ["server", "give_back"])]
    reset: bool,
    /// Resets only this limit of each descriptor: its number from 1, or its name
    #[arg(long, value_name = "LIMIT", requires = "reset", conflicts_with = "look")]
    only: Option<String>,
    #[command(flatten)]
    admin: Admin,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
}

impl Ask {
    pub(super) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let request = self.asked.request(self.give_back).unwrap_or_else(|error| error.exit());
        if self.look || self.reset {
            let action = if self.look { Action::Look } else { Action::Reset { only: self.only } };
            let client = self.admin.client(self.timeout_ms)?;
            return inspect::run(&client, &request, &action, self.json);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let decision = runtime.block_on(client::ask(&self.server, &request, self.timeout_ms))?;
        let text =
            if self.json { output::json(&json(&decision, &request)) } else { text(&decision, &request) };
        output::print(&text)?;
        Ok(match decision.code {
            Code::Ok => ExitCode::SUCCESS,
            Code::OverLimit => ExitCode::from(OVER_LIMIT),
        })
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::OverLimit => "OVER_LIMIT",
    }
}

fn coloured(code: Code) -> String {
    match code {
        Code::Ok => good(name(code)).to_string(),
        Code::OverLimit => bad(name(code)).to_string(),
    }
}

/// The decision for people.
fn text(decision: &Decision, request: &Request) -> String {
    let mut text = format!("{}\n\n", coloured(decision.code));
    let mut rows = vec![
        ["descriptor", "status", "limit", "remaining", "reset"]
            .map(|title| strong(title).to_string())
            .to_vec(),
    ];
    rows.extend(decision.statuses.iter().enumerate().map(|(index, status)| row(index, status, request)));
    text += &aligned("  ", &rows);
    if !decision.headers.is_empty() {
        let rows: Vec<Vec<String>> = decision
            .headers
            .iter()
            .map(|header| vec![printable(&header.name), printable(&header.value)])
            .collect();
        let _ = write!(text, "\n{}\n{}", strong("response headers"), aligned("  ", &rows));
    }
    if let Some(metadata) = &decision.metadata {
        if let Some(Value::Map(decided)) = metadata.get("decided_by") {
            let rows: Vec<Vec<String>> = decided
                .iter()
                .map(|(name, value)| vec![printable(name), plain(value)])
                .filter(|row| row.iter().all(|cell| !cell.is_empty()))
                .collect();
            let _ = write!(text, "\n{}\n{}", strong("decided by"), aligned("  ", &rows));
        }
        if let Some(metadata) = metadata.get("metadata") {
            let _ = writeln!(text, "\n{}\n  {}", strong("metadata of the rules"), value(metadata));
        }
    }
    text
}

fn row(index: usize, status: &Status, request: &Request) -> Vec<String> {
    let entries = request.descriptors.get(index).map_or(&[][..], |descriptor| &descriptor.entries);
    let descriptor = printable(&entries.iter().map(shown).collect::<Vec<_>>().join(", "));
    let status_name = coloured(status.code);
    let Some(limit) = &status.limit else { return vec![descriptor, status_name, "no limit".to_owned()] };
    let reset = status.reset_s.map(|seconds| match status.code {
        // Who is refused has to wait, so no time at all says that no wait is enough.
        Code::OverLimit if seconds == 0 => "never passes".to_owned(),
        Code::OverLimit => format!("retry in {}", duration(seconds)),
        Code::Ok => format!("as if unused in {}", duration(seconds)),
    });
    vec![descriptor, status_name, numbers(limit), status.remaining.to_string(), reset.unwrap_or_default()]
}

fn numbers(limit: &StatusLimit) -> String {
    let unit = limit.unit.name();
    let period = match limit.unit_multiplier {
        1 => unit.to_owned(),
        units => format!("{units} {unit}s"),
    };
    let name = limit.name.as_ref().map_or(String::new(), |name| format!(" ({})", printable(name)));
    format!("{} per {period}{name}", limit.requests_per_unit)
}

/// The decision for machines.
fn json(decision: &Decision, request: &Request) -> Json {
    let statuses = decision.statuses.iter().enumerate().map(|(index, status)| {
        let entries = request.descriptors.get(index).map_or(&[][..], |descriptor| &descriptor.entries);
        let limit = status.limit.as_ref().map(|limit| {
            json!({
                "requests_per_unit": limit.requests_per_unit,
                "unit": limit.unit.name(),
                "unit_multiplier": limit.unit_multiplier,
                "name": limit.name.as_deref(),
            })
        });
        json!({
            "entries": entries.iter().map(shown).collect::<Vec<_>>(),
            "code": name(status.code),
            "limit": limit,
            "remaining": limit.is_some().then_some(status.remaining),
            "reset_s": status.reset_s,
        })
    });
    let headers = decision.headers.iter().map(|header| json!({"name": &*header.name, "value": header.value}));
    json!({
        "code": name(decision.code),
        "statuses": statuses.collect::<Vec<_>>(),
        "headers": headers.collect::<Vec<_>>(),
        "metadata": decision.metadata.as_ref().map(map),
    })
}

fn map(map: &Map) -> Json {
    Json::Object(map.iter().map(|(name, field)| (name.clone(), value(field))).collect::<JsonMap<_, _>>())
}

fn value(value_of: &Value) -> Json {
    match value_of {
        Value::Null => Json::Null,
        Value::Bool(bool) => (*bool).into(),
        Value::Number(number) => whole(*number).map_or_else(|| (*number).into(), Json::from),
        Value::Text(text) => text.as_str().into(),
        Value::List(values) => values.iter().map(value).collect(),
        Value::Map(inner) => map(inner),
    }
}

/// A number of protobuf, which is always a double, as the whole number that it mostly is.
fn whole(number: f64) -> Option<i64> {
    let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and far below the bounds")]
    is_whole.then_some(number as i64)
}

/// A value without quotes, for people.
fn plain(value_of: &Value) -> String {
    match value_of {
        Value::Text(text) => printable(text),
        other => value(other).to_string(),
    }
}
