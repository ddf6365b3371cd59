//! The settings of the Postgres store.

use std::ffi::OsString;
use std::path::Path;

use super::{MAX_WAIT_MS, Setting, StoreKind, filled, path, problems, put, secret, setting};
use crate::config::Config;
use crate::store::postgres::{
    Durability, MAX_NAME_BYTES, Migrations, Parameters, Settings, VARIABLES, is_name,
};
use crate::yaml::{Message, Problem, Value, quoted};

/// The most connections that apply batches: each is a process of the server, and they wait for the same disk.
const MAX_CONNECTIONS: u64 = 64;

/// The most settlements in one transaction: more only make each of them wait longer.
const MAX_BATCH: u64 = 10_000;

pub(super) const SETTINGS: &[Setting] = &[
    setting("postgres.host", |value, to| text(value, to, "host")),
    setting("postgres.port", |value, to| {
        if let Some(port) = value.u64_in(1..=u64::from(u16::MAX)) {
            to.postgres_options.fields.set("port", port.to_string());
        }
    }),
    setting("postgres.database", |value, to| text(value, to, "dbname")),
    setting("postgres.user", |value, to| text(value, to, "user")),
    setting("postgres.password", |value, to| {
        if let Some(password) = secret(value) {
            to.postgres_options.fields.set("password", password.reveal());
        }
    }),
    setting("postgres.password_file", |value, to| {
        let path = path(value, to);
        put(&mut to.postgres_options.password_file, path.map(Some));
    }),
    setting("postgres.sslmode", |value, to| text(value, to, "sslmode")),
    setting("postgres.sslrootcert", |value, to| {
        // A word and no path.
        if value.node().scalar().is_some_and(|scalar| &*scalar.text == "system") {
            return to.postgres_options.fields.set("sslrootcert", "system");
        }
        file(value, to, "sslrootcert");
    }),
    setting("postgres.sslcert", |value, to| file(value, to, "sslcert")),
    setting("postgres.sslkey", |value, to| file(value, to, "sslkey")),
    setting("postgres.application_name", |value, to| text(value, to, "application_name")),
    setting("postgres.connect_timeout_ms", |value, to| {
        put(&mut to.postgres_options.connect_timeout_ms, value.u64_in(1..=MAX_WAIT_MS).map(Some));
    }),
    setting("postgres.connections", |value, to| {
        put(&mut to.postgres.connections, number(value, MAX_CONNECTIONS));
    }),
    setting("postgres.max_batch", |value, to| put(&mut to.postgres.max_batch, number(value, MAX_BATCH))),
    setting("postgres.schema", |value, to| put(&mut to.postgres.schema, name(value))),
    setting("postgres.table", |value, to| put(&mut to.postgres.table, name(value))),
    setting("postgres.migrations", |value, to| {
        put(&mut to.postgres.migrations, value.choice(&Migrations::ALL));
    }),
    setting("postgres.durability", |value, to| {
        put(&mut to.postgres.durability, value.choice(&Durability::ALL));
    }),
    setting("postgres.sweep_ms", |value, to| {
        put(&mut to.postgres.sweep_ms, value.u64_in(1000..=MAX_WAIT_MS));
    }),
];

/// Whether a value of `store` means a Postgres.
pub(super) fn is_connection(text: &str) -> bool {
    text == "postgres" || Parameters::recognizes(text)
}

/// Reads such a value: a connection string, or the word alone if the other settings and the environment say
/// everything.
pub(super) fn connection(value: &mut Value<'_, '_>, text: &str, config: &mut Config) {
    let string = if text == "postgres" { Ok(Parameters::default()) } else { Parameters::parse(text) };
    match string {
        Ok(string) => {
            config.store = StoreKind::Postgres;
            config.postgres_options.string = string;
        }
        Err(message) => value.error(message),
    }
}

/// Reads libpq's variables, and what it takes from the system's: who the user is, and where a password file
/// stands.
pub(super) fn read_variables(environment: &[(OsString, OsString)], config: &mut Config) {
    let find = |name: &str| {
        let (_, value) = environment.iter().find(|(variable, _)| variable == name)?;
        (!value.is_empty()).then(|| value.to_string_lossy().into_owned())
    };
    let parameters = &mut config.postgres_options.environment;
    if let Some(user) = find("USER").or_else(|| find("LOGNAME")) {
        parameters.set("user", user);
    }
    if let Some(home) = find("HOME") {
        parameters.set("passfile", Path::new(&home).join(".pgpass").to_string_lossy());
    }
    for (variable, keyword) in VARIABLES {
        if let Some(value) = find(variable) {
            parameters.set(keyword, value);
        }
    }
}

/// Completes the settings of the store with what all sources say about it.
pub(super) fn complete(config: &mut Config) -> Vec<Problem> {
    match config.postgres_options.settings(&config.postgres) {
        Ok(settings) => {
            let Config { store_timeout_ms: timeout_ms, max_waiting, .. } = *config;
            config.postgres = Settings { timeout_ms, max_waiting, ..settings };
            Vec::new()
        }
        Err(mistakes) => problems(mistakes),
    }
}

fn text(value: &mut Value<'_, '_>, config: &mut Config, keyword: &'static str) {
    if let Some(text) = filled(value) {
        config.postgres_options.fields.set(keyword, text);
    }
}

fn file(value: &mut Value<'_, '_>, config: &mut Config, keyword: &'static str) {
    if let Some(path) = path(value, config) {
        config.postgres_options.fields.set(keyword, path.to_string_lossy());
    }
}

fn number(value: &mut Value<'_, '_>, most: u64) -> Option<usize> {
    value.u64_in(1..=most).and_then(|number| usize::try_from(number).ok())
}

/// The name of a schema or table, as it stands between double quotes in SQL.
fn name(value: &mut Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    if !is_name(&text) {
        let message = Message::new(format!("{} is no name of a schema or table", quoted(&text)));
        value.error(message.expected(format!("1 to {MAX_NAME_BYTES} printable bytes")));
        return None;
    }
    Some(text)
}
