//! Measures a rate-limit server.

use clap::Parser;
use fluxlimit_load::options::Options;
use fluxlimit_load::run::{Measured, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(measured) => {
            println!("{}", report(&measured));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("generator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(measured: &Measured) -> String {
    let share = |cpu: std::time::Duration| cpu.as_secs_f64() / measured.elapsed.as_secs_f64();
    let quantile_us = |share| measured.latency.quantile_us(share);
    format!(
        "{{\"rate\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"allowed\":{},\"refused\":{},\
         \"failed\":{},\"first_failure\":\"{}\",\"generator_cores\":{:.2},\"server_cores\":{:.2}}}",
        measured.rate(),
        quantile_us(0.5),
        quantile_us(0.99),
        quantile_us(0.999),
        measured.allowed,
        measured.refused,
        measured.failed,
        measured.first_failure.unwrap_or(""),
        share(measured.generator_cpu),
        share(measured.server_cpu),
    )
}
