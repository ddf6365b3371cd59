//! Programs that run for as long as they are needed, and end with this one.

use rustix::process::{Pid, Signal, kill_process};
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Why something could not be done, in words.
pub type Failure = Box<dyn Error>;

/// How long a program may take until it serves: 100,000 rules or a new database on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Where the repository is: what the commands measure is built and kept there.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

/// A directory for the time of a row. Its name tells whose it is, should this program be killed and leave it behind.
pub fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("fluxlimit-bench-").tempdir()
}

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is called in messages, and its log.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside those of this process.
    pub environment: Vec<(&'static str, String)>,
    /// The cores that it may run on.
    pub cores: Vec<usize>,
    /// The user, where it must not be root.
    pub user: Option<&'static str>,
    /// What ends it.
    pub stop: Signal,
}

impl Program {
    /// A program without arguments, ended by KILL.
    #[must_use]
    pub fn new(name: &str, path: &Path, cores: &[usize]) -> Self {
        let (arguments, environment) = (Vec::new(), Vec::new());
        let (name, path, cores) = (name.to_owned(), path.to_owned(), cores.to_owned());
        Self { name, path, arguments, environment, cores, user: None, stop: Signal::KILL }
    }

    /// The same with more arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it; what it prints goes to a file in `directory`.
    pub fn start(self, directory: &Path) -> Result<Child, Failure> {
        let log = directory.join(format!("{}.log", self.name));
        fs::write(&log, "")?;
        let process = self.spawn(&log)?;
        Ok(Child { process, program: self, log })
    }

    fn spawn(&self, log: &Path) -> Result<std::process::Child, Failure> {
        let output = OpenOptions::new().append(true).open(log)?;
        // Both replace themselves by the next program, so the process is the program's. It ends when this one does.
        let mut command = Command::new("setpriv");
        let signal = if self.stop == Signal::QUIT { "QUIT" } else { "KILL" };
        if let Some(user) = self.user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command.args(["--pdeathsig", signal, "taskset", "-c", &core_list(&self.cores)]);
        command
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(command.spawn().map_err(|error| format!("setpriv: {error}"))?)
    }
}

fn core_list(cores: &[usize]) -> String {
    cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A running program, ended on drop.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    program: Program,
    log: PathBuf,
}

impl Child {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until there is what is waited for, and fails if the program ends before.
    pub fn until<T>(&mut self, mut found: impl FnMut(&Self) -> Option<T>) -> Result<T, Failure> {
        let waiting_since = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("{} ended ({status}):\n{}", self.program.name, self.output()).into());
            }
            if waiting_since.elapsed() > START_TIMEOUT {
                return Err(format!("{} does not serve:\n{}", self.program.name, self.output()).into());
            }
            sleep(PAUSE);
        }
    }
}

impl Child {
    /// Starts an ended program anew, as it was started before. The thread that does it has to live as long as the
    /// program is to.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.end();
        self.process = self.program.spawn(&self.log)?;
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Ends it, and waits for that.
    pub fn end(&mut self) {
        // After a failed wait the number may be somebody else's, but then the process has been waited for.
        if matches!(self.process.try_wait(), Ok(None))
            && let Some(pid) = Pid::from_raw(self.process.id().cast_signed())
        {
            let _ = kill_process(pid, self.program.stop);
            let _ = self.process.wait();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program to its end and takes what it prints.
pub fn output_of(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(program, &error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} failed ({}): {text}{message}", output.status).into());
    }
    Ok(text)
}

fn missing(program: &str, error: &io::Error) -> String {
    format!("{program}: {error}{}", hint(program).map(|hint| format!("; {hint}")).unwrap_or_default())
}

/// Where a program comes from.
#[must_use]
pub fn hint(program: &str) -> Option<&'static str> {
    Some(match program {
        "h2load" => "it is in Debian's package nghttp2-client",
        "redis-server" => "it is in Debian's package redis-server",
        "redis-cli" | "redis-benchmark" => "it is in Debian's package redis-tools",
        "psql" | "pgbench" | "postgres" => "it is in Debian's package postgresql",
        "taskset" | "setpriv" => "it is in Debian's package util-linux",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ended_with_its_owner() {
        let directory = scratch().expect("a directory");
        let script = Program::new("sh", Path::new("sh"), &[0]).with(&["-c", "echo up; exec sleep 1000"]);
        let mut child = script.start(directory.path()).expect("it starts");
        child.until(|child| child.output().contains("up").then_some(())).expect("it prints");
        let pid = child.pid();
        drop(child);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_program_is_started_again_as_it_was() {
        let directory = scratch().expect("a directory");
        let script = Program::new("sh", Path::new("sh"), &[0]).with(&["-c", "echo up; exec sleep 1000"]);
        let mut child = script.start(directory.path()).expect("it starts");
        child.until(|child| child.output().contains("up").then_some(())).expect("it prints");
        child.end();
        assert!(!child.is_running());
        child.start_again().expect("it starts");
        child.until(|child| child.output().contains("up\nup").then_some(())).expect("it prints once more");
        assert!(child.is_running());
    }

    #[test]
    fn a_program_that_ends_says_why() {
        let directory = scratch().expect("a directory");
        let script = Program::new("sh", Path::new("sh"), &[0]).with(&["-c", "echo no such luck; exit 3"]);
        let mut child = script.start(directory.path()).expect("it starts");
        let failure = child.until(|_| None::<()>).expect_err("it ends");
        assert!(failure.to_string().contains("no such luck"), "{failure}");
        assert!(output_of("h2load-that-is-not-there", &[]).is_err());
        assert!(missing("h2load", &io::ErrorKind::NotFound.into()).contains("nghttp2-client"));
    }
}
