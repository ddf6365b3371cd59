//! What an error of a call means: whether the script has run, and whether the connection is of use.

use redis::{RedisError, ServerError};

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server does not know the script; it did not run.
    NoScript,
    /// Nothing came back in time; it may have run.
    TimedOut,
    /// The connection broke; it may have run.
    Lost(String),
    /// It did not run, because this server serves nobody now or is no master: another one may.
    Elsewhere(String),
    /// It did not run.
    Refused(String),
}

/// What the error of a call means. In the words of the server, which hold no password.
pub(super) fn trouble(error: &RedisError) -> Trouble {
    let Some(code) = error.code() else {
        return Trouble::Lost(error.to_string());
    };
    let reason = match error.detail() {
        Some(detail) => format!("{code} {detail}"),
        None => code.to_owned(),
    };
    match code {
        "NOSCRIPT" => Trouble::NoScript,
        "READONLY" | "LOADING" | "MASTERDOWN" => Trouble::Elsewhere(reason),
        // Written by the script itself, after a write that cannot be taken back.
        "PARTLY" | "UNKILLABLE" => Trouble::Lost(reason),
        _ => Trouble::Refused(reason),
    }
}

/// The error in the words of the server.
pub(super) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Trouble {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let redis::Value::ServerError(error) = value else { panic!("it is an error") };
        trouble(&error.into())
    }

    #[test]
    fn what_did_not_run_is_told_from_what_may_have_run() {
        assert_eq!(of("NOSCRIPT No matching script. Please use EVAL."), Trouble::NoScript);
        let read_only = "READONLY You can't write against a read only replica.";
        assert_eq!(of(read_only), Trouble::Elsewhere(read_only.to_owned()));
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(of(full), Trouble::Refused(full.to_owned()));
        let partly = "PARTLY OOM command not allowed";
        assert_eq!(of(partly), Trouble::Lost(partly.to_owned()));
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(trouble(&broken), Trouble::Lost(_)));
    }
}
