//! From a request to the question that a store is asked.

use smallvec::SmallVec;

use super::tree::{Limited, Node, Rule, metric_path};
use super::{Domain, Modes, RuleSet};
use crate::engine::{Charge, Group, Identity, LimitFacts, Matched, Miss, Path, Question, Settlement};
use crate::request::{Descriptor, Override, Request};

impl RuleSet {
    /// What the descriptors of a request match, and the charges that come of it.
    #[must_use]
    pub fn question(&self, request: &Request, modes: Modes) -> Question<'_> {
        let index = self.by_name.get(&*request.domain).copied();
        let domain = index.map(|index| &self.domains[index]);
        let mut asking = Asking::new(self, request, modes, domain);
        if domain.is_some_and(|domain| domain.replaces) {
            // What one descriptor matches may take a limit away from another, also from one before it.
            let found: SmallVec<[Found<'_>; 2]> =
                request.descriptors.iter().map(|descriptor| Found::of(domain, descriptor)).collect();
            let replaced = replaced_names(&found);
            for (descriptor, found) in request.descriptors.iter().zip(found) {
                asking.ask(descriptor, found, &replaced);
            }
        } else {
            for descriptor in &request.descriptors {
                asking.ask(descriptor, Found::of(domain, descriptor), &[]);
            }
        }
        asking.finish(index)
    }
}

/// What one descriptor came to.
enum Found<'r> {
    Miss(Miss),
    Node(&'r Node, Counted),
    Override(Override, Counted),
}

/// Where a descriptor is counted.
struct Counted {
    identity: Identity,
    /// What it is kept together with others by.
    tag: Option<u64>,
}

impl<'r> Found<'r> {
    fn of(domain: Option<&'r Domain>, descriptor: &Descriptor) -> Self {
        let Some(domain) = domain else { return Self::Miss(Miss::Domain) };
        let entries = &descriptor.entries;
        let len = entries.iter().map(|entry| Identity::entry_len(&entry.key, &entry.value)).sum();
        let identity = Identity::of(domain.name.as_bytes(), len);
        let mut counted = Counted { identity, tag: domain.tagging.of_all() };
        if let Some(limit) = descriptor.limit {
            for entry in entries {
                counted.entry(domain, &entry.key, &entry.value);
            }
            return Self::Override(limit, counted);
        }
        let walked = domain.root.walk(entries, |node, entry, _| {
            let (key, value) = node.counted(entry);
            counted.entry(domain, key, value);
        });
        match walked {
            Err(miss) => Self::Miss(miss),
            Ok(node) => Self::Node(node, counted),
        }
    }
}

impl Counted {
    fn entry(&mut self, domain: &Domain, key: &[u8], value: &[u8]) {
        self.identity.entry(key, value);
        // The first entry of that key decides.
        self.tag = self.tag.or_else(|| domain.tagging.of_entry(key, value));
    }
}

/// The names of the rules that the matched rules replace, whether or not they are replaced themselves.
fn replaced_names<'r>(found: &[Found<'r>]) -> Vec<&'r str> {
    let mut names = Vec::new();
    for found in found {
        match found {
            Found::Node(Node { rule: Rule::Unlimited { replaces }, .. }, _) => {
                names.extend(replaces.iter().map(|name| &**name));
            }
            Found::Node(Node { rule: Rule::Limited(limited), .. }, _) if limited.replaces => {
                names.extend(limited.limits.iter().flat_map(|limit| &limit.replaces).map(|name| &**name));
            }
            _ => {}
        }
    }
    names
}

/// A question while it is put together.
struct Asking<'r, 'q> {
    rules: &'r RuleSet,
    request: &'q Request,
    modes: Modes,
    domain: Option<&'r Domain>,
    matched: SmallVec<[Matched<'r>; 2]>,
    charges: SmallVec<[Charge; 2]>,
    groups: SmallVec<[Group; 2]>,
    limits: SmallVec<[Option<&'r LimitFacts>; 2]>,
    metric_paths: SmallVec<[Option<Box<Path>>; 2]>,
}

impl<'r, 'q> Asking<'r, 'q> {
    fn new(rules: &'r RuleSet, request: &'q Request, modes: Modes, domain: Option<&'r Domain>) -> Self {
        Self {
            rules,
            request,
            modes,
            domain,
            matched: SmallVec::new(),
            charges: SmallVec::new(),
            groups: SmallVec::new(),
            limits: SmallVec::new(),
            metric_paths: SmallVec::new(),
        }
    }

    fn ask(&mut self, descriptor: &Descriptor, found: Found<'r>, replaced: &[&str]) {
        let matched = match found {
            Found::Miss(miss) => Matched::Nothing(miss),
            Found::Override(limit, counted) => {
                self.ask_override(descriptor, limit, counted);
                Matched::Limited(None)
            }
            Found::Node(node, counted) => match &node.rule {
                Rule::None if node.children.is_empty() => Matched::Exempt,
                Rule::None => Matched::Nothing(Miss::DeeperEntry),
                Rule::Unlimited { .. } => Matched::Unlimited,
                Rule::Limited(limited) => self.ask_limits(descriptor, node, limited, counted, replaced),
            },
        };
        self.matched.push(matched);
    }

    fn ask_override(&mut self, descriptor: &Descriptor, limit: Override, counted: Counted) {
        let Some(domain) = self.domain else { return };
        let limit = limit.limit(domain.overrides_count_refused);
        let mut path = Path::default();
        for entry in &descriptor.entries {
            let (key, value) = (String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value));
            path.push(&key, (!value.is_empty()).then_some(&value));
        }
        self.charges.push(Charge {
            key: counted.identity.into_key(&limit, false),
            limit,
            hits: self.request.hits(descriptor),
            shadow: false,
            mark: false,
            limit_id: domain.overrides_id,
        });
        self.limits.push(None);
        self.metric_paths.push(Some(Box::new(path)));
        self.groups.push(Group { charges: 1, quota: self.modes.global_quota, tag: counted.tag });
    }

    fn ask_limits(
        &mut self,
        descriptor: &Descriptor,
        node: &'r Node,
        limited: &'r Limited,
        counted: Counted,
        replaced: &[&str],
    ) -> Matched<'r> {
        let hits = self.request.hits(descriptor);
        let kept = |name: &str| name.is_empty() || !replaced.contains(&name);
        let mut limits = limited.limits.iter().filter(|limit| kept(&limit.name)).peekable();
        let before = self.charges.len();
        let Counted { identity, tag } = counted;
        let mut identity = Some(identity);
        while let Some(limit) = limits.next() {
            // The last limit takes the identity itself; most rules have only one.
            let own = if limits.peek().is_some() { identity.clone() } else { identity.take() };
            let Some(own) = own else { break };
            self.charges.push(Charge {
                key: own.into_key(&limit.limit, limit.mark),
                limit: limit.limit,
                hits,
                shadow: limit.shadow,
                mark: limit.mark,
                limit_id: limit.limit_id,
            });
            self.limits.push(Some(&limit.facts));
            let path = self.metric_path(descriptor, node, limited);
            let of_rule = &self.rules.limits[limit.facts.index].path;
            self.metric_paths.push(path.filter(|path| **path != *of_rule));
        }
        let charges = self.charges.len() - before;
        if charges == 0 {
            return Matched::Exempt;
        }
        self.groups.push(Group { charges, quota: limited.quota || self.modes.global_quota, tag });
        Matched::Limited(Some(&limited.facts))
    }

    fn metric_path(&self, descriptor: &Descriptor, node: &Node, limited: &Limited) -> Option<Box<Path>> {
        let domain = self.domain.filter(|_| node.has_metric_path)?;
        Some(Box::new(metric_path(&domain.root, &descriptor.entries, limited.detailed_metric)))
    }

    fn finish(self, domain: Option<usize>) -> Question<'r> {
        let passes = |matched: &Matched<'_>| matches!(matched, Matched::Nothing(_) | Matched::Exempt);
        let quota_passes = self.modes.global_quota && self.matched.iter().any(passes);
        let mut settlement = Settlement::new(self.charges, self.groups);
        settlement.quota_passes = quota_passes;
        settlement.global_shadow = self.modes.global_shadow;
        Question {
            domain,
            matched: self.matched,
            settlement,
            limits: self.limits,
            metric_paths: self.metric_paths,
        }
    }
}
