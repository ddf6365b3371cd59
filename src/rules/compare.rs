//! What a change of rule files does, rule by rule.
//!
//! Rules are the same rule if domain and path are; limits of a rule are paired by what they are counted
//! under, then by name, then in order.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::file::{Node, NodeLimit, NodeLimits, RuleFile};
use super::pattern::is_pattern;
use crate::engine::Path;
use crate::limit::{Algorithm, Limit};

/// What a limit is counted under beside the identity of the request. Another meter begins to count anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Meter {
    algorithm: Algorithm,
    period_ms: u64,
    /// Whether it is a shadow limit in a list, which has a counter of its own.
    mark: bool,
}

/// A rule that is not what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'f> {
    /// Its domain.
    pub domain: &'f str,
    /// The way to it.
    pub path: Path,
    /// The file and the node of the new rule, or of the old one if it is gone.
    pub spot: (&'f str, &'f Node),
    /// What it was; `None` if it is new.
    pub before: Option<Enforced<'f>>,
    /// What it is; `None` if it is gone.
    pub after: Option<Enforced<'f>>,
    /// What that does; at least one.
    pub effects: Vec<Effect>,
}

/// What a rule enforces: one of its limits, or nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Enforced<'f> {
    /// A limit.
    Limit(&'f NodeLimit),
    /// `unlimited`.
    Unlimited,
    /// Neither a limit nor deeper rules: everything passes.
    Exempt,
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// There was no such limit.
    Added,
    /// There is no such limit any more.
    Removed,
    /// It admits more: a higher rate, more at once, or refused hits that no longer count.
    Loosened,
    /// It admits less.
    Tightened,
    /// It admits more in one way and less in another, or cannot be compared.
    Changed,
    /// It counts anew, because what it is counted under changed.
    StartedFresh,
    /// It has another name.
    Renamed,
    /// It refuses nobody any more.
    ShadowOn,
    /// It refuses from now on.
    ShadowOff,
    /// It joins the quota from now on.
    QuotaOn,
    /// It refuses alone from now on.
    QuotaOff,
    /// Among the patterns of its level it stands elsewhere, so other requests may reach it.
    Reordered,
    /// What it replaces, answers or measures is different.
    Details,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 13] = [
        Self::Added,
        Self::Removed,
        Self::Loosened,
        Self::Tightened,
        Self::Changed,
        Self::StartedFresh,
        Self::Renamed,
        Self::ShadowOn,
        Self::ShadowOff,
        Self::QuotaOn,
        Self::QuotaOff,
        Self::Reordered,
        Self::Details,
    ];

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Loosened => "loosened",
            Self::Tightened => "tightened",
            Self::Changed => "changed",
            Self::StartedFresh => "started fresh",
            Self::Renamed => "renamed",
            Self::ShadowOn => "shadow on",
            Self::ShadowOff => "shadow off",
            Self::QuotaOn => "quota on",
            Self::QuotaOff => "quota off",
            Self::Reordered => "reordered",
            Self::Details => "details",
        }
    }
}

impl Meter {
    /// That of a limit; `mark` says whether it is a shadow limit in a list.
    #[must_use]
    pub const fn of(limit: &Limit, mark: bool) -> Self {
        Self { algorithm: limit.algorithm(), period_ms: limit.period_ms(), mark }
    }

    /// Whether a rule that had those meters has counted nothing for this one. Any of its limits may have
    /// counted for it: limits of a list are told apart by nothing else.
    #[must_use]
    pub fn is_fresh(self, before: &[Self]) -> bool {
        !before.is_empty() && !before.contains(&self)
    }
}

/// Every rule that is not what it was, in the order of the new files; those that are gone come last.
#[must_use]
pub fn compare<'f>(old: &'f [RuleFile], new: &'f [RuleFile]) -> Vec<Change<'f>> {
    let (old, new) = (rules(old), rules(new));
    let mut before: HashMap<(&str, &Path), &Rule<'f>> =
        old.iter().map(|rule| ((rule.domain, &rule.path), rule)).collect();
    let moved = moved(&old, &new);
    let mut changes = Vec::new();
    for rule in &new {
        let was = before.remove(&(rule.domain, &rule.path));
        changes.extend(changed(was, rule, moved.contains(&(rule.domain, &rule.path))));
    }
    for rule in old.iter().filter(|rule| before.contains_key(&(rule.domain, &rule.path))) {
        let gone = rule.enforced().into_iter();
        changes.extend(gone.map(|enforced| rule.change(Some(enforced), None, vec![Effect::Removed])));
    }
    changes
}

/// A node and the way to it.
struct Rule<'f> {
    domain: &'f str,
    path: Path,
    file: &'f str,
    node: &'f Node,
    /// For each node on the way, whether what its pattern matches shares one counter.
    shares: Vec<bool>,
    /// The way to the level that it stands in.
    parent: Path,
}

fn rules(files: &[RuleFile]) -> Vec<Rule<'_>> {
    let mut found = Vec::new();
    for file in files {
        collect(file, (&Path::default(), &[]), &file.descriptors, &mut found);
    }
    found
}

fn collect<'f>(file: &'f RuleFile, above: (&Path, &[bool]), nodes: &'f [Node], found: &mut Vec<Rule<'f>>) {
    for node in nodes {
        let path = above.0.then(&node.key, (!node.value.is_empty()).then_some(&*node.value));
        let shares: Vec<bool> = above.1.iter().copied().chain([node.share_threshold]).collect();
        let (at, of) = (path.clone(), shares.clone());
        let parent = above.0.clone();
        found.push(Rule { domain: &file.domain, path, file: &file.name, node, shares, parent });
        collect(file, (&at, &of), &node.children, found);
    }
}

/// The patterns that both have, but in another order within their level.
fn moved<'r>(old: &'r [Rule<'_>], new: &'r [Rule<'_>]) -> HashSet<(&'r str, &'r Path)> {
    let known: HashSet<_> = old.iter().map(|rule| (rule.domain, &rule.path)).collect();
    let still: HashSet<_> = new.iter().map(|rule| (rule.domain, &rule.path)).collect();
    let levels = |rules: &'r [Rule<'_>]| {
        let mut levels: HashMap<(&str, &Path), Vec<&'r Path>> = HashMap::new();
        for rule in rules {
            let is_common =
                known.contains(&(rule.domain, &rule.path)) && still.contains(&(rule.domain, &rule.path));
            if is_common && (is_pattern(&rule.node.key) || is_pattern(&rule.node.value)) {
                levels.entry((rule.domain, &rule.parent)).or_default().push(&rule.path);
            }
        }
        levels
    };
    let before = levels(old);
    let mut moved = HashSet::new();
    for ((domain, parent), after) in levels(new) {
        let Some(before) = before.get(&(domain, parent)) else { continue };
        let pairs = before.iter().zip(&after);
        moved.extend(pairs.filter(|(was, is)| was != is).map(|(_, is)| (domain, *is)));
    }
    moved
}

impl<'f> Rule<'f> {
    fn enforced(&self) -> Vec<Enforced<'f>> {
        match &self.node.limits {
            NodeLimits::None if self.node.children.is_empty() => vec![Enforced::Exempt],
            NodeLimits::None => vec![],
            NodeLimits::Unlimited { .. } => vec![Enforced::Unlimited],
            NodeLimits::Limited { limits, .. } => limits.iter().map(Enforced::Limit).collect(),
        }
    }

    fn meter(&self, enforced: Enforced<'_>) -> Option<Meter> {
        let is_list = matches!(self.node.limits, NodeLimits::Limited { is_list: true, .. });
        let Enforced::Limit(limit) = enforced else { return None };
        Some(Meter::of(&limit.limit, is_list && limit.shadow_mode))
    }

    fn change(
        &self,
        before: Option<Enforced<'f>>,
        after: Option<Enforced<'f>>,
        mut effects: Vec<Effect>,
    ) -> Change<'f> {
        effects.sort();
        Change {
            domain: self.domain,
            path: self.path.clone(),
            spot: (self.file, self.node),
            before,
            after,
            effects,
        }
    }

    /// What requests that end here are told and measured by.
    fn details(&self) -> impl PartialEq + use<'f> {
        let Node { detailed_metric, value_to_metric, metadata, limits, .. } = self.node;
        let replaces: Vec<_> = match limits {
            NodeLimits::None => Vec::new(),
            NodeLimits::Unlimited { replaces, .. } => vec![replaces],
            NodeLimits::Limited { limits, .. } => limits.iter().map(|limit| &limit.replaces).collect(),
        };
        let replaces: Vec<_> = replaces.into_iter().filter(|names| !names.is_empty()).collect();
        (*detailed_metric, *value_to_metric, metadata, replaces)
    }
}

/// The changes of one rule, limit by limit.
fn changed<'f>(was: Option<&Rule<'f>>, rule: &Rule<'f>, is_moved: bool) -> Vec<Change<'f>> {
    let after = rule.enforced();
    let Some(was) = was else {
        let added = after.into_iter();
        return added.map(|enforced| rule.change(None, Some(enforced), vec![Effect::Added])).collect();
    };
    let meters: Vec<Meter> = was.enforced().into_iter().filter_map(|old| was.meter(old)).collect();
    let mut changes = Vec::new();
    for (before, after) in pairs(was, rule) {
        let mut effects = match (before, after) {
            (None, _) => vec![Effect::Added],
            (_, None) => vec![Effect::Removed],
            (Some(before), Some(after)) => effects(before, after),
        };
        let fresh = after
            .and_then(|after| rule.meter(after))
            .is_some_and(|meter| meter.is_fresh(&meters) || (before.is_some() && was.shares != rule.shares));
        if fresh && before.is_some() {
            effects.push(Effect::StartedFresh);
        }
        if let (Some(_), Some(Enforced::Limit(_))) = (before, after) {
            match (was.node.quota_mode, rule.node.quota_mode) {
                (false, true) => effects.push(Effect::QuotaOn),
                (true, false) => effects.push(Effect::QuotaOff),
                _ => {}
            }
        }
        if before.is_some() && after.is_some() && is_moved {
            effects.push(Effect::Reordered);
        }
        if before.is_some() && after.is_some() && was.details() != rule.details() {
            effects.push(Effect::Details);
        }
        if !effects.is_empty() {
            changes.push(rule.change(before, after, effects));
        }
    }
    changes
}

/// Whether something that was enforced and something that is are taken for the same.
type Fits<'a> = &'a dyn Fn(Enforced<'_>, Enforced<'_>) -> bool;

/// What a rule enforced and what it enforces, by twos.
fn pairs<'f>(was: &Rule<'f>, is: &Rule<'f>) -> Vec<(Option<Enforced<'f>>, Option<Enforced<'f>>)> {
    let mut before: Vec<Option<Enforced<'f>>> = was.enforced().into_iter().map(Some).collect();
    let after = is.enforced();
    let mut partners: Vec<Option<Enforced<'f>>> = vec![None; after.len()];
    let same_meter = |old: Enforced<'_>, new: Enforced<'_>| was.meter(old) == is.meter(new);
    let same_name = |old: Enforced<'_>, new: Enforced<'_>| !old.name().is_empty() && old.name() == new.name();
    let rounds: [Fits<'_>; 3] = [&same_meter, &same_name, &|_, _| true];
    for fits in rounds {
        for (partner, new) in partners.iter_mut().zip(&after).filter(|(partner, _)| partner.is_none()) {
            let old = before.iter_mut().find(|old| old.is_some_and(|old| fits(old, *new)));
            *partner = old.and_then(Option::take);
        }
    }
    let kept = partners.into_iter().zip(after.into_iter().map(Some));
    kept.chain(before.into_iter().flatten().map(|gone| (Some(gone), None))).collect()
}

impl Enforced<'_> {
    fn name(&self) -> &str {
        if let Self::Limit(limit) = self { &limit.name } else { "" }
    }
}

fn effects(before: Enforced<'_>, after: Enforced<'_>) -> Vec<Effect> {
    let (before, after) = match (before, after) {
        (Enforced::Limit(before), Enforced::Limit(after)) => (before, after),
        (Enforced::Limit(_), _) => return vec![Effect::Loosened],
        (_, Enforced::Limit(_)) => return vec![Effect::Tightened],
        (before, after) if before == after => return vec![],
        _ => return vec![Effect::Changed],
    };
    let mut effects = Vec::new();
    effects.extend(direction(&before.limit, &after.limit));
    if before.name != after.name {
        effects.push(Effect::Renamed);
    }
    match (before.shadow_mode, after.shadow_mode) {
        (false, true) => effects.push(Effect::ShadowOn),
        (true, false) => effects.push(Effect::ShadowOff),
        _ => {}
    }
    effects
}

/// Whether the numbers admit more or less than before; `None` if they are the same.
fn direction(before: &Limit, after: &Limit) -> Option<Effect> {
    let rate = |limit: &Limit, other: &Limit| u128::from(limit.count()) * u128::from(other.period_ms());
    let numbers = [
        rate(after, before).cmp(&rate(before, after)),
        after.capacity().cmp(&before.capacity()),
        // Counting what is refused keeps people out for longer.
        before.count_refused().cmp(&after.count_refused()),
    ];
    let algorithm = match (before.algorithm(), after.algorithm()) {
        (before, after) if before == after => Ordering::Equal,
        // What no window of one period exceeds, no window of the clock exceeds either.
        (Algorithm::FixedWindow, Algorithm::SlidingWindow) if same_period(before, after) => Ordering::Less,
        (Algorithm::SlidingWindow, Algorithm::FixedWindow) if same_period(before, after) => Ordering::Greater,
        _ => return Some(Effect::Changed),
    };
    let mut ways = numbers.into_iter().chain([algorithm]).filter(|way| way.is_ne());
    let first = ways.next()?;
    Some(match first {
        _ if ways.any(|way| way != first) => Effect::Changed,
        Ordering::Greater => Effect::Loosened,
        _ => Effect::Tightened,
    })
}

fn same_period(before: &Limit, after: &Limit) -> bool {
    before.period_ms() == after.period_ms()
}
