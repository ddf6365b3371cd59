//! `fluxlimit probe`: whether the server of the same settings is ready, for images that hold nothing but it.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::output;
use crate::config::{Config, Flags};

/// Longest answer that is read, in bytes: far above what `/ready` says.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Asks a server of this machine whether it is ready
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit probe                          is the server of these settings ready for traffic?
  fluxlimit probe --live                   does it answer at all?
  fluxlimit probe --http 127.0.0.1:9090

The address is the one that `serve` listens on with the same settings file, variables and flags. In a container \
it is what HEALTHCHECK runs; Kubernetes asks /ready and /live itself.

Exit status: 0 yes, 1 no, not there, or no answer in time, 2 wrong arguments.")]
pub(super) struct Probe {
    /// Settings file of the server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server serves HTTP [default: what the settings say]
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<String>,
    /// Asks /live instead of /ready
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("nobody answers at {0}")]
    NoAnswer(SocketAddr, #[source] std::io::Error),
    #[error("{0} did not answer within {1} ms")]
    Late(SocketAddr, u64),
    #[error("{0} answers what is no HTTP")]
    Nonsense(SocketAddr),
}

impl Probe {
    pub(super) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let Self { config, http, live, timeout_ms } = self;
        let config = Config::load_without_rules(&Flags { config, http, ..Flags::default() })?;
        let server = reachable(config.http);
        let path = if live { "/live" } else { "/ready" };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asking =
            async { tokio::time::timeout(Duration::from_millis(timeout_ms), ask(server, path)).await };
        let answer = runtime.block_on(asking).map_err(|_| ProbeError::Late(server, timeout_ms))?;
        let answer = answer.map_err(|error| ProbeError::NoAnswer(server, error))?;
        let (status, page) = parse(&answer).ok_or(ProbeError::Nonsense(server))?;
        output::print(page)?;
        Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Where a server that listens on `address` is reached from its own machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(server: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    // The old version closes the connection after the answer, and does not cut it into chunks.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The status and the body of an answer.
fn parse(answer: &[u8]) -> Option<(u16, &str)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_everybody_is_asked_on_loopback() {
        let check = |listens: &str, asked: &str| {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        };
        check("0.0.0.0:8080", "127.0.0.1:8080");
        check("[::]:8080", "[::1]:8080");
        check("10.1.2.3:8080", "10.1.2.3:8080");
    }

    #[test]
    fn only_http_is_an_answer() {
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\na: b\r\n\r\nOK\n"), Some((200, "OK\n")));
        assert_eq!(parse(b"HTTP/1.1 503\r\n\r\n"), Some((503, "")));
        for other in
            [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 many\r\n\r\n", b"\xff\r\n\r\n"]
        {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
