//! The short form of the soak with real servers and stores: whether everything works, not whether anything grows
//! slowly.

use fluxlimit_load::process::children;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOAK: &str = env!("CARGO_BIN_EXE_soak");

/// How long programs may take to end.
const END_TIMEOUT: Duration = Duration::from_mins(1);

/// The server as the tests of the repository build it.
fn fluxlimit() -> PathBuf {
    let beside = Path::new(SOAK).with_file_name("fluxlimit");
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/fluxlimit");
    let found = [beside, usual].into_iter().find(|path| path.exists());
    found.expect("there is no target/debug/fluxlimit: run `cargo build` in the repository first")
}

/// Two at once would be load for each other.
static TURN: Mutex<()> = Mutex::new(());

fn soak() -> Command {
    let mut command = Command::new(SOAK);
    command.arg("--fluxlimit").arg(fluxlimit()).arg("--quick").stdin(Stdio::null());
    command
}

#[test]
fn every_answer_is_explained_while_rules_change_and_stores_are_killed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let output = soak().output().expect("it starts");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    let end = told.rsplit_once("\nserver ").expect("there is a table").1;
    let outages = |server: &str| {
        let line = end.lines().find(|line| line.starts_with(server)).expect("it has a line");
        line.split_whitespace().last().map(str::to_owned)
    };
    assert_eq!(
        ["memory", "redis", "postgres"].map(outages),
        ["0", "1", "1"].map(|count| Some(count.to_owned()))
    );
    assert!(told.contains("every answer is explained, and nothing has grown"), "{told}");
}

#[test]
fn what_it_has_started_ends_with_it() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // What it can leave behind when it is killed is removed with this; Postgres' own user has to get there.
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let mut command = soak();
    command.env("TMPDIR", directory.path()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("it starts");
    let mut line = String::new();
    let output = process.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says what it does");
    assert!(line.contains("to each of 3 servers"), "{line}");
    let started = children(process.id());
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert_eq!(started.len(), 5, "three servers and two stores");
    let waiting_since = Instant::now();
    while started.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(waiting_since.elapsed() < END_TIMEOUT, "some of {started:?} still run");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let output = Command::new(SOAK).args(["--quick", "--fluxlimit", "/nowhere/fluxlimit"]).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/fluxlimit"));
}
