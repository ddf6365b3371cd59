//! What a node answers instead of running a script: none of it has run, so all of it may be sent again.

use redis::ServerError;

use super::super::refusal::words;
use super::super::settings::Address;

/// Why a node has not run what it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotRun {
    /// The slot belongs to the node there.
    Moved(Address),
    /// The slot is on its way to the node there, and none of the keys is here any more.
    Ask(Address),
    /// The slot is on its way, and some keys are here and some are there.
    TryAgain,
    /// The node does not know the script.
    NoScript,
    /// The node or the cluster serves nobody now; in its words.
    Down(String),
}

/// Reads the error of the node at `from`; `None` if it means something else.
///
/// MOVED, ASK: `slot host:port`, where no host means the one that was asked.
/// See <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.
pub(super) fn not_run(error: &ServerError, from: &Address) -> Option<NotRun> {
    let elsewhere = || {
        let (host, port) = error.details()?.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
        let host = if host.is_empty() { &from.host } else { host.trim_matches(['[', ']']) };
        Some(Address { host: host.to_owned(), port: port.parse().ok()? })
    };
    match error.code() {
        "MOVED" => elsewhere().map(NotRun::Moved),
        "ASK" => elsewhere().map(NotRun::Ask),
        "TRYAGAIN" => Some(NotRun::TryAgain),
        "NOSCRIPT" => Some(NotRun::NoScript),
        "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY" | "BUSY" => Some(NotRun::Down(words(error))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn read(line: &str) -> Option<NotRun> {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let Value::ServerError(error) = answer else { panic!("it is an error") };
        not_run(&error, &address("asked", 1))
    }

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn a_redirection_says_where() {
        assert_eq!(read("MOVED 3999 127.0.0.1:6381"), Some(NotRun::Moved(address("127.0.0.1", 6381))));
        assert_eq!(read("ASK 3999 ::1:6381"), Some(NotRun::Ask(address("::1", 6381))));
        assert_eq!(read("MOVED 3999 :6381"), Some(NotRun::Moved(address("asked", 6381))));
        assert_eq!(read("MOVED 3999"), None);
        assert_eq!(read("MOVED 3999 host:99999"), None);
    }

    #[test]
    fn what_has_not_run_is_told_from_what_may_have() {
        assert_eq!(read("TRYAGAIN Multiple keys request during rehashing of slot"), Some(NotRun::TryAgain));
        assert_eq!(read("NOSCRIPT No matching script."), Some(NotRun::NoScript));
        let down = "CLUSTERDOWN Hash slot not served";
        assert_eq!(read(down), Some(NotRun::Down(down.to_owned())));
        for other in ["ERR user_script:1: a mistake", "OOM command not allowed", "NOPERM no"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
