//! A hundred scalars at five places each, read as the reference read them.

use std::fs;

use fluxlimit::engine::Value as Metadata;
use fluxlimit::rules::file::{Node, NodeLimits};
use fluxlimit::rules::load::{LoadOptions, Source, load};
use serde_json::{Value, json};

/// Values that the reference rejects and we read as text: unquoted fractions (part 1 of its description).
const FRACTIONS: [&str; 15] = [
    "08",
    "1.0",
    "1.5",
    ".5",
    "5.",
    "-1.5",
    "1e3",
    "1.5E-3",
    "1e+3",
    ".inf",
    "-.inf",
    ".nan",
    ".NaN",
    "1_000.5",
    "!!float 5",
];

fn node(text: &str) -> Result<Node, String> {
    let source = Source { name: "a.yaml".to_owned(), text: text.as_bytes().to_vec() };
    let mut loaded = load(&[source], &LoadOptions::default());
    if !loaded.is_ok() {
        return Err(format!("{:?}", loaded.problems));
    }
    Ok(loaded.files.remove(0).descriptors.remove(0))
}

fn json_of(value: &Metadata) -> Value {
    match value {
        Metadata::Null => Value::Null,
        Metadata::Bool(is) => json!(is),
        Metadata::Number(number) if number.is_nan() => json!("number nan"),
        Metadata::Number(number) if number.is_infinite() => {
            json!(if *number > 0.0 { "number inf" } else { "number -inf" })
        }
        Metadata::Number(number) => json!(number),
        Metadata::Text(text) => json!(text),
        Metadata::List(items) => items.iter().map(json_of).collect(),
        Metadata::Map(map) => map.iter().map(|(key, value)| (key.clone(), json_of(value))).collect(),
    }
}

/// What we make of a scalar at a place.
fn ours(place: &str, scalar: &str) -> Result<Value, String> {
    let rule = "  rate_limit: {unit: day, requests_per_unit: 5}\n";
    let head = "domain: d\ndescriptors:\n- key: k\n";
    match place {
        "value" => node(&format!("{head}  value: {scalar}\n{rule}")).map(|node| json!(node.value)),
        "shadow_mode" => {
            node(&format!("{head}  shadow_mode: {scalar}\n{rule}")).map(|node| match node.limits {
                NodeLimits::Limited { limits, .. } => json!(limits[0].shadow_mode),
                _ => Value::Null,
            })
        }
        "requests_per_unit" => {
            let text = format!("{head}  rate_limit:\n    unit: day\n    requests_per_unit: {scalar}\n");
            node(&text).map(|node| match node.limits {
                NodeLimits::Limited { limits, .. } => json!(limits[0].limit.count()),
                _ => Value::Null,
            })
        }
        "metadata" => node(&format!("{head}{rule}  metadata:\n    m: {scalar}\n"))
            .map(|node| json_of(&node.metadata.unwrap()["m"])),
        _ => {
            let text = format!("{head}{rule}  metadata:\n    m:\n      {scalar}: 1\n");
            node(&text).map(|node| match &node.metadata.unwrap()["m"] {
                Metadata::Map(map) => json!(map.keys().next().unwrap()),
                // `!!str: 1` is a tag named `!!str:` and a text.
                other => json_of(other),
            })
        }
    }
}

#[test]
fn scalars_are_read_as_the_reference_reads_them_at_every_place() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scalars.json");
    let rows: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(rows.len(), 104);
    let mut wrong = Vec::new();
    for row in &rows {
        let scalar = row["scalar"].as_str().unwrap();
        for place in ["value", "requests_per_unit", "shadow_mode", "metadata", "metadata_key"] {
            let expected = &row[place];
            let ours = ours(place, scalar);
            let same = match (expected.get("is"), &ours) {
                (Some(expected), Ok(ours)) => {
                    expected == ours || expected.is_number() && expected.as_f64() == ours.as_f64()
                }
                (None, Ok(ours)) if place == "value" && FRACTIONS.contains(&scalar) => {
                    *ours == json!(scalar.trim_start_matches("!!float "))
                }
                // A rule that loads there and cannot be answered for.
                (None, Ok(_)) => expected["when"] == "answering",
                (None, Err(_)) => true,
                (Some(_), Err(_)) => false,
            };
            if !same {
                wrong.push(format!("{place}: {scalar}: expected {expected}, ours {ours:?}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
