//! Settings that hold a secret: those that are right, whose `Debug` a panic could print, and those that are not.

use std::fs;

use fluxlimit::config::{Config, ConfigError, Flags};

use super::{SECRET, holds_no_secret};

/// Every setting that holds a secret, with a value that is right. A new one has to be added here.
const SETTINGS: [(&str, &str); 5] = [
    ("admin.token", SECRET),
    ("redis.password", SECRET),
    ("redis.sentinel_password", SECRET),
    ("postgres.password", SECRET),
    ("otlp.headers", "authorization=Bearer%20Tr0ub4dor"),
];

/// Variables of others that hold a secret, or may.
const VARIABLES: [(&str, &str); 4] = [
    ("PGPASSWORD", SECRET),
    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Tr0ub4dor"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:Tr0ub4dor@collector:4317"),
    ("OTEL_RESOURCE_ATTRIBUTES", "Tr0ub4dor"),
];

/// Connection strings that are right.
pub(super) const STORES: [&str; 9] = [
    "redis://:Tr0ub4dor@localhost",
    "redis://me:Tr0ub4dor@localhost:6379/1",
    "rediss://me:Tr0ub4dor@localhost",
    "redis+unix://me:Tr0ub4dor@/run/redis.sock?db=1",
    "redis+sentinel://me:Tr0ub4dor@a,b/main",
    "redis+cluster://:Tr0ub4dor@a,b",
    "postgres://me:Tr0ub4dor@localhost/limits",
    "postgres://me@localhost/limits?password=Tr0ub4dor",
    "host=localhost user=me password='Tr0ub4dor'",
];

/// Connection strings that are wrong in one way or another, with a password that was not encoded among them.
const WRONG_STORES: [&str; 23] = [
    "redis:/:Tr0ub4dor@localhost",
    "redis//:Tr0ub4dor@localhost",
    "redis:Tr0ub4dor",
    "Tr0ub4dor@localhost",
    "mysql://me:Tr0ub4dor@localhost",
    "Redis://:Tr0ub4dor@localhost",
    "redis://:Tr0ub4dor@",
    "redis://:Tr0ub4dor/a@localhost",
    "redis://:a/Tr0ub4dor@localhost",
    "redis://:1/Tr0ub4dor@localhost",
    "redis://:a#Tr0ub4dor@localhost",
    "redis://:a?Tr0ub4dor@localhost",
    "redis://:a%Tr0ub4dor@localhost",
    "redis://localhost/Tr0ub4dor",
    "redis+sentinel://:a/Tr0ub4dor@h",
    "redis+cluster://:Tr0ub4dor@a/7",
    "postgres://me:Tr0ub4dor/a@localhost/limits",
    "postgres://me:%Tr0ub4dor@localhost/limits",
    "postgres://localhost/limits?passwd=Tr0ub4dor",
    "postgres://me:1/Tr0ub4dor@localhost/limits",
    "pass=Tr0ub4dor host=localhost",
    "host=localhost password='Tr0ub4dor",
    "host=localhost password=a Tr0ub4dor",
];

/// Forms in which a secret is written by mistake: several begin with a letter that means something in YAML.
const FORMS: [&str; 18] = [
    "[Tr0ub4dor]",
    "{Tr0ub4dor: x}",
    "{x: Tr0ub4dor}",
    "{a: 1, a: Tr0ub4dor}",
    "\"Tr0ub4dor",
    "'Tr0ub4dor",
    "\"a\\Tr0ub4dor\"",
    "a: Tr0ub4dor",
    "*Tr0ub4dor",
    "&Tr0ub4dor",
    "!Tr0ub4dor",
    "!!Tr0ub4dor x",
    "!!int Tr0ub4dor",
    "!!binary Tr0ub4dor!",
    "%Tr0ub4dor",
    "@Tr0ub4dor",
    "|Tr0ub4dor",
    "`Tr0ub4dor",
];

fn flags() -> Flags {
    Flags { rules: vec!["rules".into()], ..Flags::default() }
}

fn load(flags: &Flags, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_with(flags, environment.iter().map(|(name, value)| ((*name).into(), (*value).into())))
}

/// Neither what was read nor what is wrong with it shows a secret.
#[track_caller]
fn shows_nothing(what: &str, loaded: &Result<Config, ConfigError>) {
    holds_no_secret(what, &format!("{loaded:?}\n{loaded:#?}"));
    if let Err(error) = loaded {
        holds_no_secret(what, &error.to_string());
    }
}

/// What stands for `path` in a settings file.
fn line(path: &str, value: &str) -> String {
    match path.split_once('.') {
        Some((group, name)) => format!("{group}:\n  {name}: {value}\n"),
        None => format!("{path}: {value}\n"),
    }
}

fn of_file(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fluxlimit.yaml");
    fs::write(&path, text).unwrap();
    load(&Flags { config: Some(path), ..flags() }, &[])
}

#[test]
fn settings_that_are_right_hide_their_secrets_when_printed() {
    let exporting = ("FLUXLIMIT_TRACES__OTLP", "true");
    for (path, value) in SETTINGS {
        let variable = format!("FLUXLIMIT_{}", path.replace('.', "__").to_uppercase());
        let store = match path {
            "redis.sentinel_password" => "redis+sentinel://a/main",
            "postgres.password" => "postgres://me@localhost/limits",
            _ => "redis://localhost",
        };
        for store in ["memory", store] {
            let of_file = of_file(&format!("store: {store}\n{}", line(path, &format!("'{value}'"))));
            let of_variable = load(&flags(), &[(&variable, value), ("FLUXLIMIT_STORE", store), exporting]);
            for loaded in [of_file, of_variable] {
                assert!(loaded.is_ok(), "{path} with {store}: {loaded:?}");
                shows_nothing(path, &loaded);
            }
        }
    }
    for store in STORES {
        let loaded = load(&Flags { store: Some(store.to_owned()), ..flags() }, &[]);
        assert!(loaded.is_ok(), "{store}: {loaded:?}");
        shows_nothing(store, &loaded);
        shows_nothing(store, &load(&flags(), &[("FLUXLIMIT_STORE", store)]));
        shows_nothing(store, &of_file(&format!("store: \"{store}\"\n")));
    }
}

#[test]
fn variables_of_others_hide_their_secrets_whether_they_are_used_or_not() {
    for (name, value) in VARIABLES {
        for store in ["memory", "redis://localhost", "postgres://me@localhost/limits"] {
            for exporting in ["false", "true"] {
                let environment =
                    [(name, value), ("FLUXLIMIT_STORE", store), ("FLUXLIMIT_TRACES__OTLP", exporting)];
                shows_nothing(name, &load(&flags(), &environment));
            }
        }
    }
}

#[test]
fn messages_about_a_store_repeat_no_password() {
    for store in WRONG_STORES {
        let of_flag = load(&Flags { store: Some(store.to_owned()), ..flags() }, &[]);
        for loaded in [of_flag, load(&flags(), &[("FLUXLIMIT_STORE", store)])] {
            shows_nothing(store, &loaded);
        }
        shows_nothing(store, &of_file(&format!("store: \"{store}\"\n")));
        shows_nothing(store, &of_file(&format!("store: {store}\n")));
    }
}

#[test]
fn messages_about_a_secret_in_a_wrong_form_do_not_repeat_it() {
    for (path, _) in SETTINGS {
        for form in FORMS {
            shows_nothing(&format!("{path}: {form}"), &of_file(&line(path, form)));
        }
        let (group, name) = path.split_once('.').unwrap();
        shows_nothing(path, &of_file(&format!("{group}:\n  {name}: x\n  {name}: {SECRET}\n")));
        shows_nothing(path, &of_file(&format!("{group}:\n  {name}:\n    {SECRET}: x\n")));
        shows_nothing(path, &of_file(&format!("{group}:\n  {name}:\n    x: {SECRET}\n")));
        shows_nothing(path, &of_file(&format!("{group}:\n  x{name}: {SECRET}\n")));
        shows_nothing(path, &of_file(&format!("{name}: {SECRET}\n")));
        shows_nothing(path, &of_file(&format!("{group}:\n  {name} {SECRET}\n")));
        shows_nothing(path, &of_file(&format!("{group}: {SECRET}\n")));
        shows_nothing(path, &of_file(&format!("{group}: [{SECRET}]\n")));
    }
    for (variable, value) in [("FLUXLIMIT_REDIS_PASSWORD", SECRET), ("FLUXLIMIT_PASSWORD", SECRET)] {
        shows_nothing(variable, &load(&flags(), &[(variable, value)]));
    }
}

#[test]
fn an_address_of_a_collector_with_a_password_is_refused_and_not_repeated() {
    for endpoint in [
        "http://me:Tr0ub4dor@collector:4317",
        "http://collector:4317?key=Tr0ub4dor",
        "me:Tr0ub4dor@collector",
        "http://me:Tr0 ub4dor Tr0ub4dor@collector",
    ] {
        for exporting in ["false", "true"] {
            let exporting = ("FLUXLIMIT_TRACES__OTLP", exporting);
            let own = load(&flags(), &[("FLUXLIMIT_OTLP__ENDPOINT", endpoint), exporting]);
            assert!(own.is_err(), "{endpoint}");
            shows_nothing(endpoint, &own);
            shows_nothing(endpoint, &load(&flags(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), exporting]));
        }
    }
}
