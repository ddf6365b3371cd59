//! Measures a rate-limit server.

use clap::Parser;
use fluxlimit_load::options::Options;
use fluxlimit_load::report::Report;
use fluxlimit_load::run::run;
use std::process::ExitCode;

fn main() -> ExitCode {
    let report = run(&Options::parse()).map(|measured| Report::from(&measured));
    match report.and_then(|report| Ok(serde_json::to_string(&report)?)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("generator: {error}");
            ExitCode::FAILURE
        }
    }
}
