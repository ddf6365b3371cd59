//! The whole command with real servers, stores and Envoy: whether everything works, not how fast it is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

const COMPARE: &str = env!("CARGO_BIN_EXE_compare");
const YARDSTICK: &str = env!("CARGO_BIN_EXE_yardstick");

/// The server as the tests of the repository build it.
fn fluxlimit() -> PathBuf {
    let beside = Path::new(COMPARE).with_file_name("fluxlimit");
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/fluxlimit");
    let found = [beside, usual].into_iter().find(|path| path.exists());
    found.expect("there is no target/debug/fluxlimit: run `cargo build` in the repository first")
}

/// All of them use the same cores.
static TURN: Mutex<()> = Mutex::new(());

fn compare(results: &Path, arguments: &[&str]) -> Output {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(COMPARE);
    command.arg("--fluxlimit").arg(fluxlimit()).args(["--yardstick", YARDSTICK]);
    command.arg("--results").arg(results).args(arguments).stdin(Stdio::null());
    command.output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that is there already.
struct Other {
    process: Child,
    address: String,
}

impl Other {
    fn start() -> Self {
        let mut process = Command::new(YARDSTICK).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = process.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit('=').next().expect("behind the last `=`").to_owned();
        Self { process, address }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_row_can_be_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = compare(directory.path(), &["--quick"]);
    let (tables, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{progress}");
    let list = Command::new(COMPARE).arg("--list").output().expect("it starts");
    let list = text(&list.stdout);
    assert!(list.lines().count() > 20, "{list}");
    for row in list.lines() {
        let words: Vec<&str> = row.split_whitespace().collect();
        let title = words[2..].join(" ");
        assert!(
            directory.path().join(format!("{}.json", words[1])).exists(),
            "{row} was not kept: {progress}"
        );
        let has_table = !["envoy", "plot"].contains(&words[0]);
        assert!(!has_table || tables.contains(&format!("| {title}")), "{row} is in no table:\n{tables}");
    }
    assert!(tables.contains("`ratelimit.error`") && tables.contains("10,000,000"), "{tables}");
    let plot = fs::read_to_string(directory.path().join("latency.svg")).expect("it was drawn");
    assert!(plot.contains("yardstick p99") && plot.contains("fluxlimit p50"), "{plot}");
}

#[test]
fn another_server_is_measured_beside_both_and_only_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let other = Other::start();
    let server = format!("other={}={}", other.address, other.process.id());
    let arguments = ["--quick", "--server", &server, "memory-1", "latency-one"];
    let first = compare(directory.path(), &arguments);
    let (tables, progress) = (text(&first.stdout), text(&first.stderr));
    assert!(first.status.success(), "{progress}");
    assert!(tables.contains("| other | one key |") && tables.contains("other has"), "{tables}");
    let rules = directory.path().join("rules/bench.yaml");
    assert!(rules.exists() && progress.contains(&rules.display().to_string()), "{progress}");
    let second = compare(directory.path(), &arguments);
    assert_eq!(text(&second.stdout), tables);
    assert!(!text(&second.stderr).contains("round 1"), "{}", text(&second.stderr));
}

#[test]
fn a_table_is_written_between_its_markers_and_a_plot_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let docs = directory.path().join("docs");
    fs::create_dir_all(docs.join("img")).expect("it can be made");
    let page = docs.join("performance.md");
    let place = |name: &str| format!("<!-- compare {name} -->\nold\n<!-- /compare {name} -->\n");
    let text_before = format!("before\n{}{}after\n", place("envoy"), place("plot"));
    fs::write(&page, text_before).expect("it is writable");
    let docs_argument = docs.to_str().expect("test paths are UTF-8");
    let arguments =
        ["--rounds", "1", "--seconds", "0.5", "--docs", docs_argument, "envoy", "plot", "memory-1"];
    let output = compare(directory.path(), &arguments);
    let progress = text(&output.stderr);
    assert!(output.status.success(), "{progress}");
    let written = fs::read_to_string(&page).expect("it is readable");
    assert!(written.starts_with("before\n<!--") && written.ends_with("-->\nafter\n"), "{written}");
    assert!(written.contains("`ratelimit.error`") && !written.contains("old"), "{written}");
    assert!(written.contains("](img/latency.svg)") && docs.join("img/latency.svg").exists(), "{progress}");
    assert!(progress.contains("table memory not written: not measured yet: memory-10k"), "{progress}");
}

#[test]
fn a_row_that_is_not_there_is_told_before_anything_is_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = compare(directory.path(), &["memroy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no row `memroy`"), "{}", text(&output.stderr));
}
