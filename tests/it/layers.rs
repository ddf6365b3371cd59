//! The shape of the code as the design lays it down, read from its text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top: a module uses only what stands before it. Modules on one line do not know each other.
const LAYERS: [&[&str]; 16] = [
    &["sampler", "text", "time", "yaml"],
    &["limit"],
    &["request"],
    &["algorithm"],
    &["engine"],
    &["rules", "store"],
    &["otlp"],
    &["metrics", "traces"],
    &["limiter", "connections", "health", "tls"],
    &["grpc", "http"],
    &["reload", "telemetry"],
    &["admin"],
    &["config"],
    &["server"],
    &["cli"],
    &["fuzz"],
];

/// What only some part of the code may name: each text with the start of the paths that may.
const OWNED: [(&str, &[&str]); 11] = [
    ("SystemTime::now", &["src/time.rs"]),
    ("Instant::now", &["src/time.rs"]),
    ("env::var", &["src/config/"]),
    ("tonic::", &["src/grpc/"]),
    // What the exporter of OTLP is told its headers and certificates with.
    ("tonic_", &["src/grpc/", "src/otlp/"]),
    ("prost::", &["src/grpc/"]),
    ("prost_types::", &["src/grpc/"]),
    ("redis::", &["src/store/redis"]),
    ("tokio_postgres::", &["src/store/postgres"]),
    ("bb8", &["src/store/postgres"]),
    ("async fn", ABOVE_THE_CORE),
];

/// Modules of ours that have the name of a crate. Who uses one writes this, or gives it another name.
const OWN_MODULES: [&str; 1] = ["store::redis::"];

/// Nothing below `rules` waits or fails; a store says so in its trait without `async fn`. Metrics and traces wait
/// for the last export at the stop, and for nothing else.
const ABOVE_THE_CORE: &[&str] = &[
    "src/rules/",
    "src/store/",
    "src/otlp/",
    "src/metrics/",
    "src/traces/",
    "src/limiter",
    "src/connections",
    "src/tls/",
    "src/grpc/",
    "src/http/",
    "src/reload/",
    "src/admin/",
    "src/telemetry",
    "src/config/",
    "src/server",
    "src/cli",
    "src/main.rs",
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

/// A source file: its path from the root of the crate, and its text.
struct Source {
    path: String,
    text: String,
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path: path.strip_prefix(root).unwrap().display().to_string(), text });
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

impl Source {
    /// The lines of code without comments, up to the tests.
    fn code(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().take_while(|line| *line != "mod tests {");
        lines.map(|line| line.split("//").next().unwrap_or_default())
    }

    /// The module at the top of `src` that the file belongs to.
    fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = inner.split('/').next().unwrap_or(inner);
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules at the top of the crate that a file uses.
fn used(source: &Source) -> BTreeSet<String> {
    let code: String = source.code().collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let after = &code[at + "crate::".len()..];
        match after.strip_prefix('{') {
            Some(list) => used.extend(heads(list)),
            None => used.extend(name(after)),
        }
    }
    used.retain(|module| layer(module).is_some());
    used
}

/// The first names of a list in braces, up to its own closing one.
fn heads(list: &str) -> Vec<String> {
    let mut depth = 0usize;
    let mut heads = vec![name(list.trim_start())];
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => heads.push(name(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads.into_iter().flatten().collect()
}

fn name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The functions of a file that have more than one line: where each starts, and how many lines it has.
fn functions(source: &Source) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let is_function = |line: &str| {
        let head = line.split('(').next().unwrap_or_default();
        !head.contains("//") && !head.contains('"') && head.split(' ').any(|word| word == "fn")
    };
    let starts = (0..lines.len()).filter(|start| is_function(lines[*start]));
    let length = |start: usize| {
        let head_end = lines[start..].iter().find(|line| line.ends_with(['{', '}', ';']))?;
        // As rustfmt writes it, the closing brace stands below the first letter.
        let indent = lines[start].len() - lines[start].trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing)?;
        head_end.ends_with('{').then_some(end + 1)
    };
    starts.filter_map(|start| Some((start + 1, length(start)?))).collect()
}

fn none_of(broken: &[String]) {
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let mut broken = Vec::new();
    for source in sources(&["src"]) {
        let Some(own) = layer(source.module()) else { continue };
        for module in used(&source) {
            if module != source.module() && layer(&module).is_none_or(|layer| layer >= own) {
                broken.push(format!("{} uses {module}", source.path));
            }
        }
    }
    none_of(&broken);
}

#[test]
fn every_module_has_its_layer() {
    let modules = sources(&["src"]).into_iter().map(|source| source.module().to_owned());
    let strangers = modules.filter(|module| layer(module).is_none() && module != "lib" && module != "main");
    none_of(&strangers.collect::<Vec<_>>());
}

#[test]
fn clocks_the_environment_and_wire_formats_are_named_only_where_they_belong() {
    let mut broken = Vec::new();
    for source in sources(&["src"]) {
        for (text, owners) in OWNED {
            if owners.iter().any(|owner| source.path.starts_with(owner)) {
                continue;
            }
            let foreign =
                |line: &str| OWN_MODULES.iter().fold(line.to_owned(), |line, own| line.replace(own, ""));
            let named = source.code().enumerate().filter(|(_, line)| foreign(line).contains(text));
            broken.extend(named.map(|(line, _)| format!("{}:{} names `{text}`", source.path, line + 1)));
        }
    }
    none_of(&broken);
}

#[test]
fn core_types_know_no_wire_format() {
    let core = [
        "src/limit",
        "src/request",
        "src/algorithm",
        "src/engine",
        "src/time",
        "src/rules/mod",
        "src/rules/tree",
    ];
    let broken =
        sources(&["src"]).into_iter().filter(|source| core.iter().any(|path| source.path.starts_with(path)));
    let broken = broken.filter(|source| source.code().any(|line| line.contains("serde")));
    none_of(&broken.map(|source| format!("{} names serde", source.path)).collect::<Vec<_>>());
}

#[test]
fn no_test_is_left_out_and_nothing_is_left_to_do() {
    let marks = [concat!("to", "do!"), concat!("#[ig", "nore"), concat!("TO", "DO"), concat!("FIX", "ME")];
    let broken = sources(&["src", "tests", "benches", "examples"]).into_iter().filter_map(|source| {
        let mark =
            marks.iter().find(|mark| source.text.contains(**mark) && !source.path.ends_with("layers.rs"))?;
        Some(format!("{} says `{mark}`", source.path))
    });
    none_of(&broken.collect::<Vec<_>>());
}

#[test]
fn files_and_functions_are_short() {
    let mut broken = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples"]) {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            broken.push(format!("{} has {lines} lines", source.path));
        }
        let long = functions(&source).into_iter().filter(|(_, lines)| *lines > MAX_FUNCTION_LINES);
        broken.extend(long.map(|(start, lines)| format!("{}:{start} has {lines} lines", source.path)));
    }
    none_of(&broken);
}

#[test]
fn the_scan_finds_functions_and_uses() {
    let text = "use crate::{limit::Limit, engine::{Key, Path}};\nfn one() {\n    two();\n}\n\ntrait A {\n    fn no();\n}\n";
    let source = Source { path: "src/x.rs".to_owned(), text: text.to_owned() };
    assert_eq!(functions(&source), [(2, 3)]);
    assert_eq!(used(&source).into_iter().collect::<Vec<_>>(), ["engine", "limit"]);
    let sources = sources(&["src"]);
    assert!(sources.iter().map(|source| functions(source).len()).sum::<usize>() > 100);
}
