//! Stores that are started for a measurement, each in a directory of its own.

use crate::child::{Child, Failure, Program, hint, output_of, scratch};
use rustix::process::{Signal, geteuid};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CLUSTER_NODES: usize = 3;
const CLUSTER_TIMEOUT: Duration = Duration::from_mins(1);

/// Where counters are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// In the server.
    Memory,
    /// One Redis without persistence.
    Redis,
    /// Three nodes without replicas.
    RedisCluster,
    /// A Postgres as it comes.
    Postgres,
}

/// A running store.
#[derive(Debug)]
pub struct Running {
    /// As the setting `store` has it.
    pub url: String,
    /// Where it listens: each node of a cluster.
    pub ports: Vec<u16>,
    // Ended before their directory is removed.
    children: Vec<Child>,
    directory: Option<TempDir>,
}

impl Running {
    /// The processes whose core time is the store's.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::pid).collect()
    }

    /// Kills it; what it has not written down is lost.
    pub fn kill(&mut self) {
        for child in &mut self.children {
            child.end();
        }
    }

    /// Starts it anew after that, at the same address. It serves some time later.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.children.iter_mut().try_for_each(Child::start_again)
    }

    /// Where it lives; the memory store lives nowhere.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().map_or(Path::new("/"), TempDir::path)
    }
}

/// A TCP port that nobody listens on.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts a store and waits until it serves.
pub fn start(store: Store, cores: &[usize]) -> Result<Running, Failure> {
    match store {
        Store::Memory => {
            Ok(Running { url: "memory".to_owned(), ports: Vec::new(), children: Vec::new(), directory: None })
        }
        Store::Redis => {
            let directory = scratch()?;
            let (port, child) = redis(directory.path(), "redis", cores, &[])?;
            let url = format!("redis://127.0.0.1:{port}");
            Ok(Running { url, ports: vec![port], children: vec![child], directory: Some(directory) })
        }
        Store::RedisCluster => cluster(cores),
        Store::Postgres => postgres(cores),
    }
}

/// A Redis without persistence.
fn redis(directory: &Path, name: &str, cores: &[usize], more: &[&str]) -> Result<(u16, Child), Failure> {
    let port = free_port()?;
    let own = directory.join(name);
    fs::create_dir(&own)?;
    let own = own.to_str().ok_or("the temporary directory's name is not UTF-8")?;
    let program = found("redis-server")?;
    let arguments = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", own];
    let program = Program::new(name, &program, cores).with(&arguments);
    let mut child =
        program.with(&["--save", "", "--appendonly", "no"]).with(more).start(Path::new(directory))?;
    child.until(|_| redis_says(port, &["ping"]).filter(|answer| answer.trim() == "PONG"))?;
    Ok((port, child))
}

fn redis_says(port: u16, question: &[&str]) -> Option<String> {
    let port = port.to_string();
    output_of("redis-cli", &[&["-p", port.as_str()], question].concat()).ok()
}

fn cluster(cores: &[usize]) -> Result<Running, Failure> {
    let directory = scratch()?;
    let (mut ports, mut children) = (Vec::new(), Vec::new());
    for number in 0..CLUSTER_NODES {
        // Its default is the port and 10,000, which may be none.
        let bus = free_port()?.to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let (port, child) = redis(directory.path(), &format!("redis-{number}"), cores, &options)?;
        ports.push(port);
        children.push(child);
    }
    let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut arguments = vec!["--cluster", "create"];
    arguments.extend(addresses.iter().map(String::as_str));
    arguments.extend(["--cluster-replicas", "0", "--cluster-yes"]);
    output_of("redis-cli", &arguments)?;
    let waiting_since = Instant::now();
    let agrees = |port: &u16| {
        redis_says(*port, &["cluster", "info"]).is_some_and(|info| info.contains("cluster_state:ok"))
    };
    while !ports.iter().all(agrees) {
        if waiting_since.elapsed() > CLUSTER_TIMEOUT {
            return Err("the nodes of the cluster do not agree".into());
        }
        sleep(Duration::from_millis(50));
    }
    let url = format!("redis+cluster://{}", addresses.join(","));
    Ok(Running { url, ports, children, directory: Some(directory) })
}

/// A Postgres as it comes: every commit is on the disk before it is answered.
fn postgres(cores: &[usize]) -> Result<Running, Failure> {
    let directory = scratch()?;
    let programs = postgres_programs()?;
    let path = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path that is not UTF-8");
    let data = directory.path().join("data");
    fs::create_dir(&data)?;
    // It refuses to run as root.
    let user = geteuid().is_root().then_some("postgres");
    let mut initdb = vec![path(&programs.join("initdb"))?, "--pgdata".to_owned(), path(&data)?];
    initdb.extend(["--username", "postgres", "--auth", "trust"].map(str::to_owned));
    if let Some(user) = user {
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        output_of("chown", &[&format!("{user}:"), &path(&data)?])?;
        let who = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"].map(str::to_owned);
        initdb = [who.to_vec(), initdb].concat();
    }
    let words: Vec<_> = initdb.iter().skip(1).map(String::as_str).collect();
    output_of(&initdb[0], &words)?;
    let port = free_port()?;
    let number = port.to_string();
    let program = programs.join("postgres");
    let mut program = Program::new("postgres", &program, cores).with(&[
        "-D",
        &path(&data)?,
        "-h",
        "127.0.0.1",
        "-p",
        &number,
        "-k",
        &path(&data)?,
    ]);
    program.user = user;
    // It has children, and ends them at this; for the database it is a crash.
    program.stop = Signal::QUIT;
    let mut child = program.start(directory.path())?;
    let ready = path(&programs.join("pg_isready"))?;
    child.until(|_| output_of(&ready, &["-h", "127.0.0.1", "-p", &number]).ok())?;
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    Ok(Running { url, ports: vec![port], children: vec![child], directory: Some(directory) })
}

/// Where Postgres' own programs are: of the newest version that Debian has installed.
pub fn postgres_programs() -> Result<PathBuf, Failure> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let missing = || missing("postgres in /usr/lib/postgresql/*/bin", "postgres");
    found.pop().ok_or_else(missing)
}

/// Where a program is.
pub fn found(program: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|path| path.exists()).ok_or_else(|| missing(program, program))
}

fn missing(what: &str, program: &str) -> Failure {
    format!("there is no {what}{}", hint(program).map(|hint| format!("; {hint}")).unwrap_or_default()).into()
}

#[test]
fn a_missing_program_is_told_with_its_package() {
    assert!(found("sh").is_ok());
    assert!(missing("h2load", "h2load").to_string().contains("nghttp2-client"));
}
