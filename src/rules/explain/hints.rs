//! What may have been meant by a descriptor to which no limit applies.

use super::super::RuleSet;
use super::super::file::{Node, RuleFile};
use super::super::pattern::is_pattern;
use super::search::{detour, from_deeper, other_order};
use super::terrain::{Spot, Terrain};
use super::{End, Explained, MAX_EXPECTED, lossy};
use crate::engine::Miss;
use crate::request::{Entry, MAX_ENTRIES, Request};
use crate::yaml::nearest;

/// How many hints a descriptor gets: what is less likely would only hide what is likely.
const MAX_HINTS: usize = 4;

/// One thing that may have been meant.
#[derive(Debug, Clone)]
pub struct Hint<'f> {
    /// What it is.
    pub why: Why<'f>,
    /// The domain to ask instead, if another one is meant.
    pub domain: Option<&'f str>,
    /// The descriptors to ask with instead, if that would reach a rule.
    pub descriptors: Option<Vec<Vec<Entry>>>,
}

/// Why no limit applies, in a way that says how to mend it. Entries and descriptors are named by place.
#[derive(Debug, Clone)]
pub enum Why<'f> {
    /// A domain has a similar name.
    NearDomain(&'f RuleFile),
    /// The same entries reach a rule of another domain.
    OtherDomain(Spot<'f>),
    /// A rule has a similar key.
    NearKey(Spot<'f>),
    /// A rule has the key with a similar value.
    NearValue(Spot<'f>),
    /// The same entries reach a rule in another order.
    OtherOrder(Spot<'f>),
    /// Together with the entries of another descriptor they reach a rule.
    OneDescriptor {
        /// The place of the other descriptor.
        with: usize,
        /// The rule.
        rule: Spot<'f>,
    },
    /// As descriptors of their own, the parts of the descriptor reach rules.
    ManyDescriptors(Vec<Spot<'f>>),
    /// Without one entry the others reach a rule.
    ExtraEntry {
        /// The place of the entry.
        without: usize,
        /// The rule.
        rule: Spot<'f>,
    },
    /// The entries end at a node that has no limit of its own, only deeper rules.
    OneMoreEntry {
        /// The node.
        at: Spot<'f>,
        /// Deeper rules; at most [`MAX_EXPECTED`].
        deeper: Vec<Spot<'f>>,
    },
    /// The rule stands deeper: it wants other entries before these.
    EntriesBefore {
        /// The nodes of the entries that are missing.
        above: Vec<Spot<'f>>,
        /// The rule.
        rule: Spot<'f>,
    },
    /// There was a limit on the way, but only the node of the last entry counts.
    LimitOnTheWay {
        /// The rule.
        rule: Spot<'f>,
        /// How many entries lead to it.
        entries: usize,
    },
    /// A more specific node took an entry, and from there the way does not lead to a limit.
    NoWayBack {
        /// The place of the entry.
        at: usize,
        /// The node that took it.
        taken: Spot<'f>,
        /// The node beside it that would have led on.
        instead: Spot<'f>,
        /// The rule to which it leads.
        rule: Spot<'f>,
    },
}

/// What hints are made of.
pub(super) struct View<'v, 'f> {
    pub(super) files: &'f [RuleFile],
    pub(super) rules: &'v RuleSet,
    pub(super) request: &'v Request,
    pub(super) terrain: Option<&'v Terrain<'v, 'f>>,
}

impl<'f> View<'_, 'f> {
    /// Hints for the descriptor at a place.
    pub(super) fn hints(&self, index: usize, explained: &Explained<'f>) -> Vec<Hint<'f>> {
        let miss = match &explained.end {
            End::Miss { miss, .. } => Some(*miss),
            End::Exempt(_) => None,
            _ => return Vec::new(),
        };
        let entries = self.entries(index);
        let mut hints = Vec::new();
        match (miss, self.terrain) {
            (Some(Miss::NoEntries), _) => {}
            (_, None) => hints.extend(self.domains()),
            (None, Some(terrain)) => hints.extend(no_way_back(terrain, entries)),
            (Some(miss), Some(terrain)) => {
                hints.extend(no_way_back(terrain, entries));
                hints.extend(self.near(terrain, index, miss, explained.steps.len()));
                hints.extend(self.other_order(terrain, index));
                hints.extend(self.one_descriptor(terrain, index));
                hints.extend(self.one_more(terrain, index, miss, explained));
                hints.extend(self.entries_before(terrain, index));
                hints.extend(self.fewer_entries(terrain, index, explained));
            }
        }
        hints.truncate(MAX_HINTS);
        hints
    }

    fn entries(&self, index: usize) -> &[Entry] {
        &self.request.descriptors[index].entries
    }

    /// The descriptors of the request with others in the place of one.
    fn instead(&self, index: usize, others: Vec<Vec<Entry>>) -> Vec<Vec<Entry>> {
        let all = self.request.descriptors.iter().map(|descriptor| descriptor.entries.to_vec());
        let mut all: Vec<Vec<Entry>> = all.collect();
        all.splice(index..=index, others);
        all
    }

    fn domains(&self) -> Vec<Hint<'f>> {
        let asked = lossy(&self.request.domain);
        let near = nearest(&asked, self.files.iter().map(|file| file.domain.as_str()));
        let near = self.files.iter().find(|file| near == Some(&file.domain));
        let mut hints: Vec<Hint<'f>> = near
            .map(|file| Hint { domain: Some(&file.domain), ..Hint::new(Why::NearDomain(file)) })
            .into_iter()
            .collect();
        for (place, domain) in self.rules.domains().enumerate() {
            let Some(file) = self.files.iter().find(|file| file.domain == domain) else { continue };
            let terrain = Terrain::of(self.rules, place, self.files);
            let rule = self.request.descriptors.iter().find_map(|asked| terrain.limited(&asked.entries));
            if let (Some(rule), false) = (rule, near.is_some_and(|near| near.domain == domain)) {
                hints.push(Hint { domain: Some(&file.domain), ..Hint::new(Why::OtherDomain(rule)) });
            }
        }
        hints
    }

    /// The key or value that is most like the one at which the way ended.
    fn near(&self, terrain: &Terrain<'_, 'f>, index: usize, miss: Miss, at: usize) -> Option<Hint<'f>> {
        let entries = self.entries(index);
        let entry = entries.get(at)?;
        let (_, ground) = terrain.walk(&entries[..at]);
        let (key, value) = (lossy(&entry.key), lossy(&entry.value));
        let is_key = miss == Miss::Key;
        let written = |node: &'f Node| if is_key { node.key.as_str() } else { node.value.as_str() };
        let fits = |spot: &&Spot<'f>| (is_key || spot.node.key == key) && !is_pattern(written(spot.node));
        let candidates = ground.spots.iter().filter(fits).map(|spot| written(spot.node));
        let candidates = candidates.filter(|text| !text.is_empty());
        let meant = nearest(if is_key { &key } else { &value }, candidates)?;
        let spot = ground.spots.iter().filter(fits).find(|spot| written(spot.node) == meant)?;
        let mut mended = entries.to_vec();
        mended[at] = if is_key {
            Entry::new(meant.to_owned(), entry.value.clone())
        } else {
            Entry::new(entry.key.clone(), meant.to_owned())
        };
        let why = if is_key { Why::NearKey(*spot) } else { Why::NearValue(*spot) };
        Some(Hint::new(why).asking(self.instead(index, vec![mended])))
    }

    fn other_order(&self, terrain: &Terrain<'_, 'f>, index: usize) -> Option<Hint<'f>> {
        let entries = self.entries(index);
        let (order, rule) = other_order(terrain, entries)?;
        let ordered = order.into_iter().map(|place| entries[place].clone()).collect();
        Some(Hint::new(Why::OtherOrder(rule)).asking(self.instead(index, vec![ordered])))
    }

    fn one_descriptor(&self, terrain: &Terrain<'_, 'f>, index: usize) -> Option<Hint<'f>> {
        (0..self.request.descriptors.len()).filter(|with| *with != index).find_map(|with| {
            let both: Vec<Entry> =
                self.entries(index.min(with)).iter().chain(self.entries(index.max(with))).cloned().collect();
            if both.len() > MAX_ENTRIES {
                return None;
            }
            let (order, rule) = other_order(terrain, &both)?;
            let joined: Vec<Entry> = order.into_iter().map(|place| both[place].clone()).collect();
            let mut descriptors = self.instead(index, vec![joined]);
            descriptors.remove(with);
            Some(Hint::new(Why::OneDescriptor { with, rule }).asking(descriptors))
        })
    }

    fn one_more(
        &self,
        terrain: &Terrain<'_, 'f>,
        index: usize,
        miss: Miss,
        explained: &Explained<'f>,
    ) -> Option<Hint<'f>> {
        let at = explained.steps.last().filter(|_| miss == Miss::DeeperEntry)?.spot;
        let children = at.node.children.iter().take(MAX_EXPECTED);
        let deeper = children.map(|node| Spot { file: at.file, node }).collect();
        let longer = at.node.children.iter().map(|node| {
            let entries = self.entries(index).iter().cloned();
            entries.chain([made_up(node)]).collect::<Vec<Entry>>()
        });
        let longer = longer.take(MAX_EXPECTED).find(|entries| terrain.limited(entries).is_some());
        let hint = Hint::new(Why::OneMoreEntry { at, deeper });
        Some(match longer {
            Some(entries) => hint.asking(self.instead(index, vec![entries])),
            None => hint,
        })
    }

    fn entries_before(&self, terrain: &Terrain<'_, 'f>, index: usize) -> Option<Hint<'f>> {
        let entries = self.entries(index);
        let (above, rule) = from_deeper(terrain, entries)?;
        let missing = above.iter().map(|spot| made_up(spot.node));
        let whole: Vec<Entry> = missing.chain(entries.iter().cloned()).collect();
        let asks = terrain.limited(&whole).is_some();
        let hint = Hint::new(Why::EntriesBefore { above, rule });
        Some(if asks { hint.asking(self.instead(index, vec![whole])) } else { hint })
    }

    /// Rules that fewer of the entries would reach.
    fn fewer_entries(
        &self,
        terrain: &Terrain<'_, 'f>,
        index: usize,
        explained: &Explained<'f>,
    ) -> Vec<Hint<'f>> {
        let entries = self.entries(index);
        let mut hints = Vec::new();
        if let Some(parts) = parts(terrain, entries) {
            let rules = parts.iter().map(|(_, rule)| *rule).collect();
            let parts = parts.into_iter().map(|(entries, _)| entries.to_vec()).collect();
            hints.push(Hint::new(Why::ManyDescriptors(rules)).asking(self.instead(index, parts)));
        }
        let on_the_way = explained.steps.iter().rposition(|step| step.spot.is_limited());
        let on_the_way = on_the_way.map(|place| (explained.steps[place].spot, place + 1));
        if hints.is_empty() {
            hints.extend((0..entries.len()).rev().find_map(|without| {
                let mut fewer = entries.to_vec();
                fewer.remove(without);
                let rule = terrain.limited(&fewer)?;
                // What stands on the way is told below, with the reason.
                let is_told = on_the_way.is_some_and(|(spot, _)| std::ptr::eq(spot.node, rule.node));
                let hint = Hint::new(Why::ExtraEntry { without, rule });
                (!is_told).then(|| hint.asking(self.instead(index, vec![fewer])))
            }));
        }
        hints.extend(on_the_way.map(|(rule, reached)| {
            let hint = Hint::new(Why::LimitOnTheWay { rule, entries: reached });
            hint.asking(self.instead(index, vec![entries[..reached].to_vec()]))
        }));
        hints
    }
}

impl<'f> Hint<'f> {
    fn new(why: Why<'f>) -> Self {
        Self { why, domain: None, descriptors: None }
    }

    fn asking(self, descriptors: Vec<Vec<Entry>>) -> Self {
        Self { descriptors: Some(descriptors), ..self }
    }
}

fn no_way_back<'f>(terrain: &Terrain<'_, 'f>, entries: &[Entry]) -> Option<Hint<'f>> {
    let found = detour(terrain, entries)?;
    let why = Why::NoWayBack { at: found.at, taken: found.taken, instead: found.instead, rule: found.rule };
    Some(Hint::new(why))
}

/// An entry that a node takes.
fn made_up(node: &Node) -> Entry {
    let text = |written: &str| {
        if written.is_empty() { "ANY".to_owned() } else { written.replace('*', "ANY") }
    };
    Entry::new(text(&node.key), text(&node.value))
}

/// The entries one by one, or in two parts, if each part alone reaches a rule with a limit.
fn parts<'e, 'f>(terrain: &Terrain<'_, 'f>, entries: &'e [Entry]) -> Option<Vec<(&'e [Entry], Spot<'f>)>> {
    let part = |part: &'e [Entry]| Some((part, terrain.limited(part)?));
    if entries.len() < 2 {
        return None;
    }
    let single: Option<Vec<_>> = entries.chunks(1).map(part).collect();
    single.or_else(|| {
        (1..entries.len()).find_map(|at| Some(vec![part(&entries[..at])?, part(&entries[at..])?]))
    })
}
