//! What a process has cost, from `/proc`.

use std::fs;
use std::time::Duration;

/// The time that all threads of a process have spent on a core; zero if there is no such process.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of_thread = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.flatten().filter_map(|thread| of_thread(thread.path())).sum()
}

#[test]
fn this_process_has_cost_something() {
    let spinning = std::time::Instant::now();
    while spinning.elapsed() < Duration::from_millis(20) {}
    assert!(cpu_time(std::process::id()) > Duration::ZERO);
    assert_eq!(cpu_time(u32::MAX), Duration::ZERO);
}
