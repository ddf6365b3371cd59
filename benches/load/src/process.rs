//! What a process has cost and holds, from `/proc`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The time that all threads of a process have spent on a core; zero if there is no such process.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of_thread = |path: PathBuf| schedstat(&fs::read_to_string(path.join("schedstat")).ok()?);
    threads.flatten().filter_map(|thread| of_thread(thread.path())).sum()
}

/// The same with all that it has started and that still runs.
#[must_use]
pub fn tree_cpu_time(pid: u32) -> Duration {
    let parents = parents();
    let mut tree = vec![pid];
    let mut at = 0;
    while at < tree.len() {
        let own = tree[at];
        tree.extend(parents.iter().filter(|(_, parent)| *parent == own).map(|(child, _)| *child));
        at += 1;
    }
    tree.into_iter().map(cpu_time).sum()
}

/// What a process has started and that still runs.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    parents().into_iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child).collect()
}

/// What a process holds in memory, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    resident_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// How many files a process has open; connections are some of them.
#[must_use]
pub fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// How many threads a process has.
#[must_use]
pub fn threads(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/task")).ok()?.count())
}

/// The cores that this process may run on.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "Cpus_allowed_list").map(cores).unwrap_or_default()
}

/// All processes, each with the one that started it.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |pid: u32| parent_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    pids.filter_map(|pid: u32| Some((pid, parent(pid)?))).collect()
}

/// `/proc/PID/task/TID/schedstat`: nanoseconds on a core, nanoseconds waiting, turns.
fn schedstat(text: &str) -> Option<Duration> {
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// `/proc/PID/stat`: the number, the name in parentheses (which may hold spaces and more of them), the state, the
/// parent.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn resident_in(status: &str) -> Option<u64> {
    let kilobytes: u64 = field(status, "VmRSS")?.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A list as the kernel writes it: `0-2,5`.
fn cores(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cost_something() {
        let spinning = std::time::Instant::now();
        while spinning.elapsed() < Duration::from_millis(20) {}
        assert!(cpu_time(std::process::id()) > Duration::ZERO);
        assert!(tree_cpu_time(std::process::id()) > Duration::ZERO);
        assert_eq!(cpu_time(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn this_process_is_resident_and_may_run_somewhere() {
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(resident_bytes(u32::MAX), None);
        assert!(open_files(std::process::id()).is_some_and(|count| count > 2));
        assert!(threads(std::process::id()).is_some_and(|count| count > 0));
        assert_eq!((open_files(u32::MAX), threads(u32::MAX)), (None, None));
        assert!(!allowed_cores().is_empty());
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(schedstat("123456 789 3\n"), Some(Duration::from_nanos(123_456)));
        assert_eq!(schedstat(""), None);
        assert_eq!(parent_in("7 (a) name (x) S 42 7 7 0 -1"), Some(42));
        assert_eq!(parent_in("7"), None);
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
        assert_eq!(resident_in("Name:\tx\n"), None);
        assert_eq!(cores("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(cores("3"), [3]);
    }
}
