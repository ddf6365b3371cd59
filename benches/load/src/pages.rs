//! Just enough HTTP/1.1 to read a page, and Prometheus' text to read a number.

use crate::child::Failure;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A page's status and text.
pub fn page(address: SocketAddr, path: &str) -> Result<(u16, String), Failure> {
    let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| format!("{address}{path}: no HTTP").into())
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if is_chunked { unchunked(body) } else { body.to_owned() }))
}

fn unchunked(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let Some(length) = usize::from_str_radix(length, 16).ok().filter(|length| *length > 0) else { break };
        let Some(chunk) = after.get(..length) else { break };
        whole.push_str(chunk);
        rest = after[length..].trim_start_matches("\r\n");
    }
    whole
}

/// The sum of all series of a metric; 0 without one.
#[must_use]
pub fn metric(text: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

/// The same of those series that have a label: `code="ok"`.
#[must_use]
pub fn metric_where(text: &str, name: &str, label: &str) -> f64 {
    let of_label = |line: &&str| line.contains(label);
    text.lines().filter(of_label).map(|line| metric(line, name)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_whole_or_in_chunks() {
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(parse(plain), Some((200, "abc".to_owned())));
        let chunked = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((503, "abcde".to_owned())));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn the_series_of_a_metric_are_added() {
        let text = "# TYPE hits counter\nhits{a=\"x y\"} 3\nhits{a=\"z\"} 4\nhits_total 9\nup 1\n";
        assert!((metric(text, "hits") - 7.0).abs() < 1e-9);
        assert!((metric(text, "up") - 1.0).abs() < 1e-9);
        assert!(metric(text, "down").abs() < 1e-9);
        assert!((metric_where(text, "hits", "a=\"z\"") - 4.0).abs() < 1e-9);
    }
}
