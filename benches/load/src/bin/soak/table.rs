//! What is printed: a table now and then, and a summary.

use crate::reloads::Reloads;
use crate::samples::{Sample, median, of_fifth};
use crate::stalls::Stalls;
use crate::subject::{Subject, last_lines};
use std::time::Duration;

/// How things stand.
pub(crate) fn print(subjects: &[Subject], reloads: &Reloads, now: Duration) {
    println!("\nafter {}: {}", minutes(now), changes(reloads));
    println!(
        "{:<9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7} {:>6} {:>8} {:>8} {:>7}",
        "server",
        "calls",
        "allowed",
        "refused",
        "errors",
        "by policy",
        "MiB",
        "files",
        "threads",
        "keys",
        "outages"
    );
    for subject in subjects {
        let counts = subject.tally.counts();
        let Some(last) = subject.samples.last() else { continue };
        let keys = subject.samples.iter().rev().find_map(|sample| sample.keys).unwrap_or(0.0);
        println!(
            "{:<9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7.1} {:>6} {:>8} {:>8} {:>7}",
            subject.name,
            counts.all(),
            counts.allowed,
            counts.refused,
            counts.errors,
            counts.by_policy,
            last.resident_mib(),
            last.files,
            last.threads,
            keys,
            subject.outages.over()
        );
    }
}

/// What was found, and what was wrong.
pub(crate) fn summary(subjects: &[Subject], reloads: &Reloads, stalls: &Stalls) {
    let end = subjects.iter().filter_map(|subject| subject.samples.last()).map(|sample| sample.at).max();
    print(subjects, reloads, end.unwrap_or_default());
    println!("\nresident memory in MiB, medians of the fifths of the run:");
    for subject in subjects {
        let fifths: Vec<String> = (0..5).map(|fifth| median_mib(&subject.samples, fifth)).collect();
        println!("{:<9} {}", subject.name, fifths.join(" "));
    }
    let (count, longest) = stalls.told();
    if count > 0 {
        println!("\nthe machine stood still {count} times, for {:.1} s at most", longest.as_secs_f64());
    }
    println!();
    let mut is_good = true;
    for subject in subjects {
        let complaints = subject.tally.counts().complaints;
        for complaint in &complaints {
            println!("WRONG: {}: {complaint}", subject.name);
        }
        if !complaints.is_empty() {
            println!("the end of its log:\n{}", last_lines(&subject.server.log()));
            is_good = false;
        }
    }
    if is_good {
        println!("every answer is explained, and nothing has grown");
    }
}

fn median_mib(samples: &[Sample], fifth: u32) -> String {
    median(of_fifth(samples, fifth).map(Sample::resident_mib).collect())
        .map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

fn changes(reloads: &Reloads) -> String {
    format!("rules changed {} times, {} mistakes in them kept out", reloads.good, reloads.bad)
}

fn minutes(at: Duration) -> String {
    format!("{}:{:02} minutes", at.as_secs() / 60, at.as_secs() % 60)
}
