//! Measures every row of docs/performance.md, and writes its tables and its plot.

mod bench;
mod ceiling;
mod cli;
mod envoy;
mod footprint;
mod markers;
mod outcome;
mod plans;
mod plot;
mod row;
mod rules;
mod scaling;
mod scaling_table;
mod sizing;
mod tables;

use bench::Bench;
use clap::Parser;
use cli::Cli;
use fluxlimit_load::child::Failure;
use outcome::{Outcome, Results};
use row::{Group, ROWS, Row};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Instant, UNIX_EPOCH};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        for row in ROWS {
            println!("{:<10} {:<26} {}", row.group.name(), row.name, row.title);
        }
        return ExitCode::SUCCESS;
    }
    match compare(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Measures what is not there yet and writes what is complete; whether all rows could be measured.
fn compare(cli: Cli) -> Result<bool, Failure> {
    let rows = cli.chosen()?;
    let results = Results::new(&cli.results, conditions(&cli)?)?;
    let bench = Bench::new(cli)?;
    announce(&bench)?;
    let mut failed = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        eprintln!("{} ({} of {})", row.name, number + 1, rows.len());
        if !bench.cli.again && results.find(row.name)?.is_some() {
            eprintln!("  measured before; --again measures it again");
            continue;
        }
        let started = Instant::now();
        match plans::measure(&bench, &row.plan) {
            Ok(outcome) => {
                results.keep(row.name, &outcome)?;
                eprintln!("  took {:.0} s", started.elapsed().as_secs_f64());
            }
            Err(failure) => {
                eprintln!("  FAILED: {failure}");
                failed.push(row.name);
            }
        }
    }
    for group in Group::ALL.into_iter().filter(|group| rows.iter().any(|row| row.group == *group)) {
        publish(&bench, &results, group)?;
    }
    if !failed.is_empty() {
        eprintln!("not measured: {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

/// What makes results comparable: the same programs, measured the same way, with the same other servers.
fn conditions(cli: &Cli) -> Result<String, Failure> {
    let servers: Vec<String> =
        cli.servers.iter().map(|server| format!("{}={}", server.name, server.address)).collect();
    let (ours, yardstick) = (identity(&cli.fluxlimit)?, identity(&cli.yardstick)?);
    let how = if cli.quick { "quick".to_owned() } else { format!("{} × {} s", cli.rounds, cli.seconds) };
    Ok(format!("fluxlimit {ours}, yardstick {yardstick}, {how}, others [{}]", servers.join(" ")))
}

/// A program's size and when it was built.
fn identity(program: &Path) -> Result<String, Failure> {
    let missing = |error| format!("{}: {error}; benches/load/compare builds it", program.display());
    let metadata = fs::metadata(program).map_err(missing)?;
    let built_s = metadata.modified()?.duration_since(UNIX_EPOCH)?.as_secs();
    Ok(format!("{}-{built_s}", metadata.len()))
}

fn announce(bench: &Bench) -> Result<(), Failure> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = &bench.cores;
    eprintln!("servers on core {}, generator and stores on core {}", cores.server, cores.load);
    eprintln!("load of the machine before: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    if !bench.cli.servers.is_empty() {
        let directory = bench.rules_directory();
        let (ours, plain) = (rules::write_ours(&directory)?, rules::write_plain(&directory)?);
        eprintln!("other servers need the domain `bench` of {}", ours.display());
        eprintln!("or, for those that know fixed windows only, of {}", plain.display());
    }
    Ok(())
}

/// Writes a table or the plot into docs/, or prints it.
fn publish(bench: &Bench, results: &Results, group: Group) -> Result<(), Failure> {
    let all: Vec<&Row> = ROWS.iter().filter(|row| row.group == group).collect();
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for row in &all {
        match results.find(row.name)? {
            Some(outcome) => found.push((*row, outcome)),
            None => missing.push(row.name),
        }
    }
    let is_printed = bench.cli.print || bench.cli.quick;
    if !missing.is_empty() && !is_printed {
        eprintln!("table {} not written: not measured yet: {}", group.name(), missing.join(", "));
        return Ok(());
    }
    if let (Group::Plot, Some((_, Outcome::Curves(curves)))) = (group, found.first()) {
        let directory = if is_printed { bench.cli.results.clone() } else { bench.cli.docs.join("img") };
        let file = directory.join("latency.svg");
        fs::write(&file, plot::svg(curves))?;
        eprintln!("wrote {}", file.display());
    }
    let mut text = tables::text(group, &found);
    if matches!(group, Group::Memory | Group::Latency | Group::Cost | Group::Redis | Group::Postgres) {
        text = format!("{}\n\n{}\n", text.trim_end(), tables::caption(bench.rounds(), bench.seconds()));
    }
    if is_printed {
        println!("\n{}:\n\n{text}", group.name());
        return Ok(());
    }
    let page = bench.cli.docs.join("performance.md");
    let written = markers::replace(&fs::read_to_string(&page)?, group.name(), &text)?;
    fs::write(&page, written)?;
    eprintln!("wrote table {} of {}", group.name(), page.display());
    Ok(())
}

#[test]
fn every_table_has_its_place_in_the_documentation() {
    let page =
        fs::read_to_string(fluxlimit_load::child::root().join("docs/performance.md")).expect("it is there");
    for group in Group::ALL {
        assert_eq!(markers::replace(&page, group.name(), "").err(), None);
    }
}
