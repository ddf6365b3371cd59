//! A running server of ours.

use crate::child::{Child, Failure, Program};
use crate::pages::{metric, page};
use std::net::SocketAddr;
use std::path::Path;

/// A server as it is to be started.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The cores that it may run on.
    pub cores: &'a [usize],
    /// Its rule file, or the directory of several.
    pub rules: &'a Path,
    /// The setting `store`.
    pub store: &'a str,
    /// Other settings, as variables.
    pub settings: Vec<(&'static str, String)>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it is asked.
    pub grpc: SocketAddr,
    http: Option<SocketAddr>,
    child: Child,
}

/// Starts a server and waits until it and its store are ready; its log is kept in `directory`.
pub fn start(program: &Path, setup: &Setup<'_>, directory: &Path) -> Result<Server, Failure> {
    let mut program = Program::new("fluxlimit", program, setup.cores).with(&[
        "serve",
        "--rules",
        setup.rules.to_str().ok_or("a path that is not UTF-8")?,
        "--store",
        setup.store,
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]);
    program.environment.clone_from(&setup.settings);
    // Its default port is that of a server that somebody else may run here.
    program.environment.push(("FLUXLIMIT_ADMIN__ADDRESS", "off".to_owned()));
    let mut server = Server::listening(program.start(directory)?, true)?;
    let http = server.http;
    server.child.until(|_| page(http?, "/ready").ok().filter(|(status, _)| *status == 200))?;
    Ok(server)
}

impl Server {
    /// Waits until a server says where it listens.
    pub fn listening(mut child: Child, has_http: bool) -> Result<Self, Failure> {
        let (grpc, http) = child.until(|child| {
            let output = child.output();
            let http = address_in(&output, "listening http=");
            Some((address_in(&output, "listening grpc=")?, if has_http { Some(http?) } else { None }))
        })?;
        Ok(Self { grpc, http, child })
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Fails unless so many keys are live: those whose limits are as if unused are swept away.
    pub fn holds(&self, keys: usize) -> Result<(), Failure> {
        let held = metric(&self.metrics()?, "fluxlimit_memory_keys");
        if held < keys as f64 {
            return Err(format!("only {held:.0} of {keys} keys are live").into());
        }
        Ok(())
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.child.output()
    }

    /// Its metrics as Prometheus reads them.
    pub fn metrics(&self) -> Result<String, Failure> {
        Ok(self.page("/metrics")?.1)
    }

    /// The status and the text of one of its pages.
    pub fn page(&self, path: &str) -> Result<(u16, String), Failure> {
        page(self.http.ok_or("this server has no pages")?, path)
    }
}

/// The address behind a word of a log.
fn address_in(log: &str, before: &str) -> Option<SocketAddr> {
    log.split_once(before)?.1.split_whitespace().next()?.parse().ok()
}

#[test]
fn an_address_is_found_in_a_log() {
    let log = "INFO listening grpc=127.0.0.1:81\nINFO listening http=127.0.0.1:80 x\n";
    assert_eq!(address_in(log, "listening http=").map(|address| address.port()), Some(80));
    assert_eq!(address_in("INFO", "listening http="), None);
}
