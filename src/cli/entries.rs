//! Descriptors as they are written on the command line.

use clap::Args;

use crate::limit::Unit;
use crate::request::{Descriptor, Entry, Override, Request};
use crate::yaml::{either, nearest, quoted};

/// What is asked: a domain, descriptors, hits.
#[derive(Debug, Clone, Args)]
pub(super) struct Asked {
    /// Domain, as in Envoy's configuration
    #[arg(long, value_name = "NAME")]
    pub(super) domain: String,
    /// Entries of a descriptor, in order; ` + ` between them begins another descriptor
    #[arg(value_name = "KEY=VALUE", required = true)]
    entries: Vec<String>,
    /// What each descriptor costs; 0 looks without counting
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) hits: u64,
    /// A limit that comes with the request and takes the place of the rules: 10/minute, 5/30second
    #[arg(long, value_name = "COUNT/UNIT", value_parser = limit)]
    pub(super) limit: Option<Override>,
}

/// Arguments that are no request; how the program ends for it is clap's way.
pub(super) fn usage(message: &str) -> clap::Error {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{message}\n"))
}

impl Asked {
    /// The request; `give_back` makes its hits negative.
    pub(super) fn request(&self, give_back: bool) -> Result<Request, clap::Error> {
        let mut descriptors = vec![Vec::new()];
        for text in &self.entries {
            match descriptors.last_mut() {
                Some(last) if text != "+" => last.push(entry(text)?),
                _ => descriptors.push(Vec::new()),
            }
        }
        if descriptors.iter().any(Vec::is_empty) {
            return Err(usage("`+` stands between two descriptors: KEY=VALUE + KEY=VALUE"));
        }
        let descriptor = |entries: Vec<Entry>| Descriptor {
            entries: entries.into(),
            limit: self.limit,
            hits_addend: Some(self.hits),
            is_negative_hits: give_back,
        };
        let request = Request {
            domain: self.domain.clone().into(),
            descriptors: descriptors.into_iter().map(descriptor).collect(),
            hits_addend: 0,
        };
        request.check().map_err(|error| usage(&error.in_full()))?;
        Ok(request)
    }
}

fn entry(text: &str) -> Result<Entry, clap::Error> {
    let Some((key, value)) = text.split_once('=') else {
        let hint = format!("expected KEY=VALUE; for an empty value write `{text}=`");
        return Err(usage(&format!("{} is no entry: {hint}", quoted(text))));
    };
    Ok(Entry::new(key.to_owned(), value.to_owned()))
}

/// `10/minute` or `5/30second`.
fn limit(text: &str) -> Result<Override, String> {
    let (count, period) = text.split_once('/').ok_or("expected COUNT/UNIT, such as 10/minute")?;
    let count =
        count.parse().map_err(|_| format!("{} is no count; expected 0 to 4294967295", quoted(count)))?;
    let digits = period.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(period.len());
    let (multiplier, name) = period.split_at(digits);
    let multiplier = match multiplier {
        "" => None,
        digits => Some(digits.parse().map_err(|_| format!("{} is too long a period", quoted(period)))?),
    };
    let names = Unit::ALL.map(Unit::name);
    let Some(unit) = Unit::from_name(name).or_else(|| Unit::from_name(name.trim_end_matches('s'))) else {
        let meant = nearest(name, names).map_or(String::new(), |meant| format!(" (did you mean `{meant}`?)"));
        return Err(format!("unknown unit {}; expected {}{meant}", quoted(name), either(names)));
    };
    Override::new(count, unit.number(), multiplier).map_err(|error| error.in_full())
}

/// Entries as they are asked for, and quoted where the shell would read them otherwise.
pub(super) fn written(descriptors: &[Vec<Entry>]) -> String {
    let descriptor =
        |entries: &Vec<Entry>| entries.iter().map(|entry| shell(&shown(entry))).collect::<Vec<_>>().join(" ");
    descriptors.iter().map(descriptor).collect::<Vec<_>>().join(" + ")
}

/// An entry as it is shown: `key=value`.
pub(super) fn shown(entry: &Entry) -> String {
    format!("{}={}", String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value))
}

/// A word of a command, quoted if need be.
pub(super) fn shell(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./=:@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if !word.contains(char::is_control) {
        return format!("'{}'", word.replace('\'', "'\\''"));
    }
    let escaped = word.chars().map(|letter| match letter {
        '\'' | '\\' => format!("\\{letter}"),
        letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    });
    format!("$'{}'", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_written_as_count_and_unit() {
        let read = |text| {
            limit(text).map(|limit| (limit.requests_per_unit(), limit.unit(), limit.unit_multiplier()))
        };
        assert_eq!(read("10/minute"), Ok((10, Unit::Minute, 1)));
        assert_eq!(read("5/30seconds"), Ok((5, Unit::Second, 30)));
        assert_eq!(read("5"), Err("expected COUNT/UNIT, such as 10/minute".to_owned()));
        for bad in ["x/minute", "5/minuet", "5/99999999999second", "5/0second", "-1/day", "5/", "/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plus_begins_another_descriptor() {
        let asked = |entries: &[&str]| Asked {
            domain: "d".to_owned(),
            entries: entries.iter().map(|text| (*text).to_owned()).collect(),
            hits: 1,
            limit: None,
        };
        let lengths = |entries: &[&str]| {
            let request = asked(entries).request(false).ok()?;
            Some(request.descriptors.iter().map(|descriptor| descriptor.entries.len()).collect::<Vec<_>>())
        };
        assert_eq!(lengths(&["a=1", "b=2", "+", "c=x=y"]), Some(vec![2, 1]));
        assert_eq!(lengths(&["a="]), Some(vec![1]));
        assert_eq!(lengths(&["a"]), None);
        assert_eq!(lengths(&["a=1", "+"]), None);
        assert_eq!(lengths(&["+", "+"]), None);
        assert_eq!(lengths(&["a=1"; 33]), None);
    }

    #[test]
    fn words_are_quoted_where_the_shell_would_read_them_otherwise() {
        assert_eq!(shell("a=10.0.0.1"), "a=10.0.0.1");
        assert_eq!(shell("a=it's *"), "'a=it'\\''s *'");
        assert_eq!(shell("a='\u{1b}\\"), "$'a=\\'\\u001b\\\\'");
    }
}
