//! The state of single keys, for operators: looked at without counting, and reset.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::{CheckError, Limiter};
use crate::algorithm::Verdict;
use crate::engine::{Key, Matched, Miss, Outcome, Question, Settlement};
use crate::limit::Limit;
use crate::request::Request;
use crate::store::{Settling, StoreError};

/// What is known of the keys of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Whether the request would pass now.
    pub passes: bool,
    /// Of each descriptor, in the order of the request.
    pub descriptors: Vec<Inspected>,
}

/// What is known of one descriptor.
#[derive(Debug, Clone, PartialEq)]
pub enum Inspected {
    /// No limit applies, for this reason.
    Nothing(Miss),
    /// A rule without a limit, or whose limits were all replaced.
    Exempt,
    /// A rule that says `unlimited`.
    Unlimited,
    /// Limits apply.
    Limited {
        /// The way to their rule in its domain; `None` for a limit that the request brought along.
        rule: Option<Box<str>>,
        /// Whether the rule joins the quota.
        quota: bool,
        /// Its limits, in order.
        counters: Vec<Counter>,
    },
}

/// One limit of one descriptor, and where it is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// The name of the limit; `None` if it has none.
    pub name: Option<Arc<str>>,
    /// Its numbers.
    pub limit: Limit,
    /// Whether it only measures.
    pub shadow: bool,
    /// The hits that were asked about.
    pub hits: i64,
    /// Where it is counted: an overflow key while the store is full and has no place for the key's own.
    pub key: Key,
    /// The name of that key in the store.
    pub stored_as: Box<[u8]>,
    /// What would be said of those hits; `None` if what is stored cannot be read. Before a reset, if there was one.
    pub verdict: Option<Verdict>,
    /// Whether the key was reset.
    pub reset: bool,
}

/// Which limits of each descriptor are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// The one with this number, from 1.
    Number(usize),
    /// Those of this name.
    Name(String),
}

impl Limiter {
    /// How the keys of `request` stand, and whether its hits would pass; nothing is counted anywhere. The store is
    /// asked, not what is remembered of it. Hits that are given back are looked at as none.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn look(&self, request: &Request) -> Result<Inspection, CheckError> {
        let active = self.active(request)?;
        let question = active.rules.question(request, self.settings.modes);
        let outcome = self.settle_patiently(&question.settlement.looking()).await?;
        Ok(self.inspection(&question, Some(&outcome)))
    }

    /// Makes the keys of `request` unused, of all limits of its descriptors or of some, in one step where the store
    /// can; and forgets what was remembered of them here. Answers how they stood before. To do it again is no harm.
    ///
    /// # Errors
    /// See [`CheckError`]. After a timeout or a lost connection they may have been reset all the same.
    pub async fn reset(&self, request: &Request, which: &Which) -> Result<Inspection, CheckError> {
        let active = self.active(request)?;
        let question = active.rules.question(request, self.settings.modes);
        let before = match self.settle_patiently(&question.settlement.looking()).await {
            Ok(outcome) => Some(outcome),
            // A reset is what helps.
            Err(StoreError::Unreadable { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut inspection = self.inspection(&question, before.as_ref());
        let chosen = inspection.choose(which);
        let resetting = question.settlement.resetting(|index| chosen[index]);
        let forgetting = self.cache.as_ref().map(|cache| cache.forgetting(&resetting));
        let outcome = self.settle_patiently(&resetting).await?;
        drop(forgetting);
        let mut kept = (0..chosen.len()).filter(|index| chosen[*index]).enumerate();
        for counter in inspection.counters_mut().filter(|counter| counter.reset) {
            let Some((place, index)) = kept.next() else { break };
            let overflowed = outcome.overflowed.contains(&place);
            let settlement = &question.settlement;
            (counter.key, counter.stored_as) = self.counted_at(settlement, index, overflowed);
        }
        Ok(inspection)
    }

    /// Waits for the store as long as a request may.
    async fn settle_patiently(&self, settlement: &Settlement) -> Result<Outcome, StoreError> {
        match self.ask_store(settlement) {
            Settling::Ready(outcome) => outcome,
            Settling::Later(ticket) => {
                let patience = Duration::from_millis(self.settings.store_timeout_ms);
                tokio::time::timeout(patience, ticket).await.unwrap_or(Err(StoreError::TimedOut))
            }
        }
    }

    fn inspection(&self, question: &Question<'_>, outcome: Option<&Outcome>) -> Inspection {
        let settlement = &question.settlement;
        let allowed = |index: usize| outcome.is_none_or(|outcome| outcome.verdicts[index].allowed);
        let refused = settlement.refuses(&settlement.refused_groups(allowed)) && !settlement.global_shadow;
        let counter = |index: usize| {
            let charge = &settlement.charges()[index];
            let overflowed = outcome.is_some_and(|outcome| outcome.overflowed.contains(&index));
            let (key, stored_as) = self.counted_at(settlement, index, overflowed);
            Counter {
                name: question.limits[index].and_then(|facts| facts.name.clone()),
                limit: charge.limit,
                shadow: charge.shadow,
                hits: charge.hits,
                key,
                stored_as,
                verdict: outcome.map(|outcome| outcome.verdicts[index]),
                reset: false,
            }
        };
        let mut groups = settlement.groups();
        let descriptors = question.matched.iter().map(|matched| match matched {
            Matched::Nothing(miss) => Inspected::Nothing(*miss),
            Matched::Exempt => Inspected::Exempt,
            Matched::Unlimited => Inspected::Unlimited,
            Matched::Limited(rule) => {
                let (group, range) = groups.next().expect("one group per limited descriptor");
                let rule = rule.map(|rule| rule.path.clone());
                Inspected::Limited { rule, quota: group.quota, counters: range.map(counter).collect() }
            }
        });
        Inspection { passes: !refused, descriptors: descriptors.collect() }
    }

    /// The key of a charge, or the overflow key in its place, and its name in the store.
    fn counted_at(&self, settlement: &Settlement, index: usize, overflowed: bool) -> (Key, Box<[u8]>) {
        let moved = overflowed.then(|| settlement.overflowed(|slot| slot == settlement.slot(index)));
        let settlement = moved.as_ref().unwrap_or(settlement);
        let names = self.store.names(settlement);
        let stored_as = names.into_iter().nth(settlement.slot(index)).unwrap_or_default();
        (settlement.charges()[index].key.clone(), stored_as)
    }
}

impl Inspection {
    /// Every limit of every descriptor.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.descriptors.iter().flat_map(|descriptor| match descriptor {
            Inspected::Limited { counters, .. } => &counters[..],
            _ => &[],
        })
    }

    fn counters_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.descriptors.iter_mut().flat_map(|descriptor| match descriptor {
            Inspected::Limited { counters, .. } => &mut counters[..],
            _ => &mut [],
        })
    }

    /// Notes which limits are reset; the same by the place of the charge.
    fn choose(&mut self, which: &Which) -> SmallVec<[bool; 8]> {
        for descriptor in &mut self.descriptors {
            let Inspected::Limited { counters, .. } = descriptor else { continue };
            for (place, counter) in counters.iter_mut().enumerate() {
                counter.reset = match which {
                    Which::All => true,
                    Which::Number(number) => place + 1 == *number,
                    Which::Name(name) => counter.name.as_deref() == Some(name),
                };
            }
        }
        self.counters().map(|counter| counter.reset).collect()
    }
}
