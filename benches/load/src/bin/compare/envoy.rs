//! Real Envoy in front: h2load through it, at most of what it carries.

use crate::bench::Bench;
use crate::outcome::Outcome;
use crate::rules;
use fluxlimit_load::child::{Failure, Program, output_of};
use fluxlimit_load::pages::page;
use fluxlimit_load::store::Store;
use fluxlimit_load::store::{self, found, free_port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

const CLIENTS: f64 = 4.0;
/// The part of its saturation that Envoy is asked.
const LOAD: f64 = 0.8;
const USERS: usize = 10_000;
const ERRORS: [&str; 3] = ["error", "ok", "over_limit"];

pub(crate) fn measure(bench: &Bench) -> Result<Outcome, Failure> {
    found("h2load")?;
    if !bench.cli.envoy.exists() {
        return Err(format!("there is no Envoy at {}: run .ci/setup once", bench.cli.envoy.display()).into());
    }
    let memory = store::start(Store::Memory, &[])?;
    let server = bench.ours(&rules::write_ours(bench.work.path())?, &memory)?;
    let directory = bench.work.path();
    let (site, admin) = (free_port()?, free_port()?);
    let file = directory.join("envoy.json");
    fs::write(&file, bootstrap(server.grpc, site, admin).to_string())?;
    let cores = [bench.cores.envoy];
    let envoy = Program::new("envoy", &bench.cli.envoy, &cores).with(&[
        "-c",
        &file.to_string_lossy(),
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--disable-hot-restart",
    ]);
    let mut envoy = envoy.start(directory)?;
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    envoy.until(|_| page(admin, "/ready").ok().filter(|(status, _)| *status == 200))?;

    let users = directory.join("users.txt");
    let mut text = String::new();
    (0..USERS).for_each(|number| {
        let _ = writeln!(text, "http://127.0.0.1:{site}/u{number:08}");
    });
    fs::write(&users, text)?;
    let saturated = h2load(bench, &users, None)?;
    let offered = saturated.rate * LOAD;
    eprintln!("  Envoy carries {:.0}/s, measured at {offered:.0}/s", saturated.rate);
    let before = counts(admin)?;
    let loaded = h2load(bench, &users, Some(offered / CLIENTS))?;
    let after = counts(admin)?;
    let mut figures = BTreeMap::from([
        ("saturation".to_owned(), saturated.rate),
        ("offered".to_owned(), offered),
        ("rate".to_owned(), loaded.rate),
        ("not_200".to_owned(), loaded.not_200),
    ]);
    figures.extend(loaded.latencies_us);
    figures.extend(ERRORS.iter().enumerate().map(|(at, name)| ((*name).to_owned(), after[at] - before[at])));
    if figures["ok"] < 1.0 {
        return Err("Envoy asked no rate limit".into());
    }
    Ok(Outcome::Figures(figures))
}

/// What Envoy has got from the rate-limit server: errors, passes, refusals.
fn counts(admin: SocketAddr) -> Result<[f64; 3], Failure> {
    let (_, stats) = page(admin, "/stats?filter=ratelimit")?;
    // A count that has never been counted is not shown.
    Ok(ERRORS.map(|name| envoy_count(&stats, &format!("cluster.upstream.ratelimit.{name}")).unwrap_or(0.0)))
}

struct Loaded {
    rate: f64,
    not_200: f64,
    latencies_us: Vec<(String, f64)>,
}

fn h2load(bench: &Bench, users: &Path, rps: Option<f64>) -> Result<Loaded, Failure> {
    let log = bench.work.path().join("h2load.log");
    let _ = fs::remove_file(&log);
    // It takes whole seconds only.
    let seconds = if bench.cli.quick { 1.0 } else { bench.seconds().max(1.0).ceil() * 2.0 };
    let (duration, clients) = (format!("{seconds}"), format!("{CLIENTS}"));
    let rps = rps.map(|rps| format!("--rps={rps:.0}"));
    let core = bench.cores.load.to_string();
    let (log_file, users) = (format!("--log-file={}", log.display()), users.to_string_lossy());
    let mut arguments = vec!["-c", &core, "h2load", "-c", &clients, "-m", "32", "-t", "1", "-D", &duration];
    arguments.extend(["--warm-up-time=1s", "-i", &users, &log_file]);
    arguments.extend(rps.as_deref());
    output_of("taskset", &arguments)?;
    parse(&fs::read_to_string(&log)?).ok_or_else(|| "h2load has measured nothing".into())
}

/// h2load's log: when a request started, its status, and how long it took, in microseconds.
fn parse(log: &str) -> Option<Loaded> {
    let mut taken_us = Vec::new();
    let mut not_200 = 0.0;
    let (mut first_us, mut last_us) = (u64::MAX, 0);
    for line in log.lines() {
        let mut columns = line.split('\t');
        let (Some(started), Some(status), Some(taken)) = (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let (started, taken): (u64, u64) = (started.parse().ok()?, taken.parse().ok()?);
        first_us = first_us.min(started);
        last_us = last_us.max(started + taken);
        not_200 += f64::from(u8::from(status != "200"));
        taken_us.push(taken);
    }
    taken_us.sort_unstable();
    let last = taken_us.len().checked_sub(1)?;
    let quantile = |per_mille: usize| taken_us[last * per_mille / 1000] as f64;
    let names = [("p50_us", 500), ("p99_us", 990), ("p999_us", 999), ("max_us", 1000)];
    let latencies_us = names.map(|(name, per_mille)| (name.to_owned(), quantile(per_mille))).to_vec();
    // From the log itself: the first requests may have been waiting since the warm-up.
    let seconds = (last_us - first_us).max(1) as f64 / 1e6;
    Some(Loaded { rate: taken_us.len() as f64 / seconds, not_200, latencies_us })
}

/// A listener with the rate-limit filter in front of a listener of the same Envoy that answers.
fn bootstrap(server: SocketAddr, site: u16, admin: u16) -> Value {
    let rate_limit = json!({
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": "bench",
            "timeout": "0.1s",
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": "fluxlimit" } },
            },
        },
    });
    let actions = json!([
        { "generic_key": { "descriptor_key": "tenant", "descriptor_value": "acme" } },
        { "request_headers": { "header_name": ":path", "descriptor_key": "user" } },
    ]);
    let limited = json!({
        "match": { "prefix": "/" },
        "route": { "cluster": "upstream", "rate_limits": [{ "actions": actions }] },
    });
    let answer = json!({
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": "from the upstream" } },
    });
    let internal = json!({ "envoy_internal_address": { "server_listener_name": "upstream" } });
    let mut fluxlimit = cluster("fluxlimit", &socket(server.port()));
    fluxlimit["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        },
    });
    json!({
        "admin": { "address": socket(admin) },
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            },
        }],
        "static_resources": {
            "listeners": [
                { "name": "site", "address": socket(site), "filter_chains": chain(&limited, Some(rate_limit)) },
                { "name": "upstream", "internal_listener": {}, "filter_chains": chain(&answer, None) },
            ],
            "clusters": [cluster("upstream", &internal), fluxlimit],
        },
    })
}

fn socket(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn cluster(name: &str, address: &Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        // The default of 1,024 would be Envoy's limit, not ours.
        "circuit_breakers": { "thresholds": [{ "max_requests": 100_000, "max_pending_requests": 100_000 }] },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    })
}

fn chain(route: &Value, filter: Option<Value>) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let filters: Vec<Value> = filter.into_iter().chain([router]).collect();
    json!([{ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
            "http_filters": filters,
        },
    }] }])
}

/// A count in the text of Envoy's `/stats`: `name: 12`.
fn envoy_count(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse().ok())
}

#[test]
fn a_count_of_envoy_is_found_by_its_name() {
    assert_eq!(envoy_count("cluster.a.ratelimit.error: 2\n", "cluster.a.ratelimit.error"), Some(2.0));
    assert_eq!(envoy_count("", "x"), None);
}

#[test]
fn the_log_of_h2load_is_read() {
    // A request every two milliseconds; the last two are refused.
    let line =
        |number: u32| format!("{}\t{}\t{number}\n", number * 2000, if number > 998 { 429 } else { 200 });
    let lines = (1..=1000).map(line).collect::<Vec<_>>().concat();
    let loaded = parse(&lines).expect("it has lines");
    assert!((loaded.rate - 500.0).abs() < 1.0 && (loaded.not_200 - 2.0).abs() < 1e-9);
    assert_eq!(loaded.latencies_us[0], ("p50_us".to_owned(), 500.0));
    assert_eq!(loaded.latencies_us[2], ("p999_us".to_owned(), 999.0));
    assert!(parse("").is_none());
}
