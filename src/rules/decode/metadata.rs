//! `metadata`: any YAML, read as the reference's Go code reads it.

use crate::engine::{Map, Value as Metadata};
use crate::yaml::{Kind, Message, Reading, Scalar, Value};

/// The metadata of a rule; its own keys are text as written, keys further in are printed as Go prints them.
pub(super) fn metadata(value: &mut Value<'_, '_>) -> Option<Map> {
    if value.node().is_null() {
        return None;
    }
    entries(value, |key| match key.reading() {
        Reading::Null => Some(String::new()),
        Reading::Text(text) => Some(text.into_owned()),
        Reading::Bytes(_) => None,
        _ => Some(key.text.as_ref().to_owned()),
    })
}

fn entries(value: &mut Value<'_, '_>, key_text: impl Fn(&Scalar) -> Option<String>) -> Option<Map> {
    let mut map = Map::new();
    value.entries(|key, value| match key_text(key) {
        Some(key) => {
            map.insert(key, any(value));
        }
        None => value.error(Message::new("the key of this value is not UTF-8 text")),
    })?;
    Some(map)
}

fn any(value: &mut Value<'_, '_>) -> Metadata {
    match &value.node().kind {
        Kind::Scalar(scalar) => reading(scalar, value),
        Kind::List(_) => Metadata::List(value.list(|item| Some(any(item))).unwrap_or_default()),
        Kind::Map(_) => Metadata::Map(entries(value, go_text).unwrap_or_default()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a protobuf value has no other numbers")]
fn reading(scalar: &Scalar, value: &mut Value<'_, '_>) -> Metadata {
    match scalar.reading() {
        Reading::Null => Metadata::Null,
        Reading::Bool(is) => Metadata::Bool(is),
        Reading::Int(number) => Metadata::Number(number as f64),
        Reading::UInt(number) => Metadata::Number(number as f64),
        Reading::Float(number) => Metadata::Number(number),
        Reading::Text(text) => Metadata::Text(text.into_owned()),
        Reading::Bytes(_) => {
            value.error(Message::new("these bytes are not UTF-8, which metadata must be"));
            Metadata::Null
        }
    }
}

/// A key as Go's `%v` prints what was read.
fn go_text(key: &Scalar) -> Option<String> {
    Some(match key.reading() {
        Reading::Null => "<nil>".to_owned(),
        Reading::Bool(is) => is.to_string(),
        Reading::Int(number) => number.to_string(),
        Reading::UInt(number) => number.to_string(),
        Reading::Float(number) => go_float(number),
        Reading::Text(text) => text.into_owned(),
        Reading::Bytes(_) => return None,
    })
}

/// A number as Go's `%v` prints it: the shortest digits that read back, in scientific form below 1e-4
/// and from 1e6 on.
fn go_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::go_float;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        let rows: [(f64, &str); 9] = [
            (1e9, "1e+09"),
            (18_446_744_073_709_552_000.0, "1.8446744073709552e+19"),
            (0.0015, "0.0015"),
            (0.00001, "1e-05"),
            (1000.5, "1000.5"),
            (-1.5, "-1.5"),
            (1_234_567.0, "1.234567e+06"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ];
        for (number, text) in rows {
            assert_eq!(go_float(number), text);
        }
    }
}
