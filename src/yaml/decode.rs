//! From a tree to typed values: fields are asked for by name, mistakes are collected.

use std::sync::Arc;

use super::problem::{Message, Problem, Problems, Severity, either, quoted};
use super::tree::{Entry, Kind, Node, Why};
use super::value::Value;
use super::{Position, nearest, parse};

/// What came of decoding a file.
#[derive(Debug)]
pub struct Decoded<T> {
    /// The value; `None` if the text is no map at all. Useless if there are errors.
    pub value: Option<T>,
    /// Everything that is wrong, in the order of the places.
    pub problems: Vec<Problem>,
}

/// Collects the problems of one file and knows where in the document decoding stands.
#[derive(Debug)]
pub struct Decoder {
    problems: Problems,
    path: Vec<Step>,
}

/// One step into a document.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Name(&'static str),
    Key(Arc<str>),
    Index(usize),
}

/// The fields of a map, asked for by name. A key that was never asked for is an unknown key.
#[derive(Debug)]
pub struct Fields<'n, 'd> {
    position: Position,
    entries: &'n [Entry],
    /// Per entry, its key if that is text.
    keys: Vec<Option<&'n str>>,
    /// Per entry, whether somebody asked for it.
    seen: Vec<bool>,
    /// Every name that may stand here, in the order of asking.
    names: Vec<&'static str>,
    decoder: &'d mut Decoder,
}

/// Reads a text and decodes its root map; an empty text is an empty map.
pub fn decode<T>(file: &str, text: &[u8], decode: impl FnOnce(&mut Fields<'_, '_>) -> T) -> Decoded<T> {
    let mut problems = Problems::new(file);
    let root = parse(text, &mut problems);
    let mut decoder = Decoder::new(problems);
    let value = root.and_then(|root| {
        let empty = Node::empty_map(root.position);
        let root = if root.is_null() { &empty } else { &root };
        decoder.value(root).map(decode)
    });
    Decoded { value, problems: decoder.finish() }
}

impl<T> Decoded<T> {
    /// Whether the file can be used.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.value.is_some() && !self.problems.iter().any(Problem::is_error)
    }
}

impl Decoder {
    /// Starts at the root of a document, with what its parser already found.
    #[must_use]
    pub const fn new(problems: Problems) -> Self {
        Self { problems, path: Vec::new() }
    }

    /// A node to be decoded.
    pub fn value<'n>(&mut self, node: &'n Node) -> Value<'n, '_> {
        Value::new(node, self)
    }

    /// Records an error or a warning about the place where decoding stands.
    pub fn report(&mut self, severity: Severity, position: Position, message: Message) {
        let Self { problems, path } = self;
        problems.add(severity, position, || shown(path), message);
    }

    /// Where decoding stands, such as `descriptors[2].rate_limit`.
    #[must_use]
    pub fn path(&self) -> String {
        shown(&self.path)
    }

    /// The problems in the order of their places.
    #[must_use]
    pub fn finish(self) -> Vec<Problem> {
        self.problems.finish()
    }

    /// Does something one step deeper in the document.
    pub(super) fn within<T>(&mut self, step: Step, act: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let result = act(self);
        self.path.pop();
        result
    }

    /// Warns of the values in a map that later ones of the same key replaced.
    pub(super) fn warn_of_replaced(&mut self, entry: &Entry) {
        for replaced in &entry.replaced {
            let Some(key) = entry.key.scalar() else { continue };
            let name = quoted(&key.text);
            let line = entry.key.position.line;
            let message = match replaced.why {
                Why::Overridden => continue,
                Why::Duplicate => {
                    Message::new(format!("{name} stands twice in one map; the last one counts"))
                        .hint(format!("the one that counts is in line {line}"))
                }
                Why::LostToMerge => {
                    Message::new(format!("{name} is replaced by the merge key `<<` after it"))
                        .hint(format!("to keep it, write {name} after `<<`"))
                }
            };
            self.within(Step::Key(Arc::clone(&key.text)), |decoder| {
                decoder.report(Severity::Warning, replaced.position, message);
            });
        }
    }
}

impl<'n, 'd> Fields<'n, 'd> {
    pub(super) fn new(position: Position, entries: &'n [Entry], decoder: &'d mut Decoder) -> Self {
        for entry in entries {
            decoder.warn_of_replaced(entry);
        }
        let keys = entries.iter().map(|entry| entry.key.key_text()).collect();
        Self { position, entries, keys, seen: vec![false; entries.len()], names: Vec::new(), decoder }
    }

    /// Where the map starts.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Decodes the value of `name` with any function; `None` if it is not there or null, too.
    pub fn field<T>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(&mut Value<'n, '_>) -> Option<T>,
    ) -> Option<T> {
        let entries = self.entries;
        let entry = &entries[self.find(name)?];
        if entry.value.is_null() {
            return None;
        }
        self.decoder.within(Step::Name(name), |decoder| decode(&mut decoder.value(&entry.value)))
    }

    /// Like [`Self::field`], but a null is handed to the function and a missing key is an error.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(&mut Value<'n, '_>) -> Option<T>,
    ) -> Option<T> {
        let entries = self.entries;
        let Some(index) = self.find(name) else {
            self.error(Message::new(format!("`{name}` is missing")));
            return None;
        };
        let value = &entries[index].value;
        self.decoder.within(Step::Name(name), |decoder| decode(&mut decoder.value(value)))
    }

    /// Text: any scalar as it was written.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.field(name, |value| value.text())
    }

    /// True or false.
    pub fn bool(&mut self, name: &'static str) -> Option<bool> {
        self.field(name, |value| value.bool())
    }

    /// A whole number.
    pub fn u64(&mut self, name: &'static str) -> Option<u64> {
        self.field(name, |value| value.u64_in(0..=u64::MAX))
    }

    /// A whole number within bounds.
    pub fn u64_in(&mut self, name: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.field(name, |value| value.u64_in(bounds))
    }

    /// A whole number of 32 bits.
    pub fn u32(&mut self, name: &'static str) -> Option<u32> {
        self.field(name, |value| value.u32())
    }

    /// A number.
    pub fn f64(&mut self, name: &'static str) -> Option<f64> {
        self.field(name, |value| value.f64())
    }

    /// One of a few names, each with what it stands for.
    pub fn choice<T: Clone>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.field(name, |value| value.choice(choices))
    }

    /// A list: what the function made of its items.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        item: impl FnMut(&mut Value<'n, '_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.field(name, |value| value.list(item))
    }

    /// A map: what the function made of its fields.
    pub fn map<T>(&mut self, name: &'static str, decode: impl FnOnce(&mut Fields<'n, '_>) -> T) -> Option<T> {
        self.field(name, |value| value.map(decode))
    }

    /// Whether the key is there with a value other than null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.index(name).is_some_and(|index| !self.entries[index].value.is_null())
    }

    /// Whether every key that is there was asked for.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.seen.iter().all(|seen| *seen)
    }

    /// The value of that key, without asking for it.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&'n Node> {
        self.index(name).map(|index| &self.entries[index].value)
    }

    /// Decodes the value of `name` with the earlier values of that key under it ([`Entry::layered`]),
    /// a null as well.
    pub fn layered<T>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(&mut Value<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.entry(name)?.layered();
        self.decoder.within(Step::Name(name), |decoder| decode(&mut decoder.value(&node)))
    }

    /// The entry of that key, for what the typed methods do not cover. It counts as asked for.
    pub fn entry(&mut self, name: &'static str) -> Option<&'n Entry> {
        let entries = self.entries;
        self.find(name).map(|index| &entries[index])
    }

    /// Reports `name` if it stands here and nobody asked for it: it is known, but has no meaning at this place.
    pub fn misplaced(&mut self, name: &'static str, severity: Severity, hint: &str) {
        let Some(index) = self.index(name).filter(|index| !self.seen[*index]) else { return };
        self.seen[index] = true;
        let position = self.entries[index].key.position;
        self.decoder.within(Step::Name(name), |decoder| {
            decoder.report(
                severity,
                position,
                Message::new(format!("`{name}` has no meaning here")).hint(hint),
            );
        });
    }

    /// Records an error about the map as a whole.
    pub fn error(&mut self, message: Message) {
        self.decoder.report(Severity::Error, self.position, message);
    }

    /// Records a warning about the map as a whole.
    pub fn warn(&mut self, message: Message) {
        self.decoder.report(Severity::Warning, self.position, message);
    }

    /// Records an error or a warning about `name`, at its value if it is there, else at the map.
    pub fn report_at(&mut self, name: &'static str, severity: Severity, message: Message) {
        let position = self.peek(name).map_or(self.position, |value| value.position);
        self.report_in(name, severity, position, message);
    }

    /// Records an error or a warning about something inside the value of `name`.
    pub fn report_in(
        &mut self,
        name: &'static str,
        severity: Severity,
        position: Position,
        message: Message,
    ) {
        self.decoder.within(Step::Name(name), |decoder| decoder.report(severity, position, message));
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Self { entries, seen, names, decoder, .. } = self;
        for (entry, _) in entries.iter().zip(seen).filter(|(_, seen)| !seen) {
            unknown_key(&entry.key, &names, decoder);
        }
    }

    fn find(&mut self, name: &'static str) -> Option<usize> {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        let index = self.index(name)?;
        self.seen[index] = true;
        Some(index)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|key| *key == Some(name))
    }
}

fn unknown_key(key: &Node, names: &[&'static str], decoder: &mut Decoder) {
    // One more that is only counted needs no words.
    if decoder.problems.is_full(Severity::Error) {
        decoder.report(Severity::Error, key.position, Message::default());
        return;
    }
    let Some(text) = key.key_text() else {
        let hint = match &key.kind {
            Kind::Scalar(scalar) => format!("in quotes it is text: \"{}\"", scalar.text),
            Kind::List(_) | Kind::Map(_) => {
                "a line that starts with `?`, `[` or `{` begins such a key".to_owned()
            }
        };
        let message = Message::new("this key is not text").found(super::value::found(key)).hint(hint);
        decoder.report(Severity::Error, key.position, message);
        return;
    };
    let mut message = Message::new(format!("unknown key {}", quoted(text)));
    if !names.is_empty() {
        message = message.expected(either(names.iter().copied()));
    }
    let message = message.did_you_mean(nearest(text, names.iter().copied()));
    let step = Step::Key(text.into());
    decoder.within(step, |decoder| decoder.report(Severity::Error, key.position, message));
}

fn shown(path: &[Step]) -> String {
    let mut shown = String::new();
    for step in path {
        let dot = if shown.is_empty() { "" } else { "." };
        match step {
            Step::Index(index) => shown.extend(["[", &index.to_string(), "]"]),
            Step::Name(name) => shown.extend([dot, name]),
            // Without the backticks: the path is one token already.
            Step::Key(key) => shown.extend([dot, quoted(key).trim_matches('`')]),
        }
    }
    shown
}
