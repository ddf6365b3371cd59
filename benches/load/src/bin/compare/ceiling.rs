//! What the stores carry without batches: the same work, asked one by one by their own programs for measuring.

use crate::bench::Bench;
use fluxlimit_load::child::{Failure, output_of, root};
use fluxlimit_load::store::{Running, found, postgres_programs};
use std::fs;

/// A settlement of one key and one charge: 1 hit on a token bucket of 500,000,000 an hour, as
/// `src/store/redis/work.rs` lays it out. redis-benchmark cannot send such bytes, so they stand in the script.
const WORK: &str =
    r"\0\0\0\0\0\0\1\0\1\0\0\0\1\0\0\29\205\101\0\0\0\29\205\101\0\0\0\0\54\238\128\0\0\0\0\0\0\0\1";

/// Calls a second that redis-benchmark gets answered with the script for one charge, on 4 connections with 32 calls
/// each like the generator's.
pub(crate) fn of_redis(bench: &Bench, store: &Running, keys: usize) -> Result<f64, Failure> {
    let count = if bench.cli.quick { 2_000 } else { 400_000 };
    let line = redis_benchmark(bench, store, &["-c", "4", "-P", "32"], count, keys)?;
    column(&line, 1).ok_or_else(|| format!("redis-benchmark said: {line}").into())
}

/// What one call of the script takes when nothing else is asked, in microseconds: the median.
pub(crate) fn redis_round_trip_us(bench: &Bench, store: &Running) -> Result<f64, Failure> {
    let count = if bench.cli.quick { 500 } else { 20_000 };
    let line = redis_benchmark(bench, store, &["-c", "1"], count, 10_000)?;
    // Its columns: test, rps, average, min, p50, p95, p99, max latency in milliseconds.
    let p50_ms = column(&line, 4).ok_or_else(|| format!("redis-benchmark said: {line}"))?;
    Ok(p50_ms * 1000.0)
}

fn redis_benchmark(
    bench: &Bench,
    store: &Running,
    load: &[&str],
    count: usize,
    keys: usize,
) -> Result<String, Failure> {
    let redis = root().join("src/store/redis");
    let (algorithm, settle) = ("algorithm.lua", "settle.lua");
    let text = |file: &str| fs::read_to_string(redis.join(file)).map_err(|error| format!("{file}: {error}"));
    let script = format!("ARGV[2] = '{WORK}' {}\n{}", text(algorithm)?, text(settle)?);
    let port = store.ports.first().ok_or("there is no Redis")?.to_string();
    let hash = output_of("redis-cli", &["-p", &port, "script", "load", &script])?;
    found("redis-benchmark")?;
    let core = bench.cores.server.to_string();
    let (count, keys) = (count.to_string(), keys.to_string());
    let mut arguments = vec!["-c", &core, "redis-benchmark", "-p", &port, "-n", &count, "-r", &keys, "--csv"];
    arguments.extend(load);
    arguments.extend(["EVALSHA", hash.trim(), "1", "ceiling:__rand_int__", ""]);
    let output = output_of("taskset", &arguments)?;
    Ok(output.lines().last().unwrap_or_default().to_owned())
}

/// A number in a line of quoted values with commas between.
fn column(line: &str, number: usize) -> Option<f64> {
    // The command stands in the first column and may have commas itself, so counted from the end: 8 columns.
    let values: Vec<&str> = line.rsplitn(8, ',').collect();
    values.get(7 - number)?.trim_matches('"').parse().ok()
}

/// Transactions a second that pgbench gets committed on 64 connections, each with the statements of a batch for one
/// request.
pub(crate) fn of_postgres(bench: &Bench, store: &Running, keys: usize) -> Result<f64, Failure> {
    let table = format!(
        "SET client_min_messages = warning; DROP TABLE IF EXISTS ceiling; \
         CREATE TABLE ceiling (LIKE fluxlimit INCLUDING ALL); \
         INSERT INTO ceiling (key, state, expires_at_ms) \
         SELECT decode(md5(n::text), 'hex'), '\\x0102030405060708090a0b0c0d0e0f1011', 1 \
         FROM generate_series(1, {keys}) AS n; ANALYZE ceiling;"
    );
    output_of("psql", &["-q", "-v", "ON_ERROR_STOP=1", "-c", &table, &store.url])?;
    let script = store.directory().join("ceiling.sql");
    fs::write(&script, transaction(keys))?;
    let pgbench = postgres_programs()?.join("pgbench");
    let (pgbench, script) = (pgbench.to_string_lossy(), script.to_string_lossy());
    let core = bench.cores.server.to_string();
    let load = if bench.cli.quick { ["-c", "4", "-t", "10"] } else { ["-c", "64", "-T", "5"] };
    let arguments = [&["-c", &core, &pgbench, "-n", "-f", &script], load.as_slice(), &[&store.url]].concat();
    let output = output_of("taskset", &arguments)?;
    tps(&output).ok_or_else(|| format!("pgbench said: {output}").into())
}

fn transaction(keys: usize) -> String {
    format!(
        "\\set k random(1, {keys})
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT key, state FROM ceiling WHERE key = ANY(ARRAY[decode(md5(:k::text), 'hex')]) ORDER BY key FOR NO KEY UPDATE;
SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
UPDATE ceiling SET state = '\\x0102030405060708090a0b0c0d0e0f1012' WHERE key = decode(md5(:k::text), 'hex');
COMMIT;
"
    )
}

fn tps(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.starts_with("tps = "))?;
    line.split(' ').nth(2)?.parse().ok()
}

#[test]
fn what_the_programs_print_is_read() {
    let line = r#""EVALSHA 0a 1 a,b ","73500.12","0.5","0.1","0.401","0.6","0.7","0.9""#;
    assert_eq!((column(line, 1), column(line, 4)), (Some(73_500.12), Some(0.401)));
    assert_eq!(column("nonsense", 1), None);
    assert_eq!(tps("a\ntps = 702.5 (without initial connection time)\n"), Some(702.5));
    assert_eq!(tps(""), None);
}
