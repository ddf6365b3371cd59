//! Response headers that tell a client how much it has left.

use std::fmt::Write;
use std::sync::Arc;

use super::judged::Judged;
use super::{Code, Header};

/// Which response headers are added to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderStyle {
    /// None.
    #[default]
    Off,
    /// The three of the reference server.
    Reference,
    /// The fields of draft-ietf-httpapi-ratelimit-headers, and `Retry-After` (RFC 9110) when refused.
    Ietf,
    /// The reference's three, then the IETF fields.
    Both,
}

/// Names of the reference's three headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames {
    /// Hits per period.
    pub limit: Arc<str>,
    /// Hits that are left.
    pub remaining: Arc<str>,
    /// Seconds until the limit resets.
    pub reset: Arc<str>,
}

impl Default for HeaderNames {
    /// The reference's defaults.
    fn default() -> Self {
        Self {
            limit: "RateLimit-Limit".into(),
            remaining: "RateLimit-Remaining".into(),
            reset: "RateLimit-Reset".into(),
        }
    }
}

pub(super) fn headers(
    judged: &[Judged<'_>],
    code: Code,
    style: HeaderStyle,
    names: &HeaderNames,
) -> Vec<Header> {
    let mut headers = Vec::new();
    if style == HeaderStyle::Off {
        return headers;
    }
    let Some(told) = told(judged) else { return headers };
    if matches!(style, HeaderStyle::Reference | HeaderStyle::Both) {
        let HeaderNames { limit, remaining, reset } = names;
        headers.push(Header { name: limit.clone(), value: told.limit.count().to_string() });
        headers.push(Header { name: remaining.clone(), value: told.remaining().to_string() });
        headers.push(Header { name: reset.clone(), value: told.reset_s().to_string() });
    }
    if matches!(style, HeaderStyle::Ietf | HeaderStyle::Both) {
        headers.push(Header { name: "RateLimit-Policy".into(), value: policies(judged) });
        headers.push(Header {
            name: "RateLimit".into(),
            value: format!("\"{}\";r={};t={}", policy_name(told), told.remaining(), told.reset_s()),
        });
        if code == Code::OverLimit {
            let retry_after_s = retry_after_s(judged).unwrap_or(told.reset_s());
            headers.push(Header { name: "Retry-After".into(), value: retry_after_s.to_string() });
        }
    }
    headers
}

/// The descriptor that the headers tell of, as the reference chooses: the last one outside the quota that is
/// over its limit, else the first with the fewest hits left, if that is fewer than can be told.
fn told<'a, 'j>(judged: &'a [Judged<'j>]) -> Option<&'a Judged<'j>> {
    let over = judged.iter().rev().find(|judged| judged.is_over() && !judged.quota);
    over.or_else(|| {
        judged.iter().filter(|judged| judged.remaining() < u32::MAX).min_by_key(|judged| judged.remaining())
    })
}

/// Seconds until the request may pass: every enforced descriptor that is over has to let go, and one of the
/// quota if all of it is over.
fn retry_after_s(judged: &[Judged<'_>]) -> Option<u64> {
    let enforced = judged.iter().filter(|judged| judged.is_over() && !judged.quota);
    let quota = judged.iter().filter(|judged| judged.quota);
    let quota_s = if quota.clone().all(Judged::is_over) { quota.map(Judged::reset_s).min() } else { None };
    enforced.map(Judged::reset_s).max().max(quota_s)
}

fn policies(judged: &[Judged<'_>]) -> String {
    let mut text = String::new();
    for judged in judged {
        let separator = if text.is_empty() { "" } else { ", " };
        let window_s = judged.limit.period_ms() / 1000;
        write!(text, "{separator}\"{}\";q={};w={window_s}", policy_name(judged), judged.limit.count())
            .expect("writing to a string cannot fail");
    }
    text
}

/// The rule's name, else what the limit says, such as `10-per-30-seconds`.
fn policy_name(judged: &Judged<'_>) -> String {
    if let Some(name) = judged.name() {
        return name.to_string();
    }
    let (count, unit) = (judged.limit.count(), judged.limit.unit().name());
    match judged.limit.unit_multiplier() {
        1 => format!("{count}-per-{unit}"),
        units => format!("{count}-per-{units}-{unit}s"),
    }
}
