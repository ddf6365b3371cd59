//! What the operating system says of this process, under the names that Prometheus's own clients use.
//!
//! Read from `/proc` at a scrape; where there is none, nothing is shown.

use std::fs;

use opentelemetry::metrics::Meter;

/// Ticks of a second in which the kernel tells times of a process. Linux promises them to programs, whatever
/// the kernel itself counts in.
const TICKS_PER_S: f64 = 100.0;

/// Shows the process by `meter` from now on.
pub(super) fn show(meter: &Meter) {
    meter
        .f64_observable_counter("process.cpu")
        .with_unit("s")
        .with_description("Time that the process has spent on the processors, in user and system mode")
        .with_callback(|observer| {
            observe(stat().map(|stat| stat.cpu_s), |value| observer.observe(value, &[]));
        })
        .build();
    meter
        .f64_observable_gauge("process.start_time")
        .with_unit("s")
        .with_description("When the process started, in seconds since 1970")
        .with_callback(|observer| observe(start_time_s(), |value| observer.observe(value, &[])))
        .build();
    let gauge =
        |name: &'static str, unit: &'static str, description: &'static str, read: fn() -> Option<u64>| {
            meter
                .u64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| observe(read(), |value| observer.observe(value, &[])))
                .build();
        };
    gauge("process.resident_memory", "By", "Memory that the process holds", || status_bytes("VmRSS"));
    gauge("process.virtual_memory", "By", "Addresses that the process has reserved", || {
        status_bytes("VmSize")
    });
    gauge("process.threads", "", "Threads of the process", || status("Threads"));
    gauge("process.open_fds", "", "File descriptors that the process has open", open_fds);
    gauge("process.max_fds", "", "File descriptors that the process may have open", max_fds);
}

fn observe<T>(value: Option<T>, observe: impl FnOnce(T)) {
    if let Some(value) = value {
        observe(value);
    }
}

/// What is used of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_s: f64,
    /// After the start of the machine.
    started_s: f64,
}

fn stat() -> Option<Stat> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The name of the process may hold spaces and parentheses, so fields are counted from its last one. See proc(5).
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
    Some(Stat { cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_S, started_s: ticks(19)? / TICKS_PER_S })
}

/// Seconds since 1970.
fn start_time_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let booted_s: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted_s + stat()?.started_s)
}

fn status(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The kernel says "kB" and means 1,024 bytes.
fn status_bytes(name: &str) -> Option<u64> {
    Some(status(name)? * 1024)
}

/// The one that reads the directory is not counted.
fn open_fds() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(open.saturating_sub(1)).ok()
}

fn max_fds() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_name_of_the_process_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 4200 1000 10 18446744073709551615";
        assert_eq!(parse_stat(text), Some(Stat { cpu_s: 3.0, started_s: 42.0 }));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_can_be_told() {
        assert!(status_bytes("VmRSS").unwrap() > 1 << 20);
        assert!(open_fds().unwrap() >= 3);
        assert!(max_fds().unwrap() > open_fds().unwrap());
        assert!(start_time_s().unwrap() > 1_577_836_800.0);
        assert_eq!(status("VmNothing"), None);
    }
}
