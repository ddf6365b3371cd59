//! What is wrong in a file, where, and what would be right.

use std::fmt;
use std::sync::Arc;

use super::Position;

/// Whether a file with this problem can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it hardly says what was meant.
    Warning,
}

/// One mistake in a file.
///
/// Shown as `FILE:LINE:COLUMN: PATH: STATEMENT: found FOUND; expected EXPECTED`, and the hint on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// Where in the file; `None` if it is about the file itself.
    pub position: Option<Position>,
    /// Where in the document, such as `descriptors[2].rate_limit.unit`; empty for the whole of it.
    pub path: String,
    /// What is wrong, what was found, what is expected, and what to do.
    pub message: Message,
}

/// The words of a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The fact: lower case, user tokens in backticks, no trailing period.
    pub statement: String,
    /// What was found, where that is not in the statement.
    pub found: Option<String>,
    /// What would be right.
    pub expected: Option<String>,
    /// How to mend it, where that is known.
    pub hint: Option<String>,
}

/// The problems of one file, bounded: of errors and of warnings the first [`Problems::MAX`] are kept.
#[derive(Debug)]
pub struct Problems {
    file: Arc<str>,
    list: Vec<Problem>,
    /// How many there were: errors, warnings.
    counts: [usize; 2],
}

impl Severity {
    /// The word in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Problem {
    /// An error about `file` as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<Arc<str>>, message: Message) -> Self {
        Self { severity: Severity::Error, file: file.into(), position: None, path: String::new(), message }
    }

    /// Whether the file cannot be used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)
    }
}

impl Message {
    /// A message that states a fact.
    #[must_use]
    pub fn new(statement: impl Into<String>) -> Self {
        Self { statement: statement.into(), ..Self::default() }
    }

    /// Adds what was found.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the question whether `name` was meant, if there is such a name.
    #[must_use]
    pub fn did_you_mean(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.statement)?;
        if let Some(found) = &self.found {
            write!(f, ": found {found}")?;
        }
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// How many errors, and how many warnings, of one file are kept; the rest is counted.
    pub const MAX: usize = 1000;

    /// No problems of `file` yet.
    #[must_use]
    pub fn new(file: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), list: Vec::new(), counts: [0; 2] }
    }

    /// The file whose problems these are.
    #[must_use]
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Adds a problem; `path` is only built if the problem is kept.
    pub fn add(
        &mut self,
        severity: Severity,
        position: Position,
        path: impl FnOnce() -> String,
        message: Message,
    ) {
        let count = &mut self.counts[severity as usize];
        *count += 1;
        if *count <= Self::MAX {
            let file = Arc::clone(&self.file);
            self.list.push(Problem { severity, file, position: Some(position), path: path(), message });
        }
    }

    /// Adds an error about the text at a place, outside any structure.
    pub fn syntax(&mut self, position: Position, message: Message) {
        self.add(Severity::Error, position, String::new, message);
    }

    /// Whether one more of that severity would only be counted.
    #[must_use]
    pub const fn is_full(&self, severity: Severity) -> bool {
        self.counts[severity as usize] >= Self::MAX
    }

    /// Whether no error was added.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.counts[Severity::Error as usize] == 0
    }

    /// The problems in the order of their places, and one more that counts those left out.
    #[must_use]
    pub fn finish(self) -> Vec<Problem> {
        let Self { file, mut list, counts } = self;
        list.sort_by_key(|problem| problem.position);
        for severity in [Severity::Error, Severity::Warning] {
            let left_out = counts[severity as usize].saturating_sub(Self::MAX);
            if left_out > 0 {
                let message = Message::new(format!("{left_out} more {}s not shown", severity.name()));
                list.push(Problem { severity, ..Problem::of_file(Arc::clone(&file), message) });
            }
        }
        list
    }
}

/// A token of the user in backticks, on one line and of bounded length.
#[must_use]
pub fn quoted(token: &str) -> String {
    const MAX_CHARACTERS: usize = 80;
    let mut shown = String::from("`");
    for character in token.chars().take(MAX_CHARACTERS) {
        match character {
            '`' => shown.push('\''),
            character if character.is_control() => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
    }
    if token.chars().nth(MAX_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

/// The names in backticks, as a choice: "`a`, `b` or `c`".
#[must_use]
pub fn either<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_like_a_compilers() {
        let mut problems = Problems::new("a.yaml");
        problems.add(
            Severity::Error,
            Position { line: 3, column: 7 },
            || "descriptors[2].rate_limit.unit".to_owned(),
            Message::new("unknown unit `minuet`")
                .expected(either(["minute", "hour"]))
                .did_you_mean(Some("minute")),
        );
        assert_eq!(
            problems.finish()[0].to_string(),
            "a.yaml:3:7: descriptors[2].rate_limit.unit: unknown unit `minuet`; expected `minute` or `hour`\n  \
             hint: did you mean `minute`?"
        );
        let problem = Problem::of_file("b", Message::new("no such file"));
        assert_eq!(problem.to_string(), "b: no such file");
    }

    #[test]
    fn warnings_do_not_crowd_out_errors_and_both_are_bounded() {
        let mut problems = Problems::new("a.yaml");
        for severity in [Severity::Warning, Severity::Error] {
            for _ in 0..5000 {
                problems.add(severity, Position::START, String::new, Message::new("x"));
            }
        }
        assert!(!problems.is_ok());
        let list = problems.finish();
        assert_eq!(list.len(), 2002);
        assert_eq!(list[2000].to_string(), "a.yaml: 4000 more errors not shown");
    }

    #[test]
    fn a_token_is_shown_on_one_line_and_bounded() {
        assert_eq!(quoted("a\nb`c"), "`a\\nb'c`");
        assert_eq!(quoted(&"x".repeat(1 << 20)).chars().count(), 83);
    }
}
