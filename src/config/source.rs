//! The sources of settings, one after the other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::setting::{Setting, complete, read_foreign_variables, settings};
use super::{Config, ConfigError, Flags, Shown};
use crate::yaml::{
    self, Decoder, Fields, Kind, Message, Node, Position, Problem, Problems, Scalar, Value, quoted,
};

/// What every variable of ours begins with.
const PREFIX: &str = "FLUXLIMIT_";

/// The variable that names the settings file.
const CONFIG_VARIABLE: &str = "FLUXLIMIT_CONFIG";

/// Largest settings file, in bytes: a hundred times the one that explains every setting.
const MAX_FILE_BYTES: u64 = 1 << 20;

pub(super) fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    needs_rules: bool,
) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let mut problems = Vec::new();
    let environment: Vec<(OsString, OsString)> = environment.into_iter().collect();
    read_foreign_variables(&environment, &mut config);
    let mut variables = variables(environment, &mut problems);
    let named = variables.remove(CONFIG_VARIABLE);
    if named.as_deref() == Some("") {
        problems.push(empty_variable(CONFIG_VARIABLE));
    }
    let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = flags.config.clone().or(named) {
        read_file(&path, &mut config, &mut problems);
    }
    config.relative_to = PathBuf::new();
    read_variables(&variables, &mut config, &mut problems);
    read_flags(flags, &mut config, &mut problems);
    if needs_rules && config.reload.paths.is_empty() && problems.is_empty() {
        let message = Message::new("no rules are given")
            .expected("`--rules PATH`, FLUXLIMIT_RULES, or `rules` in the settings file");
        problems.push(Problem::of_file("settings", message));
    }
    if problems.is_empty() {
        // What goes together or not is clear only once every source has been read.
        problems = complete(&mut config);
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}

fn read_file(path: &Path, config: &mut Config, problems: &mut Vec<Problem>) {
    let name = path.display().to_string();
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(error) => {
            let message = Message::new(format!("cannot read the settings: {error}"));
            problems.push(Problem::of_file(name, message));
            return;
        }
    };
    config.relative_to = path.parent().map(Path::to_path_buf).unwrap_or_default();
    read_text(&name, &text, config, problems);
}

/// Reads the text of a settings file.
pub(super) fn read_text(name: &str, text: &[u8], config: &mut Config, problems: &mut Vec<Problem>) {
    let read = |setting: &Setting, value: &mut Value<'_, '_>| {
        (setting.read)(value, config);
        config.given.push(Shown::of(setting, value.node(), name));
    };
    let decoded = yaml::decode(name, text, |fields| each_field(fields, read));
    // A key that stands twice is a mistake here, so warnings count as well.
    problems.extend(decoded.problems.into_iter().map(discreet));
}

/// What stands in the place of a whole group, or has a wrong tag, may be a secret that has lost its name.
fn discreet(mut problem: Problem) -> Problem {
    if problem.path.is_empty() || members(&problem.path).next().is_some() {
        problem.message.found = None;
    }
    problem
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// Calls `read` with every setting of a file; one whose path has two names stands in a map of the first name.
pub(super) fn each_field(
    fields: &mut Fields<'_, '_>,
    mut read: impl FnMut(&'static Setting, &mut Value<'_, '_>),
) {
    let mut done: Vec<&str> = Vec::new();
    for setting in settings() {
        let Some((group, _)) = setting.path.split_once('.') else {
            fields.field(setting.path, |value| {
                read(setting, value);
                Some(())
            });
            continue;
        };
        if done.contains(&group) {
            continue;
        }
        done.push(group);
        fields.map(group, |fields| {
            for (name, setting) in members(group) {
                fields.field(name, |value| {
                    read(setting, value);
                    Some(())
                });
            }
        });
    }
}

fn members(group: &str) -> impl Iterator<Item = (&'static str, &'static Setting)> + use<'_> {
    settings().filter_map(move |setting| {
        let (of, name) = setting.path.split_once('.')?;
        (of == group).then_some((name, setting))
    })
}

/// The variables of ours, sorted by name.
fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        match value.into_string() {
            Ok(value) if is_service_link(name, &value) => {}
            Ok(value) => {
                variables.insert(name.to_owned(), value);
            }
            Err(_) => problems.push(Problem::of_file(name, Message::new("the value is not UTF-8"))),
        }
    }
    variables
}

/// Whether Kubernetes made this variable of a service whose name begins like ours. No setting is named so.
fn is_service_link(name: &str, value: &str) -> bool {
    let ends_like_a_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    // `FLUXLIMIT_PORT_8081_TCP_ADDR` of a port; `FLUXLIMIT_PORT` of the first one, always a URL. A
    // `FLUXLIMIT_GRPC_PORT=8081` is somebody's mistake.
    let mut after_port = name.split("_PORT_").skip(1);
    let is_port = after_port.any(|rest| {
        let rest = rest.trim_start_matches(|character: char| character.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.starts_with(protocol))
    });
    ends_like_a_service || is_port || name.ends_with("_PORT") && value.contains("://")
}

fn read_variables(variables: &BTreeMap<String, String>, config: &mut Config, problems: &mut Vec<Problem>) {
    let known: Vec<(String, &Setting)> = settings().map(|setting| (setting.variable(), setting)).collect();
    for (name, value) in variables {
        let Some((_, setting)) = known.iter().find(|(variable, _)| variable == name) else {
            let names = known.iter().map(|(variable, _)| variable.as_str()).chain([CONFIG_VARIABLE]);
            let message = Message::new(format!("unknown variable {}", quoted(name)));
            problems.push(Problem::of_file(name.as_str(), message.did_you_mean(yaml::nearest(name, names))));
            continue;
        };
        if value.is_empty() {
            problems.push(empty_variable(name));
            continue;
        }
        let node =
            if setting.path == "rules" { list(value.split(':').map(text)) } else { scalar(value, true) };
        read_value(name, setting, &node, config, problems);
    }
}

fn read_flags(flags: &Flags, config: &mut Config, problems: &mut Vec<Problem>) {
    let given = [("store", &flags.store), ("grpc", &flags.grpc), ("http", &flags.http)];
    for (path, value) in given {
        if let Some(value) = value {
            read_flag(path, &text(value), config, problems);
        }
    }
    if !flags.rules.is_empty() {
        let paths = flags.rules.iter().map(|path| text(&path.to_string_lossy()));
        read_flag("rules", &list(paths), config, problems);
    }
}

fn read_flag(path: &'static str, node: &Node, config: &mut Config, problems: &mut Vec<Problem>) {
    let setting = settings().find(|setting| setting.path == path).expect("flags are settings");
    read_value(&format!("--{path}"), setting, node, config, problems);
}

fn read_value(
    source: &str,
    setting: &Setting,
    node: &Node,
    config: &mut Config,
    problems: &mut Vec<Problem>,
) {
    let mut decoder = Decoder::new(Problems::new(source));
    (setting.read)(&mut decoder.value(node), config);
    config.given.push(Shown::of(setting, node, source));
    // There is no line and no path to tell: the source is the place.
    let found = decoder.finish().into_iter();
    problems.extend(found.map(|problem| Problem { position: None, path: String::new(), ..problem }));
}

fn empty_variable(name: &str) -> Problem {
    let message = Message::new("the variable is empty").expected("a value, or no such variable");
    Problem::of_file(name, message)
}

fn text(text: &str) -> Node {
    scalar(text, false)
}

fn scalar(text: &str, plain: bool) -> Node {
    let scalar = Scalar { text: Arc::from(text), plain, tag: None };
    Node { position: Position::START, kind: Kind::Scalar(scalar) }
}

fn list(items: impl Iterator<Item = Node>) -> Node {
    Node { position: Position::START, kind: Kind::List(items.collect()) }
}
