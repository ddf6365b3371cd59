//! One value of a document, decoded as the type that is asked for.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::decode::{Decoder, Fields, Step};
use super::problem::{Message, Severity, either, quoted};
use super::tree::{Kind, Node};
use super::{Position, Reading, Scalar, nearest};

/// A node and the decoder that records what is wrong with it.
#[derive(Debug)]
pub struct Value<'n, 'd> {
    node: &'n Node,
    decoder: &'d mut Decoder,
}

impl<'n, 'd> Value<'n, 'd> {
    pub(super) fn new(node: &'n Node, decoder: &'d mut Decoder) -> Self {
        Self { node, decoder }
    }

    /// The node itself, for what the typed methods do not cover.
    #[must_use]
    pub const fn node(&self) -> &'n Node {
        self.node
    }

    /// Where it starts.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.node.position
    }

    /// Text: any scalar as it was written; nothing for null.
    ///
    /// A whole number beyond 64 bits is an error, since the reference refuses it.
    pub fn text(&mut self) -> Option<String> {
        let Kind::Scalar(scalar) = &self.node.kind else { return self.wrong_type("text") };
        match scalar.reading() {
            Reading::Null => None,
            Reading::Bytes(_) => self.wrong_type("UTF-8 text"),
            Reading::Text(text) => Some(text.into_owned()),
            _ if scalar.is_oversized_integer() => {
                let message = Message::new(format!("{} is too large for a number", quoted(&scalar.text)));
                self.error(message.hint(format!("in quotes it is text: \"{}\"", scalar.text)));
                None
            }
            _ => Some(scalar.text.as_ref().to_owned()),
        }
    }

    /// True or false.
    pub fn bool(&mut self) -> Option<bool> {
        match self.reading() {
            Some(Reading::Bool(is)) => Some(is),
            _ => self.wrong_type("`true` or `false`"),
        }
    }

    /// A whole number of 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        // The bound makes the conversion succeed.
        self.u64_in(0..=u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok())
    }

    /// A whole number within bounds.
    pub fn u64_in(&mut self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let range = match bounds.end() {
            &u64::MAX => format!("of at least {}", bounds.start()),
            end => format!("from {} to {end}", bounds.start()),
        };
        let number = match self.reading() {
            Some(Reading::Int(number)) => u64::try_from(number).ok(),
            Some(Reading::UInt(number)) => Some(number),
            _ => return self.wrong_type(&format!("a whole number {range}")),
        };
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let found = self.node.scalar().map_or_else(String::new, |scalar| quoted(&scalar.text));
            self.error(
                Message::new(format!("{found} is out of range")).expected(format!("a whole number {range}")),
            );
        }
        number
    }

    /// A number, possibly a fraction.
    pub fn f64(&mut self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a number with a fraction was asked for")]
        match self.reading() {
            Some(Reading::Int(number)) => Some(number as f64),
            Some(Reading::UInt(number)) => Some(number as f64),
            Some(Reading::Float(number)) if number.is_finite() => Some(number),
            _ => self.wrong_type("a number"),
        }
    }

    /// One of a few names, each with what it stands for.
    pub fn choice<T: Clone>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(choice.clone());
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let message = Message::new(format!("unknown value {}", quoted(&text))).expected(either(names()));
        self.error(message.did_you_mean(nearest(&text, names())));
        None
    }

    /// A list: what the function made of its items, without those it made nothing of.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Value<'n, '_>) -> Option<T>) -> Option<Vec<T>> {
        let Kind::List(items) = &self.node.kind else { return self.wrong_type("a list") };
        let decoded = items.iter().enumerate().filter_map(|(index, node)| {
            self.decoder.within(Step::Index(index), |decoder| item(&mut decoder.value(node)))
        });
        Some(decoded.collect())
    }

    /// A map: what the function made of its fields. Keys that it did not ask for are reported.
    pub fn map<T>(&mut self, decode: impl FnOnce(&mut Fields<'n, '_>) -> T) -> Option<T> {
        let Kind::Map(entries) = &self.node.kind else { return self.wrong_type("a map") };
        let mut fields = Fields::new(self.node.position, entries, self.decoder);
        let value = decode(&mut fields);
        fields.finish();
        Some(value)
    }

    /// A map of any scalar keys: calls the function with each key and its value.
    pub fn entries(&mut self, mut each: impl FnMut(&'n Scalar, &mut Value<'n, '_>)) -> Option<()> {
        let Kind::Map(entries) = &self.node.kind else { return self.wrong_type("a map") };
        for entry in entries {
            self.decoder.warn_of_replaced(entry);
            let Some(scalar) = entry.key.scalar() else {
                let message = Message::new("this key is not text").found(found(&entry.key));
                self.decoder.report(Severity::Error, entry.key.position, message);
                continue;
            };
            let step = Step::Key(Arc::clone(&scalar.text));
            self.decoder.within(step, |decoder| each(scalar, &mut decoder.value(&entry.value)));
        }
        Some(())
    }

    /// Goes on with another node in this place, such as a value that this one replaces.
    pub fn instead<'m>(&mut self, node: &'m Node) -> Value<'m, '_> {
        Value::new(node, self.decoder)
    }

    /// What it is, in the words of a message: "the text `soon`".
    #[must_use]
    pub fn found(&self) -> String {
        found(self.node)
    }

    /// Where this value stands, such as `descriptors[2].rate_limit`.
    #[must_use]
    pub fn path(&self) -> String {
        self.decoder.path()
    }

    /// Records an error about this value.
    pub fn error(&mut self, message: Message) {
        self.decoder.report(Severity::Error, self.node.position, message);
    }

    /// Records an error about an item of this list.
    pub fn item_error(&mut self, index: usize, position: Position, message: Message) {
        self.decoder.within(Step::Index(index), |decoder| {
            decoder.report(Severity::Error, position, message);
        });
    }

    /// Records a warning about this value.
    pub fn warn(&mut self, message: Message) {
        self.decoder.report(Severity::Warning, self.node.position, message);
    }

    /// Records that this value has another type than it must; always `None`.
    pub fn wrong_type<T>(&mut self, expected: &str) -> Option<T> {
        let mut message = Message::new("wrong type").found(found(self.node)).expected(expected);
        if let Some(scalar) = self.node.scalar()
            && !scalar.plain
            && unquoted_fits(&scalar.text, expected)
        {
            message = message.hint(format!("without quotes: {}", scalar.text));
        }
        self.error(message);
        None
    }

    fn reading(&self) -> Option<Reading<'n>> {
        self.node.scalar().map(Scalar::reading)
    }
}

impl Node {
    /// The text of a key, if it reads as text.
    pub(super) fn key_text(&self) -> Option<&str> {
        let scalar = self.scalar()?;
        matches!(scalar.reading(), Reading::Text(_)).then_some(&*scalar.text)
    }
}

/// What a node is, in the words of a message.
pub(super) fn found(node: &Node) -> String {
    match &node.kind {
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Scalar(scalar) => match scalar.reading() {
            Reading::Null => "nothing".to_owned(),
            reading => format!("{} {}", reading.kind(), quoted(&scalar.text)),
        },
    }
}

/// Whether a quoted text would be of the expected type if its quotes were left out.
fn unquoted_fits(text: &str, expected: &str) -> bool {
    let plain = Scalar { text: text.into(), plain: true, tag: None };
    match plain.reading() {
        Reading::Int(_) | Reading::UInt(_) => expected.contains("number"),
        Reading::Bool(_) => expected.contains("`true`"),
        _ => false,
    }
}
