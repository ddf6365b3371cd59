//! Changes the rules of all servers every few seconds, and waits until each has noticed.

use crate::rules::Rules;
use crate::subject::Subject;
use fluxlimit_load::child::Failure;
use fluxlimit_load::pages::{metric, metric_where};
use std::time::Duration;

/// How long a server may take to notice a change.
const MOST: Duration = Duration::from_mins(1);
/// Every so many changes there is one with a mistake.
const SPOILT: usize = 4;

/// The rules and where their change stands.
#[derive(Debug)]
pub(crate) struct Reloads {
    rules: Rules,
    step: Step,
    /// Changes that came into force, and mistakes that did not.
    pub(crate) good: usize,
    pub(crate) bad: usize,
}

#[derive(Debug)]
enum Step {
    Idle { until: Duration },
    Waiting { since: Duration, is_bad: bool, before: Vec<Loads> },
}

/// What a server says of its rules.
#[derive(Debug, Clone, Copy)]
struct Loads {
    generation: f64,
    errors: f64,
    is_good: bool,
}

impl Loads {
    fn of(subject: &Subject) -> Result<Self, Failure> {
        let text = subject.server.metrics()?;
        Ok(Self {
            generation: metric(&text, "fluxlimit_rules_generation"),
            errors: metric_where(&text, "fluxlimit_rule_loads_total", "result=\"error\""),
            is_good: metric(&text, "fluxlimit_rules_last_load_successful") > 0.5,
        })
    }

    /// Whether a change has been noticed since then.
    fn is_after(self, before: Self, is_bad: bool) -> bool {
        if is_bad { self.errors > before.errors } else { self.is_good && self.generation > before.generation }
    }
}

impl Reloads {
    pub(crate) fn new(rules: Rules, every: Duration) -> Self {
        Self { rules, step: Step::Idle { until: every }, good: 0, bad: 0 }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle { .. })
    }

    /// Goes on if something is due; complains about servers that take no notice, or too much.
    pub(crate) fn tick(
        &mut self,
        subjects: &[Subject],
        now: Duration,
        every: Duration,
    ) -> Result<(), Failure> {
        match &self.step {
            Step::Idle { until } if now >= *until => {
                let before = subjects.iter().map(Loads::of).collect::<Result<_, _>>()?;
                let is_bad = (self.good + self.bad) % SPOILT == SPOILT - 1;
                if is_bad {
                    self.rules.spoil()?;
                } else {
                    self.rules.change()?;
                }
                self.step = Step::Waiting { since: now, is_bad, before };
            }
            Step::Waiting { since, is_bad, before } => {
                let mut all_noticed = true;
                for (subject, before) in subjects.iter().zip(before) {
                    let after = Loads::of(subject)?;
                    let is_noticed = after.is_after(*before, *is_bad);
                    all_noticed &= is_noticed;
                    if !is_noticed && now.saturating_sub(*since) > MOST {
                        let what = if *is_bad { "a mistake in its rules" } else { "new rules" };
                        subject.complain(format!(
                            "it has not noticed {what} in {MOST:?}: {after:?} after {before:?}"
                        ));
                    }
                    if *is_bad && (after.generation > before.generation || is_noticed && after.is_good) {
                        subject.complain(format!(
                            "rules with a mistake came into force: {after:?} after {before:?}"
                        ));
                    }
                }
                if all_noticed {
                    *(if *is_bad { &mut self.bad } else { &mut self.good }) += 1;
                    self.step = Step::Idle { until: now + every };
                }
            }
            Step::Idle { .. } => {}
        }
        Ok(())
    }
}
