//! How long an answer may take: `grpc-timeout`, and a bound for callers that name none.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use hyper::HeaderMap;

use crate::time::Stopwatch;

/// Longest time that a call may take, in milliseconds. The limiter answers within the store's timeout;
/// this bound is for a caller that opens a stream and never sends its message.
const MAX_WAIT_MS: u64 = 10_000;

/// The time that the call with these headers may take.
pub(super) fn of(headers: &HeaderMap) -> Duration {
    let most = Duration::from_millis(MAX_WAIT_MS);
    // A value that cannot be read is treated as absent: an error here would be a free pass.
    let asked = headers.get("grpc-timeout").and_then(|value| parse(value.as_bytes()));
    asked.map_or(most, |asked| asked.min(most))
}

/// A `grpc-timeout`: at most eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_hours(amount)),
        b'M' => Some(Duration::from_mins(amount)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// The output of `future` and what is left of `limit`, or `None` once that has passed.
///
/// The timer is made only for a future that has to wait: one that is ready, as a message that came with its
/// head is, costs no reading of the clock.
pub(super) async fn within<F: Future>(
    limit: Duration,
    mut future: Pin<&mut F>,
) -> Option<(F::Output, Duration)> {
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Some((output, limit)),
        Poll::Pending => {
            let waiting = Stopwatch::start();
            let output = Box::pin(tokio::time::timeout(limit, future)).await.ok()?;
            Some((output, limit.saturating_sub(waiting.elapsed())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        let check =
            |text: &str, expected: Option<Duration>| assert_eq!(parse(text.as_bytes()), expected, "{text}");
        check("20m", Some(Duration::from_millis(20)));
        check("1H", Some(Duration::from_hours(1)));
        check("2M", Some(Duration::from_mins(2)));
        check("3S", Some(Duration::from_secs(3)));
        check("99999999u", Some(Duration::from_micros(99_999_999)));
        check("0n", Some(Duration::ZERO));
        for text in ["", "m", "20", "123456789m", "-1S", "1.5S", "1s", "1h", " 1S", "1S "] {
            check(text, None);
        }
    }

    #[test]
    fn no_call_waits_for_ever() {
        let wait = |value: &'static str| {
            of(&HeaderMap::from_iter([(
                hyper::header::HeaderName::from_static("grpc-timeout"),
                hyper::header::HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(of(&HeaderMap::new()), Duration::from_secs(10));
        assert_eq!(wait("99999999H"), Duration::from_secs(10));
        assert_eq!(wait("soon"), Duration::from_secs(10));
        assert_eq!(wait("20m"), Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_needs_no_time_and_what_is_not_ends() {
        let ready = std::pin::pin!(async { 7 });
        assert_eq!(within(Duration::ZERO, ready).await, Some((7, Duration::ZERO)));
        assert_eq!(
            within(Duration::from_millis(20), std::pin::pin!(std::future::pending::<()>())).await,
            None
        );
    }
}
