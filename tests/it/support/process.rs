//! A child process that ends with its test, whatever happens, and whose output is kept for the failure.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) use rustix::process::Signal;

/// How long a test waits for anything before it fails: far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Asks `probe` again and again until it has an answer; fails the test, naming `what`, when it never has.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, polling).await;
    found.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// A running child. Dropping it kills it, and shows its output if the test is failing.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `program` without standard input and with nothing in its environment but `environment`.
    ///
    /// `setpriv` makes the kernel kill the child when the test dies without unwinding.
    /// The child stays in the process group of the test, so a runner that ends the group ends it too.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} through `setpriv`: {error}"));
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let readers = vec![collect(stdout, &output), collect(stderr, &output)];
        Self { name, child, output, readers }
    }

    /// Everything that it has written so far, standard output and error in one.
    pub(crate) fn output(&self) -> String {
        let bytes = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `find` finds what it looks for in the output; fails at once if the process has ended.
    pub(crate) async fn output_with<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        eventually(what, async || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let found = find(&self.output());
            assert!(found.is_some() || ended.is_none(), "{} ended ({ended:?}) without {what}", self.name);
            found
        })
        .await
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// Asks it to end by a signal and waits for that, without the help of a runtime; what does not end in time is
    /// killed when dropped.
    pub(crate) fn end_with(&mut self, signal: Signal) {
        self.signal(signal);
        let polls = PATIENCE.as_millis() / POLL_EVERY.as_millis();
        for _ in 0..polls {
            if self.child.try_wait().expect("a child can be waited for").is_some() {
                break;
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// Waits for its end, and for all that it wrote.
    pub(crate) async fn finished(mut self) -> (ExitStatus, String) {
        let status = self.exit().await;
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        (status, self.output())
    }

    /// The memory that it holds now, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// The most memory that it has ever held, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    /// The memory that it has taken for itself now, in KiB: without its program, which is large in a test.
    pub(crate) fn own_memory_kib(&self) -> u64 {
        self.kib("RssAnon:")
    }

    fn kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, async || self.child.try_wait().expect("a child can be waited for")).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test runner shows this with the failed test")]
            {
                eprintln!("---- output of {} ----\n{}", self.name, self.output());
            }
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static, output: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut chunk = [0; 8192];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            output.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
        }
    })
}
