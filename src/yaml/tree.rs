//! What a YAML text says, with the place of every part.

use std::sync::Arc;

use super::Position;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it starts; for an alias, where the alias stands.
    pub position: Position,
    /// What it is.
    pub kind: Kind,
}

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text, a number, a truth value or nothing: see [`super::Reading`].
    Scalar(Scalar),
    /// Nodes in order.
    List(Vec<Node>),
    /// Keys and values in order, merge keys (`<<`) resolved; no key twice.
    Map(Vec<Entry>),
}

/// A scalar as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text, escapes resolved.
    pub text: Arc<str>,
    /// Whether it stands without quotes and outside a block (`|`, `>`).
    pub plain: bool,
    /// The tag before it, if any.
    pub tag: Option<Tag>,
}

/// A tag that changes how a scalar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `!!str`.
    Str,
    /// `!!int`.
    Int,
    /// `!!float`.
    Float,
    /// `!!bool`.
    Bool,
    /// `!!null`.
    Null,
    /// `!!binary`: base64.
    Binary,
    /// `!!timestamp`.
    Timestamp,
    /// `!!merge`.
    Merge,
    /// Any other tag: the scalar is text.
    Other,
}

/// A key of a map with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; only a scalar that reads as text is of use.
    pub key: Node,
    /// Its value: the last one written.
    pub value: Node,
    /// Whether it came through a merge key.
    pub merged: bool,
    /// The values of the same key that this one replaces, oldest first.
    pub replaced: Vec<Replaced>,
}

/// A value that a later one of the same key replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Where its key stands.
    pub position: Position,
    /// The value.
    pub value: Node,
    /// How that came about.
    pub why: Why,
}

/// How a value came to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The key stands twice in the map.
    Duplicate,
    /// A merge key after it brought the same key.
    LostToMerge,
    /// It was merged in and then given anew, which is what merging is for.
    Overridden,
}

impl Node {
    /// A map without entries.
    #[must_use]
    pub const fn empty_map(position: Position) -> Self {
        Self { position, kind: Kind::Map(Vec::new()) }
    }

    /// The scalar, if it is one.
    #[must_use]
    pub const fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Whether it reads as nothing: empty, `~`, `null`, `Null`, `NULL`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.reading() == super::Reading::Null)
    }

    /// The number of nodes in it and the depth of the deepest, itself included.
    pub(super) fn extent(&self) -> (usize, usize) {
        let add = |(count, depth): (usize, usize), node: &Self| {
            let (nodes, deep) = node.extent();
            (count + nodes, depth.max(deep))
        };
        let (count, depth) = match &self.kind {
            Kind::Scalar(_) => (0, 0),
            Kind::List(items) => items.iter().fold((0, 0), add),
            Kind::Map(entries) => entries.iter().fold((0, 0), |extent, entry| {
                let replaced = entry.replaced.iter().map(|replaced| &replaced.value);
                [&entry.key, &entry.value].into_iter().chain(replaced).fold(extent, add)
            }),
        };
        (count + 1, depth + 1)
    }
}

impl Scalar {
    /// Whether it means "nothing here" even where a map is expected: `Null` and `NULL` do not.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self.tag {
            Some(tag) => tag == Tag::Null,
            None => self.plain && matches!(&*self.text, "" | "~" | "null"),
        }
    }
}
