//! How a scalar is read: YAML 1.1, exactly as Go's yaml.v2 reads it.

use std::borrow::Cow;

use super::binary;
use super::tree::{Scalar, Tag};

/// What a scalar means where no type is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading<'a> {
    /// Nothing.
    Null,
    /// True or false: also `yes`, `on`, `y` and their opposites.
    Bool(bool),
    /// A whole number of at most 64 bits.
    Int(i64),
    /// A whole number that only an unsigned 64-bit integer holds.
    UInt(u64),
    /// Any other number.
    Float(f64),
    /// Text; a date is text as well.
    Text(Cow<'a, str>),
    /// `!!binary` that is not UTF-8.
    Bytes(Vec<u8>),
}

/// Why a tag does not fit the scalar after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TagMistake {
    /// The scalar is something else.
    Is(&'static str),
    /// `!!binary` that is not base64.
    NotBase64,
}

impl Scalar {
    /// What it means.
    ///
    /// A tag that does not fit is an error of [`super::parse`]; here such a scalar is text.
    #[must_use]
    pub fn reading(&self) -> Reading<'_> {
        self.checked_reading().unwrap_or_else(|_| Reading::Text(Cow::Borrowed(&self.text)))
    }

    /// Whether it is a whole number, written in decimal digits, that does not fit 64 signed bits.
    #[must_use]
    pub fn is_oversized_integer(&self) -> bool {
        match self.reading() {
            Reading::UInt(_) => true,
            Reading::Float(_) => {
                let digits = self.text.trim_start_matches(['+', '-']).replace('_', "");
                let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
                whole && digits.parse::<i64>().is_err()
            }
            _ => false,
        }
    }

    pub(super) fn checked_reading(&self) -> Result<Reading<'_>, TagMistake> {
        let text = &*self.text;
        let reading = match self.tag {
            None if !self.plain => return Ok(Reading::Text(Cow::Borrowed(text))),
            Some(Tag::Str | Tag::Merge | Tag::Other) => return Ok(Reading::Text(Cow::Borrowed(text))),
            Some(Tag::Binary) => return binary_reading(text),
            Some(Tag::Timestamp) if looks_like_a_date(text) => {
                return Ok(Reading::Text(Cow::Borrowed(text)));
            }
            _ => plain_reading(text),
        };
        match (self.tag, reading) {
            (None, reading)
            | (Some(Tag::Null), reading @ Reading::Null)
            | (Some(Tag::Bool), reading @ Reading::Bool(_))
            | (Some(Tag::Int), reading @ (Reading::Int(_) | Reading::UInt(_)))
            | (Some(Tag::Float), reading @ Reading::Float(_)) => Ok(reading),
            #[expect(clippy::cast_precision_loss, reason = "a float is what was asked for")]
            (Some(Tag::Float), Reading::Int(number)) => Ok(Reading::Float(number as f64)),
            (Some(_), reading) => Err(TagMistake::Is(reading.kind())),
        }
    }
}

impl Reading<'_> {
    /// The word for its kind in messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "the truth value",
            Self::Int(_) | Self::UInt(_) => "the whole number",
            Self::Float(_) => "the fraction",
            Self::Text(_) => "the text",
            Self::Bytes(_) => "the bytes",
        }
    }
}

fn binary_reading(text: &str) -> Result<Reading<'_>, TagMistake> {
    let bytes = binary::decode(text).ok_or(TagMistake::NotBase64)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Reading::Text(Cow::Owned(text)),
        Err(error) => Reading::Bytes(error.into_bytes()),
    })
}

fn plain_reading(text: &str) -> Reading<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Reading::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Reading::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Reading::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Reading::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Reading::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Reading::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' => float_reading(text),
        b'+' | b'-' | b'0'..=b'9' => number_reading(&text.replace('_', "")),
        _ => None,
    };
    number.unwrap_or(Reading::Text(Cow::Borrowed(text)))
}

fn number_reading(digits: &str) -> Option<Reading<'static>> {
    let (negative, unsigned) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let magnitude = magnitude(unsigned);
    let signed = magnitude.and_then(|magnitude| {
        let magnitude = i128::from(magnitude);
        i64::try_from(if negative { -magnitude } else { magnitude }).ok()
    });
    if let Some(number) = signed {
        return Some(Reading::Int(number));
    }
    if let (Some(magnitude), true) = (magnitude, unsigned.len() == digits.len()) {
        return Some(Reading::UInt(magnitude));
    }
    if let Some(float) = float_reading(digits) {
        return Some(float);
    }
    // Go reads `0b` followed by a sign, too.
    let bits = digits.strip_prefix("0b")?;
    i64::from_str_radix(bits, 2).ok().map(Reading::Int)
}

/// The value of unsigned digits with Go's prefixes: `0x`, `0o`, `0b`, and `0` for octal.
fn magnitude(digits: &str) -> Option<u64> {
    let bytes = digits.as_bytes();
    let (radix, digits) = match (bytes.first()?, bytes.get(1)) {
        (b'0', Some(b'x' | b'X')) => (16, &digits[2..]),
        (b'0', Some(b'o' | b'O')) => (8, &digits[2..]),
        (b'0', Some(b'b' | b'B')) => (2, &digits[2..]),
        (b'0', Some(_)) => (8, &digits[1..]),
        _ => (10, digits),
    };
    // A second sign is no digit, but Rust would take it for one.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// The number of a decimal fraction: digits, one point, an exponent; nothing that Rust alone would take.
fn float_reading(text: &str) -> Option<Reading<'static>> {
    let shape = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let number = text.parse::<f64>().ok().filter(|number| shape && number.is_finite())?;
    Some(Reading::Float(number))
}

/// Whether a text has the form of a YAML date, with or without a time of day.
fn looks_like_a_date(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let [year, month, day] = parts[..] else { return false };
    let in_range = |part: &str, most: u32| part.parse().is_ok_and(|number| (1..=most).contains(&number));
    digits(year, 4)
        && year.len() == 4
        && digits(month, 2)
        && digits(day, 2)
        && in_range(month, 12)
        && in_range(day, 31)
        && time.is_none_or(|time| time.split(':').count() >= 3)
}
