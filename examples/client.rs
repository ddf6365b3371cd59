//! Asks a rate-limit server one question and prints the answer, with nothing but public crates: a start for
//! whoever wants to ask from an own program instead of Envoy.
//!
//! ```text
//! cargo run -- serve --rules examples/rules
//! cargo run --example client -- per-ip remote_address=10.0.0.1
//! cargo run --example client -- cost-by-header api_key=k --hits 30
//! cargo run --example client -- login-brute-force login=address,remote_address=10.0.0.1 login=account,account=alice
//! ```
//!
//! Ends with 0 if the request may pass, 1 if it is refused, and 2 if there is no answer.

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::UInt64Value;

/// Ask a rate-limit server whether a request may pass.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8081", value_name = "URL")]
    server: String,
    /// What the request costs; 0 asks without counting.
    #[arg(long, default_value_t = 1)]
    hits: u64,
    /// Whose rules apply: `domain` in a rule file.
    domain: String,
    /// What the request is counted under, each with its entries: `key=value,key=value`.
    #[arg(required = true, value_name = "DESCRIPTOR", value_parser = descriptor)]
    descriptors: Vec<RateLimitDescriptor>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match ask(&arguments).await.and_then(|response| print(&arguments, &response)) {
        Ok(Code::OverLimit) => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                line = format!("{line}: {error}");
                cause = error.source();
            }
            // Nobody is left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "no answer from {}: {line}", arguments.server);
            ExitCode::from(2)
        }
    }
}

async fn ask(arguments: &Arguments) -> Result<RateLimitResponse, Box<dyn Error>> {
    // A program that asks more than once keeps the client: it is one HTTP/2 connection, and cheap to clone.
    let mut client = RateLimitServiceClient::connect(arguments.server.clone()).await?;
    let descriptors = arguments.descriptors.iter().cloned();
    let hits = Some(UInt64Value { value: arguments.hits });
    let message = RateLimitRequest {
        domain: arguments.domain.clone(),
        descriptors: descriptors
            .map(|descriptor| RateLimitDescriptor { hits_addend: hits, ..descriptor })
            .collect(),
        // Of the whole request; what the descriptors say comes first, and only there does 0 mean 0.
        hits_addend: 0,
    };
    let mut request = tonic::Request::new(message);
    // Nobody should wait long for a limiter. What to do without an answer is for the caller to decide.
    request.set_timeout(Duration::from_secs(1));
    Ok(client.should_rate_limit(request).await?.into_inner())
}

/// Prints the decision, then a line for each descriptor.
fn print(arguments: &Arguments, response: &RateLimitResponse) -> Result<Code, Box<dyn Error>> {
    let mut out = stdout().lock();
    let decision = match response.overall_code() {
        Code::OverLimit => "refused",
        _ => "allowed",
    };
    writeln!(out, "{}: {decision}", arguments.domain)?;
    // The statuses come in the order of the descriptors.
    for (descriptor, status) in arguments.descriptors.iter().zip(&response.statuses) {
        let entries = descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value));
        writeln!(out, "  {}: {}", entries.collect::<Vec<_>>().join(","), told(status))?;
    }
    Ok(response.overall_code())
}

fn told(status: &DescriptorStatus) -> String {
    let Some(limit) = &status.current_limit else {
        return "no limit".to_owned();
    };
    let wait = status.duration_until_reset.as_ref().map_or(0, |duration| duration.seconds);
    let wait = match status.code() {
        Code::OverLimit => format!("try again in {wait} s"),
        _ => format!("as if unused in {wait} s"),
    };
    format!("{} left of {}, {wait}", status.limit_remaining, numbers(limit))
}

/// The limit in words. envoy-types knows no `unit_multiplier`, so 5 in 15 minutes reads as 5 per minute here.
fn numbers(limit: &RateLimit) -> String {
    let unit = Unit::try_from(limit.unit).unwrap_or_default().as_str_name().to_lowercase();
    let numbers = format!("{} per {unit}", limit.requests_per_unit);
    if limit.name.is_empty() { numbers } else { format!("{numbers} ({})", limit.name) }
}

/// `key=value,key=value` → a descriptor. A value may hold `=`, but no comma.
fn descriptor(text: &str) -> Result<RateLimitDescriptor, String> {
    let entry = |text: &str| match text.split_once('=') {
        Some((key, value)) => Ok(Entry { key: key.to_owned(), value: value.to_owned() }),
        None => Err(format!("`{text}` is not key=value")),
    };
    let entries = text.split(',').map(entry).collect::<Result<_, _>>()?;
    Ok(RateLimitDescriptor { entries, ..RateLimitDescriptor::default() })
}
