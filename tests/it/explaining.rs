//! Explanations held against the matcher that answers requests.

use fluxlimit::engine::Matched;
use fluxlimit::request::{Descriptor, Entry, Request};
use fluxlimit::rules::explain::{End, Explainer, Why};
use fluxlimit::rules::file::NodeLimits;
use fluxlimit::rules::{Modes, RuleSet};
use proptest::prelude::*;

use crate::naive_matching::levels;
use crate::steps::config;
use crate::trees::file;

fn descriptors() -> impl Strategy<Value = Vec<Descriptor>> {
    let keys = proptest::sample::select(vec!["a", "b", "ab", "ba", "c"]);
    let values = proptest::sample::select(vec!["", "x", "y", "xy", "xzy", "z"]);
    let entry = (keys, values).prop_map(|(key, value)| Entry::new(key, value));
    let entries = prop::collection::vec(entry, 0..4);
    let descriptor = entries.prop_map(Descriptor::of);
    prop::collection::vec(descriptor, 1..4)
}

fn request(domain: &str, descriptors: Vec<Descriptor>) -> Request {
    Request { domain: domain.to_owned().into(), descriptors: descriptors.into(), hits_addend: 1 }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_explanation_says_what_the_matcher_does(
        tree in levels(), descriptors in descriptors(), known in any::<bool>(), split in 0..4usize,
    ) {
        let at = split.min(tree.len());
        let files = [file("d", tree[..at].to_vec()), file("d", tree[at..].to_vec())];
        let request = request(if known { "d" } else { "dd" }, descriptors);
        let rules = RuleSet::compile(&files);
        let explainer = Explainer::new(&files);
        let explanation = explainer.explain(&request);
        let question = rules.question(&request, Modes::default());
        let mut facts = question.limits.iter();
        for ((explained, matched), asked) in
            explanation.descriptors.iter().zip(&question.matched).zip(&request.descriptors)
        {
            let is_same = match (&explained.end, matched) {
                (End::Miss { miss, .. }, Matched::Nothing(reason)) => miss == reason,
                (End::Exempt(rule), Matched::Exempt) => rule.node.limits == NodeLimits::None,
                (End::Replaced { limits, .. }, Matched::Exempt) => {
                    limits.iter().all(|applied| applied.replaced_by.is_some())
                }
                (End::Unlimited(_), Matched::Unlimited) => true,
                (End::Limited { limits, .. }, Matched::Limited(Some(_))) => {
                    let applied = limits.iter().filter(|applied| applied.replaced_by.is_none());
                    applied.map(|applied| Some(applied.limit.limit)).eq(facts
                        .by_ref()
                        .take(limits.iter().filter(|applied| applied.replaced_by.is_none()).count())
                        .map(|facts| rules.limits()[facts.unwrap().index].limit))
                }
                _ => false,
            };
            prop_assert!(is_same, "{:?} for {matched:?}", explained.end);
            prop_assert!(explained.steps.len() <= asked.entries.len());
            for (step, entry) in explained.steps.iter().zip(&asked.entries) {
                let node = step.spot.node;
                prop_assert!(node.key.contains('*') || entry.key == *node.key);
            }
        }
    }

    #[test]
    fn what_a_hint_offers_reaches_the_rule_that_it_names(tree in levels(), descriptors in descriptors()) {
        let files = [file("d", tree)];
        let request = request("d", descriptors);
        let explainer = Explainer::new(&files);
        for explained in explainer.explain(&request).descriptors {
            for hint in explained.hints {
                let Some(offered) = hint.descriptors else { continue };
                // An entry that is made up may be taken by a more specific rule; that is limited too.
                let is_made_up = matches!(hint.why, Why::OneMoreEntry { .. } | Why::EntriesBefore { .. });
                let rules = match hint.why {
                    // These are about one mistake; there may be another one behind it.
                    Why::NearKey(_) | Why::NearValue(_) => continue,
                    Why::ManyDescriptors(rules) => rules,
                    Why::OneMoreEntry { at, .. } => vec![at],
                    Why::OtherOrder(rule)
                    | Why::OneDescriptor { rule, .. }
                    | Why::ExtraEntry { rule, .. }
                    | Why::LimitOnTheWay { rule, .. }
                    | Why::EntriesBefore { rule, .. } => vec![rule],
                    why => panic!("nothing to ask with: {why:?}"),
                };
                let offered = offered.into_iter().map(Descriptor::of);
                let again = explainer.explain(&Request { descriptors: offered.collect(), ..request.clone() });
                for rule in rules {
                    let is_reached = again.descriptors.iter().any(|one| match &one.end {
                        End::Limited { rule: reached, .. } | End::Replaced { rule: reached, .. } => {
                            is_made_up || std::ptr::eq(reached.node, rule.node)
                        }
                        _ => false,
                    });
                    prop_assert!(is_reached, "{rule:?}");
                }
            }
        }
    }
}
