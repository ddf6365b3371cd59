//! Every setting with its value and where that comes from, for operators; secrets are left out.

use serde_json::Value as Json;

use super::setting::{Setting, settings};
use super::source::each_field;
use super::{Config, StoreKind};
use crate::yaml::{self, Kind, Node, Reading};

/// The file that explains every setting; a test holds its values equal to the defaults.
const EXPLAINED: &str = include_str!("../../config/fluxlimit.yaml");

/// The source of what nobody has set.
const DEFAULT: &str = "default";

/// A setting as it is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its place in the settings file.
    pub path: &'static str,
    /// Its value as it was written; `(hidden)` for a secret.
    pub value: Json,
    /// `default`, the settings file, a variable of the environment or a flag.
    pub source: String,
}

impl Shown {
    pub(super) fn of(setting: &Setting, node: &Node, source: &str) -> Self {
        let value = if is_secret(setting.path) && !node.is_null() { "(hidden)".into() } else { json(node) };
        Self { path: setting.path, value, source: source.to_owned() }
    }
}

impl Config {
    /// Every setting, in the order in which they are defined.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let mut shown = defaults();
        for setting in &mut shown {
            if let Some(given) = self.given.iter().rfind(|given| given.path == setting.path) {
                *setting = given.clone();
            }
            if setting.path == "store" {
                setting.value = self.store_shown().into();
            }
        }
        shown
    }

    /// Where states are kept, without passwords.
    #[must_use]
    pub fn store_shown(&self) -> String {
        match self.store {
            StoreKind::Memory => "memory".to_owned(),
            StoreKind::Redis => self.redis.form.to_string(),
            StoreKind::Postgres => self.postgres.server.to_string(),
        }
    }
}

fn defaults() -> Vec<Shown> {
    // What is null there has no value unless somebody gives one.
    let unset =
        |setting: &Setting| Shown { path: setting.path, value: Json::Null, source: DEFAULT.to_owned() };
    let mut defaults: Vec<Shown> = settings().map(unset).collect();
    let note = |setting: &'static Setting, value: &mut yaml::Value<'_, '_>| {
        if let Some(shown) = defaults.iter_mut().find(|shown| shown.path == setting.path) {
            *shown = Shown::of(setting, value.node(), DEFAULT);
        }
    };
    yaml::decode("config/fluxlimit.yaml", EXPLAINED.as_bytes(), |fields| each_field(fields, note));
    defaults
}

/// Whether nobody may see the value. A URL of a store may hold a password as well; see [`Config::store_shown`].
fn is_secret(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    name.ends_with("password") || name == "token" || name == "headers" || path == "store"
}

fn json(node: &Node) -> Json {
    match &node.kind {
        Kind::Scalar(scalar) => match scalar.reading() {
            Reading::Null => Json::Null,
            // `off` is a truth value as well, and mostly a word of ours.
            Reading::Bool(value) if matches!(&*scalar.text, "true" | "false") => value.into(),
            Reading::Int(value) => value.into(),
            Reading::UInt(value) => value.into(),
            Reading::Float(value) => value.into(),
            Reading::Bool(_) | Reading::Text(_) | Reading::Bytes(_) => (&*scalar.text).into(),
        },
        Kind::List(items) => items.iter().map(json).collect(),
        // No setting is a map of its own names.
        Kind::Map(_) => Json::Null,
    }
}
