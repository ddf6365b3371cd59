//! The one place that knows the parser: its events become a tree.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::Position;
use super::map::MapBuilder;
use super::problem::{Message, Problems, Severity, quoted};
use super::scalar::TagMistake;
use super::tree::{Kind, Node, Scalar, Tag};

/// How deep lists and maps may be nested, aliases included. Thirty-two entries of a descriptor need 64.
pub const MAX_DEPTH: usize = 128;

/// How many nodes aliases may copy: ten for each of 100,000 rules. A file of a few lines could ask for billions.
const MAX_COPIED_NODES: usize = 1_000_000;

const STR_TAG_PREFIX: &str = "tag:yaml.org,2002:";

/// Reads the first document of a text; an empty one is a null. Another one after it is a warning.
///
/// `None` if the text is not YAML, which is then an error in `problems`. Merges that make no sense and
/// tags that do not fit are errors there, too, but do not end the reading.
pub fn parse(text: &[u8], problems: &mut Problems) -> Option<Node> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let position = end_of(&text[..error.valid_up_to()]);
            problems.syntax(position, Message::new("this is not UTF-8").hint("save the file as UTF-8"));
            return None;
        }
    };
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        bom_inside_document_as_content: true,
        block_scalar_eof_without_line_feed: true,
    };
    let mut builder =
        Builder { text, problems, open: Vec::new(), anchors: HashMap::new(), copied_nodes: 0, root: None };
    let mut steps = Parser::new_from_str_with_options(text, options);
    for step in steps.by_ref() {
        let done = match step {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(syntax_error(&error)),
        };
        match done {
            Ok(false) => {}
            Ok(true) => break,
            Err((position, message)) => {
                builder.problems.syntax(position, message);
                return None;
            }
        }
    }
    if let Some(Ok((Event::DocumentStart(..), span))) = steps.next() {
        let message = Message::new("another document begins here, and only the first of a file is read");
        let at = position(span.start.line(), span.start.col());
        builder.problems.add(
            Severity::Warning,
            at,
            String::new,
            message.hint("put it into a file of its own"),
        );
    }
    let null = Scalar { text: "".into(), plain: true, tag: None };
    Some(builder.root.unwrap_or(Node { position: Position::START, kind: Kind::Scalar(null) }))
}

/// A mistake that ends the reading.
type Fatal = (Position, Message);

/// A list or map whose end was not read yet.
struct Open {
    position: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(MapBuilder, Option<Node>),
}

/// A finished node that aliases may refer to.
struct Anchor {
    node: Node,
    nodes: usize,
    depth: usize,
}

struct Builder<'p> {
    text: &'p str,
    problems: &'p mut Problems,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
    copied_nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Takes an event; true at the end of the first document.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<bool, Fatal> {
        let position = position(span.start.line(), span.start.col());
        match event {
            Event::DocumentEnd | Event::StreamEnd => return Ok(true),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| known_tag(tag.handle(), tag.suffix()));
                let plain = style == ScalarStyle::Plain;
                // The parser says `~` where nothing is written.
                let is_written = text != "~" || span.slice(self.text) == Some("~");
                let text = if is_written { text } else { "".into() };
                let scalar = Scalar { text: text.into(), plain, tag };
                self.check_tag(position, &scalar);
                self.attach(Node { position, kind: Kind::Scalar(scalar) }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(position, anchor, Content::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                self.open(position, anchor, Content::Map(MapBuilder::default(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let node = self.copy(anchor, position)?;
                self.attach(node, 0)?;
            }
            _ => {}
        }
        Ok(false)
    }

    fn open(&mut self, position: Position, anchor: usize, content: Content) -> Result<(), Fatal> {
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep(position));
        }
        self.open.push(Open { position, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fatal> {
        let Some(Open { position, anchor, content }) = self.open.pop() else { return Ok(()) };
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map(map, _) => Kind::Map(map.finish()),
        };
        self.attach(Node { position, kind }, anchor)
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, node: Node, anchor: usize) -> Result<(), Fatal> {
        if anchor != 0 {
            let (nodes, depth) = node.extent();
            self.count_copied(nodes, node.position)?;
            self.anchors.insert(anchor, Anchor { node: node.clone(), nodes, depth });
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map, key)) => match key.take() {
                None => {
                    // Go's parser does not take a `:` with nothing before it either.
                    if node.scalar().is_some_and(|key| key.plain && key.tag.is_none() && key.text.is_empty())
                    {
                        self.problems.syntax(node.position, Message::new("a key is missing before `:`"));
                    }
                    *key = Some(node);
                }
                Some(key) => {
                    if let Err(position) = map.add(key, node) {
                        let message = Message::new("the merge key `<<` needs a map or a list of maps");
                        self.problems.syntax(position, message);
                    }
                }
            },
        }
        Ok(())
    }

    fn copy(&mut self, anchor: usize, position: Position) -> Result<Node, Fatal> {
        let Some(Anchor { node, nodes, depth }) = self.anchors.get(&anchor) else {
            return Err((position, Message::new("this alias stands inside the node that it refers to")));
        };
        let (nodes, depth) = (*nodes, *depth);
        // A scalar is one deep, but no list or map.
        if self.open.len() + depth > MAX_DEPTH + 1 {
            return Err(too_deep(position));
        }
        let copy = Node { position, kind: node.kind.clone() };
        self.count_copied(nodes, position)?;
        Ok(copy)
    }

    fn count_copied(&mut self, nodes: usize, position: Position) -> Result<(), Fatal> {
        self.copied_nodes += nodes;
        if self.copied_nodes <= MAX_COPIED_NODES {
            return Ok(());
        }
        let message = Message::new("the aliases of this file copy too much");
        Err((position, message.expected(format!("at most {MAX_COPIED_NODES} nodes"))))
    }

    fn check_tag(&mut self, position: Position, scalar: &Scalar) {
        let Err(mistake) = scalar.checked_reading() else { return };
        let text = quoted(&scalar.text);
        let message = match mistake {
            TagMistake::Is(found) => Message::new("the tag does not fit").found(format!("{found} {text}")),
            TagMistake::NotBase64 => Message::new("what is tagged `!!binary` is not base64").found(text),
        };
        self.problems.syntax(position, message);
    }
}

fn known_tag(handle: &str, suffix: &str) -> Tag {
    let full = format!("{handle}{suffix}");
    match full.strip_prefix(STR_TAG_PREFIX) {
        Some("str") => Tag::Str,
        Some("int") => Tag::Int,
        Some("float") => Tag::Float,
        Some("bool") => Tag::Bool,
        Some("null") => Tag::Null,
        Some("binary") => Tag::Binary,
        Some("timestamp") => Tag::Timestamp,
        Some("merge") => Tag::Merge,
        _ => Tag::Other,
    }
}

fn too_deep(position: Position) -> Fatal {
    (position, Message::new("this is nested too deep").expected(format!("at most {MAX_DEPTH} levels")))
}

fn syntax_error(error: &ScanError) -> Fatal {
    let position = position(error.marker().line(), error.marker().col());
    let message = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return too_deep(position),
        ErrorKind::UnknownAnchor => Message::new("this alias refers to no anchor before it"),
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation | ErrorKind::TabNotAllowed => {
            Message::new("a tab cannot indent").hint("indent with spaces")
        }
        ErrorKind::MappingValueNotAllowed => Message::new("a `:` cannot stand here")
            .hint("check the indentation; a text with `: ` in it needs quotes"),
        _ => Message::new(format!("this is not YAML: {}", error.info())),
    };
    (position, message)
}

fn position(line: usize, column_from_zero: usize) -> Position {
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: bounded(line.max(1)), column: bounded(column_from_zero).saturating_add(1) }
}

/// The place right after a text.
fn end_of(text: &[u8]) -> Position {
    let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = text.split(|byte| *byte == b'\n').count();
    position(line, String::from_utf8_lossy(&text[start..]).chars().count())
}
