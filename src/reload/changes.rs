//! What a new rule set does to the state of the old one.

use std::collections::HashMap;

use crate::rules::compare::Meter;
use crate::rules::{LimitInfo, RuleSet};

/// The limits that were there before and begin to count anew, because their algorithm or period is part of
/// the key under which they are counted.
pub(super) fn started_fresh(old: &RuleSet, new: &RuleSet) -> Vec<String> {
    let mut before: HashMap<_, Vec<Meter>> = HashMap::new();
    for (place, meter) in metered(old) {
        before.entry(place).or_default().push(meter);
    }
    let fresh =
        metered(new).filter(|(place, meter)| before.get(place).is_some_and(|meters| meter.is_fresh(meters)));
    fresh.map(|((domain, path), _)| format!("{domain}: {path}")).collect()
}

type Place<'a> = (&'a str, String);

fn metered(rules: &RuleSet) -> impl Iterator<Item = (Place<'_>, Meter)> {
    rules.limits().iter().filter_map(|info: &LimitInfo| {
        let limit = info.limit?;
        let meter = Meter::of(&limit, info.in_list && info.shadow_mode);
        Some(((&*info.domain, info.path.to_string()), meter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::load::{LoadOptions, Source, load};

    fn rules(limit: &str) -> RuleSet {
        let text = format!("domain: d\ndescriptors: [{{key: k, rate_limit: {limit}}}]");
        let source = Source { name: "a.yaml".to_owned(), text: text.into_bytes() };
        let loaded = load(&[source], &LoadOptions::default());
        assert!(loaded.is_ok(), "{:?}", loaded.problems);
        RuleSet::compile(&loaded.files)
    }

    #[test]
    fn a_limit_starts_fresh_when_its_algorithm_or_period_changes_and_not_otherwise() {
        let old = rules("{unit: hour, requests_per_unit: 5}");
        let check = |limit: &str, expected: &[&str]| {
            assert_eq!(started_fresh(&old, &rules(limit)), expected, "{limit}");
        };
        check("{unit: hour, requests_per_unit: 50}", &[]);
        check("{unit: hour, requests_per_unit: 5, count_refused: false}", &[]);
        check("{unit: day, requests_per_unit: 5}", &["d: k"]);
        check("{unit: hour, requests_per_unit: 5, algorithm: token_bucket}", &["d: k"]);
        check("[{unit: hour, requests_per_unit: 5}, {unit: day, requests_per_unit: 9}]", &["d: k"]);
    }
}
