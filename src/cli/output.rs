//! What goes to the terminal: text whose colours are taken out wherever nobody wants them.

use std::fmt::{self, Display};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::yaml::{Problem, Severity};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

/// Something in a colour. The colour says nothing that the words do not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Styled<T>(Style, T);

impl<T: Display> Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, text) = self;
        // Inside the colour, so that a width counts what is seen.
        write!(f, "{style}")?;
        text.fmt(f)?;
        write!(f, "{style:#}")
    }
}

pub(super) fn good<T>(text: T) -> Styled<T> {
    Styled(GOOD, text)
}

pub(super) fn bad<T>(text: T) -> Styled<T> {
    Styled(BAD, text)
}

pub(super) fn doubtful<T>(text: T) -> Styled<T> {
    Styled(DOUBTFUL, text)
}

pub(super) fn hint<T>(text: T) -> Styled<T> {
    Styled(HINT, text)
}

pub(super) fn strong<T>(text: T) -> Styled<T> {
    Styled(STRONG, text)
}

pub(super) fn faint<T>(text: T) -> Styled<T> {
    Styled(FAINT, text)
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    write(anstream::stdout(), text)
}

/// Writes to standard error.
pub(super) fn print_error(text: &str) -> io::Result<()> {
    write(anstream::stderr(), text)
}

fn write(mut stream: impl Write, text: &str) -> io::Result<()> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A value as indented JSON, and the end of the line.
pub(super) fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Problems as a compiler tells them, each with its severity.
pub(super) fn problems(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let name = problem.severity.name();
        match problem.severity {
            Severity::Error => format!("{}: {problem}\n", bad(name)),
            Severity::Warning => format!("{}: {problem}\n", doubtful(name)),
        }
    };
    problems.iter().map(line).collect()
}

/// A table: columns as wide as their widest cell, two blanks between them. Colours take no room.
pub(super) fn aligned(indent: &str, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| seen(cell)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - seen(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many characters of a text are seen.
fn seen(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// A text whose control characters are spelled out: files and servers must not drive the terminal.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            printable.extend(letter.escape_default());
        } else {
            printable.push(letter);
        }
    }
    printable
}

/// One thing or several: "1 rule", "2 rules".
pub(super) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room_in_a_table() {
        let rows = [vec![bad("a").to_string(), "b".to_owned()], vec!["longer".to_owned(), "c".to_owned()]];
        let plain = anstream::adapter::strip_str(&aligned("  ", &rows)).to_string();
        assert_eq!(plain, "  a       b\n  longer  c\n");
    }
}
