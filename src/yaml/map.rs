//! Building a map: what merge keys and keys written twice mean.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::tree::{Entry, Kind, Node, Replaced, Scalar, Tag, Why};
use super::{Position, Reading};

/// A map whose entries are still being read.
#[derive(Debug, Default)]
pub(super) struct MapBuilder {
    entries: Vec<Entry>,
    /// Index of the entry of a key, so that a map of many keys is read in linear time.
    index: HashMap<(Arc<str>, bool), usize>,
}

impl MapBuilder {
    /// Adds what stands in the map under `key`; later keys win, merged ones like any other.
    ///
    /// # Errors
    /// Gives the place of a merge that is not of a map, or of maps.
    pub(super) fn add(&mut self, key: Node, value: Node) -> Result<(), Position> {
        if !key.scalar().is_some_and(is_merge) {
            self.set(Entry { key, value, merged: false, replaced: Vec::new() });
            return Ok(());
        }
        let position = value.position;
        match value.kind {
            Kind::Map(entries) => self.merge(entries),
            Kind::List(items) => {
                // The first map of the list wins, so it comes last.
                for item in items.into_iter().rev() {
                    let Kind::Map(entries) = item.kind else { return Err(item.position) };
                    self.merge(entries);
                }
            }
            Kind::Scalar(_) => return Err(position),
        }
        Ok(())
    }

    /// The entries read so far.
    pub(super) fn finish(self) -> Vec<Entry> {
        self.entries
    }

    fn merge(&mut self, entries: Vec<Entry>) {
        for Entry { key, value, .. } in entries {
            self.set(Entry { key, value, merged: true, replaced: Vec::new() });
        }
    }

    fn set(&mut self, mut entry: Entry) {
        let Some(identity) = entry.key.scalar().map(identity) else {
            self.entries.push(entry);
            return;
        };
        let Some(index) = self.index.get(&identity) else {
            self.index.insert(identity, self.entries.len());
            self.entries.push(entry);
            return;
        };
        let old = &mut self.entries[*index];
        let why = match (old.merged, entry.merged) {
            (true, _) => Why::Overridden,
            (false, true) => Why::LostToMerge,
            (false, false) => Why::Duplicate,
        };
        std::mem::swap(old, &mut entry);
        // The entry may bring replaced values of its own; they are younger than the old one.
        let own = std::mem::replace(&mut old.replaced, entry.replaced);
        old.replaced.push(Replaced { position: entry.key.position, value: entry.value, why });
        old.replaced.extend(own);
    }
}

impl Entry {
    /// The value with those that it replaced laid under it: a map keeps what the maps before it said
    /// and it does not, one level deep.
    ///
    /// This is how Go decodes into a struct, and so what `<<: *base` followed by a part of a map means
    /// to the reference.
    #[must_use]
    pub fn layered(&self) -> Cow<'_, Node> {
        if self.replaced.is_empty() {
            return Cow::Borrowed(&self.value);
        }
        let mut layers = self.replaced.iter().map(|replaced| &replaced.value).chain([&self.value]);
        let first = layers.next().unwrap_or(&self.value).clone();
        Cow::Owned(layers.fold(first, |under, over| match (under.kind, &over.kind) {
            (Kind::Map(under), Kind::Map(entries)) => {
                let mut map = MapBuilder::default();
                map.merge(under);
                for entry in entries {
                    map.set(entry.clone());
                }
                Node { position: over.position, kind: Kind::Map(map.finish()) }
            }
            _ => over.clone(),
        }))
    }
}

/// Two keys are one if they have the same text and both are text, or both are not (`1` and `"1"` differ).
fn identity(key: &Scalar) -> (Arc<str>, bool) {
    (Arc::clone(&key.text), matches!(key.reading(), Reading::Text(_)))
}

fn is_merge(key: &Scalar) -> bool {
    &*key.text == "<<" && (key.plain && key.tag.is_none() || key.tag == Some(Tag::Merge))
}
