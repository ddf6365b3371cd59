//! Kills a store now and then, and waits until its server has found it again.

use crate::cli::Plan;
use crate::subject::Subject;
use fluxlimit_load::child::Failure;
use fluxlimit_load::pages::metric;
use std::time::Duration;

/// How long a server may take to notice that its store is away, and that it is back. Probes come every five
/// seconds; the rest is for a busy machine.
const MOST: Duration = Duration::from_secs(90);
/// When the server says that its store answers, calls may still be under way that failed before.
const SETTLING: Duration = Duration::from_secs(2);

/// Where one store stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Restarts {
    /// It serves until then.
    Up { until: Duration },
    /// It has been killed.
    Down { since: Duration, is_noticed: bool },
    /// It has been started.
    Starting { since: Duration },
    /// Its server says that it answers.
    Settling { since: Duration },
}

impl Restarts {
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Goes on where something is due. No outage but the first begins after `last`.
    pub(crate) fn tick(
        &mut self,
        subject: &mut Subject,
        plan: &Plan,
        now: Duration,
        last: Duration,
    ) -> Result<(), Failure> {
        let sees = |subject: &Subject, answers: f64| {
            let text = subject.server.metrics()?;
            let is_open = metric(&text, "fluxlimit_store_breaker_open");
            let is_seen = (metric(&text, "fluxlimit_store_answers") - answers).abs() < 0.5;
            Ok::<_, Failure>(is_seen && (is_open - (1.0 - answers)).abs() < 0.5)
        };
        *self = match *self {
            Self::Up { until } if now >= until && (now <= last || subject.outages.over() == 0) => {
                subject.outages.begin();
                subject.store.kill();
                Self::Down { since: now, is_noticed: false }
            }
            Self::Down { since, is_noticed: false } => {
                if now.saturating_sub(since) > MOST {
                    return Err(format!("it has not noticed in {MOST:?} that its store is away").into());
                }
                Self::Down { since, is_noticed: sees(subject, 0.0)? }
            }
            Self::Down { since, is_noticed: true } if now.saturating_sub(since) >= plan.outage => {
                subject.store.start_again()?;
                Self::Starting { since: now }
            }
            Self::Starting { since } => {
                if now.saturating_sub(since) > MOST {
                    return Err(format!("it has not found its store again in {MOST:?}").into());
                }
                if sees(subject, 1.0)? { Self::Settling { since: now } } else { *self }
            }
            Self::Settling { since } if now.saturating_sub(since) >= SETTLING => {
                subject.outages.end();
                Self::Up { until: now + plan.outage_every }
            }
            other => other,
        };
        Ok(())
    }
}
