//! Which lines of the log are written where others decide how often there is something to say.

use std::collections::HashMap;
use std::time::Duration;

/// How long after a line of one kind there is no other, in milliseconds.
const LOG_MS: u64 = 1_000;

/// One line of a kind at a time.
#[derive(Debug, Default)]
pub struct Sampler(HashMap<&'static str, Sampled>);

#[derive(Debug)]
struct Sampled {
    at: Duration,
    left_out: u64,
}

impl Sampler {
    /// Whether a line of that kind is written now, and if so how many were left out before it. `now` is the time
    /// since any fixed moment.
    pub fn take(&mut self, kind: &'static str, now: Duration) -> Option<u64> {
        let Some(sampled) = self.0.get_mut(kind) else {
            self.0.insert(kind, Sampled { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_sub(sampled.at) < Duration::from_millis(LOG_MS) {
            sampled.left_out += 1;
            return None;
        }
        sampled.at = now;
        Some(std::mem::take(&mut sampled.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_a_kind_is_written_in_a_second() {
        let mut log = Sampler::default();
        let at = Duration::from_millis;
        assert_eq!(log.take("lost", at(0)), Some(0));
        assert_eq!(log.take("lost", at(1)), None);
        assert_eq!(log.take("timed_out", at(1)), Some(0));
        assert_eq!(log.take("lost", at(999)), None);
        assert_eq!(log.take("lost", at(1000)), Some(2));
        assert_eq!(log.take("lost", at(1500)), None);
        assert_eq!(log.take("lost", at(9000)), Some(1));
    }
}
