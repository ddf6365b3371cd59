//! Random rules and random settlements of their limits.

use std::collections::HashSet;

use fluxlimit::engine::{Charge, Group, Identity, Key, Settlement};
use fluxlimit::limit::Limit;
use proptest::prelude::*;

use crate::steps::{hits, limits, moves_ms};

/// One rule: its limits, each with whether it only measures, and whether it joins the quota.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) limits: Vec<(Limit, bool)>,
    pub(crate) quota: bool,
}

/// One request on a pool of rules.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// How far the clock moves before it.
    pub(crate) moves_ms: i64,
    /// Which rules are asked for how many hits; a rule may be asked twice.
    pub(crate) descriptors: Vec<(usize, i64)>,
    pub(crate) global_shadow: bool,
    pub(crate) quota_passes: bool,
    pub(crate) refused: bool,
    /// Whether it resets the keys instead of asking.
    pub(crate) resets: bool,
}

/// Rules, and requests on them.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) rules: Vec<Rule>,
    pub(crate) asks: Vec<Ask>,
}

impl Script {
    /// What the request comes to in `domain`.
    pub(crate) fn settlement(&self, domain: &str, ask: &Ask) -> Settlement {
        let charges = ask.descriptors.iter().flat_map(|(rule, hits)| self.charges(domain, *rule, *hits));
        let groups = ask.descriptors.iter().map(|(rule, _)| {
            let rule = &self.rules[*rule];
            Group { charges: rule.limits.len(), quota: rule.quota, tag: None }
        });
        let mut settlement = Settlement::new(charges.collect(), groups.collect());
        settlement.global_shadow = ask.global_shadow;
        settlement.quota_passes = ask.quota_passes;
        settlement.refused = ask.refused;
        settlement.resets = ask.resets;
        settlement
    }

    /// Every key of every rule in `domain`, with its limit.
    pub(crate) fn keys(&self, domain: &str) -> Vec<(Key, Limit)> {
        let charges = (0..self.rules.len()).flat_map(|rule| self.charges(domain, rule, 0));
        charges.map(|charge| (charge.key, charge.limit)).collect()
    }

    fn charges(&self, domain: &str, rule: usize, hits: i64) -> impl Iterator<Item = Charge> + use<'_> {
        let mut identity = Identity::of(domain.as_bytes(), 0);
        identity.entry(b"rule", rule.to_string().as_bytes());
        let limits = &self.rules[rule].limits;
        limits.iter().enumerate().map(move |(place, (limit, shadow))| {
            let mark = *shadow && limits.len() > 1;
            Charge {
                key: identity.clone().into_key(limit, mark),
                limit: *limit,
                hits,
                shadow: *shadow,
                mark,
                limit_id: (rule * 10 + place) as u64,
            }
        })
    }
}

fn rules() -> impl Strategy<Value = Rule> {
    let limits = prop::collection::vec((limits(), prop::bool::weighted(0.25)), 1..4);
    (limits, prop::bool::weighted(0.35)).prop_map(|(mut limits, quota)| {
        // As the loader has it: no algorithm and period twice among the enforced or among the measuring.
        let mut seen = HashSet::new();
        limits.retain(|(limit, shadow)| seen.insert((limit.algorithm(), limit.period_ms(), *shadow)));
        Rule { limits, quota }
    })
}

fn asks(rules: &[Rule]) -> impl Strategy<Value = Ask> + use<> {
    let one = |index: usize| hits(&rules[index].limits[0].0).prop_map(move |hits| (index, hits)).boxed();
    let any_rule = proptest::strategy::Union::new((0..rules.len()).map(one));
    let moves = rules.iter().map(|rule| moves_ms(&rule.limits[0].0).boxed());
    let rare = || prop::bool::weighted(0.08);
    (
        proptest::strategy::Union::new(moves),
        prop::collection::vec(any_rule, 1..5),
        rare(),
        rare(),
        rare(),
        rare(),
    )
        .prop_map(|(moves_ms, descriptors, global_shadow, quota_passes, refused, resets)| Ask {
            moves_ms,
            descriptors,
            global_shadow,
            quota_passes,
            refused,
            resets,
        })
}

/// Scripts of a few rules and some requests, on clocks that stop, jump back and jump ahead; keys are reset at times.
pub(crate) fn scripts() -> impl Strategy<Value = Script> {
    prop::collection::vec(rules(), 1..5).prop_flat_map(|rules| {
        let asks = prop::collection::vec(asks(&rules), 1..20);
        (Just(rules), asks).prop_map(|(rules, asks)| Script { rules, asks })
    })
}

/// The same without resets.
pub(crate) fn requests() -> impl Strategy<Value = Script> {
    scripts().prop_map(|mut script| {
        script.asks.iter_mut().for_each(|ask| ask.resets = false);
        script
    })
}
