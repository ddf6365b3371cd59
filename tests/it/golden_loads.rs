//! The rule files that the reference was given: we accept and reject the same, and read the same rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fluxlimit::rules::file::{Node, NodeLimits, RuleFile};
use fluxlimit::rules::load::{LoadOptions, Loaded, Source, load};
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/loads");

/// Rows where we decide otherwise, each with the reason from part 1 of the reference's description.
///
/// Folders are not among them: they differ only in which files a directory stands for, and here every
/// file is given.
const DIFFERENT: [(&str, bool, &str); 6] = [
    ("rejected/domain-is-float.yaml", true, "an unquoted float is text where text is asked for"),
    ("rejected/value-is-float.yaml", true, "an unquoted float is text where text is asked for"),
    ("rejected/duplicate-through-underscore.yaml", true, "key and value are matched separately"),
    ("rejected/rate-limit-is-list.yaml", true, "several limits on one descriptor"),
    ("rejected/yaml-directive-1-2.yaml", true, "a file may say that it is YAML 1.2"),
    ("rejected/yaml-escaped-slash.yaml", true, "JSON writers escape the slash"),
];

fn expected() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(format!("{GOLDEN}/expected.json")).expect("the golden folder is here");
    serde_json::from_str(&text).expect("expected.json is a map")
}

fn files_below(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let mut entries: Vec<_> = path.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in &entries {
            files_below(entry, files);
        }
    } else {
        files.push(path.to_owned());
    }
}

fn load_row(name: &str, row: &Value) -> Loaded {
    let root = Path::new(GOLDEN).join(name);
    let is_on = |setting: &str| row["settings"][setting] == "true";
    let mut files = Vec::new();
    files_below(&root, &mut files);
    let sources: Vec<Source> = files
        .iter()
        .filter(|path| !path.ends_with("settings.json"))
        .filter(|path| {
            let is_hidden = path.file_name().unwrap().to_str().unwrap().starts_with('.');
            !(is_hidden && is_on("RUNTIME_IGNOREDOTFILES"))
        })
        .map(|path| Source { name: path.display().to_string(), text: fs::read(path).unwrap() })
        .collect();
    load(&sources, &LoadOptions { merge_domains: is_on("MERGE_DOMAIN_CONFIG"), ..LoadOptions::default() })
}

/// What the reference prints at `/rlconfig`.
fn rlconfig(files: &[RuleFile]) -> Vec<String> {
    fn walk(path: &str, nodes: &[Node], lines: &mut Vec<String>) {
        for node in nodes {
            let underscore = if node.value.is_empty() { "" } else { "_" };
            let path = format!("{path}.{}{underscore}{}", node.key, node.value);
            let numbers = match &node.limits {
                NodeLimits::None => None,
                NodeLimits::Unlimited { .. } => Some(("UNKNOWN".to_owned(), 0, false)),
                NodeLimits::Limited { limits, .. } => {
                    let limit = limits[0].limit;
                    Some((limit.unit().name().to_uppercase(), limit.count(), limits[0].shadow_mode))
                }
            };
            if let Some((unit, count, shadow)) = numbers {
                let quota = node.quota_mode;
                let line = format!(
                    "{path}: unit={unit} requests_per_unit={count}, shadow_mode: {shadow}, quota_mode: {quota}"
                );
                // A key may hold line breaks.
                lines.extend(line.lines().map(str::to_owned));
            }
            walk(&path, &node.children, lines);
        }
    }
    let mut lines = Vec::new();
    for file in files {
        walk(&file.domain, &file.descriptors, &mut lines);
    }
    lines.sort();
    lines
}

#[test]
fn every_file_loads_exactly_if_the_reference_loads_it() {
    let rows = expected();
    assert!(rows.len() > 200, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (name, row) in &rows {
        let different = DIFFERENT.iter().find(|(different, ..)| different == name);
        let should = different.map_or(name.starts_with("accepted/"), |(_, accepted, _)| *accepted);
        let is_about_directories = row["differs"].as_str().is_some_and(|text| text.starts_with("only where"));
        assert_eq!(different.is_some(), row.get("differs").is_some() && !is_about_directories, "{name}");
        let loaded = load_row(name, row);
        if loaded.is_ok() != should {
            wrong.push(format!("{name}: {:?}", loaded.problems));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn accepted_files_mean_the_same_rules() {
    for (name, row) in expected() {
        let Some(lines) = row["rlconfig"].as_array() else { continue };
        let mut lines: Vec<String> = lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect();
        if name == "accepted/unlimited-with-requests.yaml" {
            // The number means nothing, and we do not keep it.
            lines = vec![lines[0].replace("requests_per_unit=7", "requests_per_unit=0")];
        }
        assert_eq!(rlconfig(&load_row(&name, &row).files), lines, "{name}");
    }
}

#[test]
fn every_rejection_has_a_place() {
    for (name, row) in expected() {
        let loaded = load_row(&name, &row);
        for problem in &loaded.problems {
            assert!(problem.position.is_some(), "{problem}");
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_said_at_once() {
    for (name, mistakes) in
        [("rejected/two-type-mistakes.yaml", 2), ("rejected/two-mistakes-unit-and-duplicate.yaml", 2)]
    {
        let loaded = load_row(name, &Value::Null);
        assert_eq!(loaded.problems.iter().filter(|problem| problem.is_error()).count(), mistakes, "{name}");
    }
}
