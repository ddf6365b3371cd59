//! Every kind of mistake, and which source counts.

use std::io::Write;

use super::setting::settings;
use super::*;
use crate::engine::HeaderStyle;

fn flags() -> Flags {
    Flags { rules: vec!["rules".into()], ..Flags::default() }
}

fn load(flags: &Flags, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::load_with(flags, environment)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(file: &tempfile::NamedTempFile) -> Flags {
    Flags { config: Some(file.path().into()), ..flags() }
}

/// The message, with `FILE` for the name of the settings file.
fn mistakes(text: &str, environment: &[(&str, &str)], flags: Flags) -> String {
    let file = file(text);
    let error = load(&Flags { config: Some(file.path().into()), ..flags }, environment).unwrap_err();
    error.to_string().replace(&file.path().display().to_string(), "FILE")
}

#[test]
fn the_file_that_explains_every_setting_holds_exactly_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/fluxlimit.yaml");
    let explained = load(&Flags { config: Some(path.into()), ..flags() }, &[]).unwrap();
    let values = |config: Config| Config { given: Vec::new(), ..config };
    assert_eq!(values(explained), values(load(&flags(), &[]).unwrap()));
    let text = std::fs::read_to_string(path).unwrap();
    for setting in settings() {
        let name = setting.path.rsplit('.').next().unwrap();
        let line = text.lines().map(str::trim_start).find(|line| line.starts_with(&format!("{name}:")));
        assert!(line.is_some(), "`{}` is not explained", setting.path);
    }
}

#[test]
fn flags_count_before_the_environment_and_that_before_the_file() {
    let file = file("grpc: 127.0.0.1:1\nhttp: 127.0.0.1:1\ndrain_delay_ms: 1\nrules: [a.yaml]\n");
    let environment = [("FLUXLIMIT_GRPC", "127.0.0.1:2"), ("FLUXLIMIT_HTTP", "127.0.0.1:2")];
    let flags = Flags { grpc: Some("127.0.0.1:3".to_owned()), rules: Vec::new(), ..with_file(&file) };
    let config = load(&flags, &environment).unwrap();
    assert_eq!((config.grpc.port(), config.http.port(), config.drain_delay_ms), (3, 2, 1));
    assert_eq!(config.reload.paths, [file.path().parent().unwrap().join("a.yaml")]);
}

#[test]
fn every_setting_can_be_given_in_the_environment() {
    let config = load(
        &Flags::default(),
        &[
            ("FLUXLIMIT_RULES", "a.yaml:/etc/rules"),
            ("FLUXLIMIT_MEMORY__MAX_KEYS", "5"),
            ("FLUXLIMIT_RESPONSE_HEADERS", "both"),
            ("FLUXLIMIT_GLOBAL_SHADOW_MODE", "true"),
            ("FLUXLIMIT_NEAR_LIMIT_RATIO", "0.5"),
            ("FLUXLIMIT_DEFAULTS__ALGORITHM", "sliding_window"),
            ("FLUXLIMIT_HASH_TAG", "tenant"),
            ("FLUXLIMIT_STORE_TIMEOUT_MS", "30"),
            ("FLUXLIMIT_ON_STORE_FAILURE", "deny"),
            ("FLUXLIMIT_READY_FOLLOWS_STORE", "true"),
            ("FLUXLIMIT_LIMITS__WAITING", "7"),
            ("FLUXLIMIT_BREAKER__FAILURES", "3"),
            ("FLUXLIMIT_LOCAL_CACHE__MAX_KEYS", "0"),
            ("FLUXLIMIT_LOCAL_CACHE__SKIP_COUNT_REFUSED", "true"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();
    assert_eq!(config.reload.paths, [PathBuf::from("a.yaml"), PathBuf::from("/etc/rules")]);
    assert_eq!(config.memory.max_keys, 5);
    assert_eq!(config.limiter.answer.headers, HeaderStyle::Both);
    assert!(config.limiter.modes.global_shadow);
    assert!((config.limiter.near_limit_ratio - 0.5).abs() < f32::EPSILON);
    let tag = crate::rules::HashTag::Entry("tenant".into());
    assert_eq!(config.reload.options.hash_tag, Some(tag));
    assert_eq!(config.reload.options.defaults.algorithm, Some(crate::limit::Algorithm::SlidingWindow));
    assert_eq!((config.store_timeout_ms, config.limiter.store_timeout_ms), (30, 30));
    assert_eq!(config.limiter.on_store_failure, crate::rules::OnStoreFailure::Deny);
    let cache = config.limiter.local_cache;
    assert_eq!((cache.max_keys, cache.skip_count_refused), (0, true));
    assert!(config.ready_follows_store);
    assert_eq!((config.max_waiting, config.breaker.failures), (7, 3));
}

#[test]
fn the_settings_file_may_be_named_by_the_environment() {
    let file = file("drain_delay_ms: 7");
    let config = load(&flags(), &[("FLUXLIMIT_CONFIG", file.path().to_str().unwrap())]).unwrap();
    assert_eq!(config.drain_delay_ms, 7);
}

#[test]
fn all_mistakes_of_all_sources_are_told_at_once() {
    let text = "drain_delay_ms: soon\nmemory:\n  max_kyes: 5\nresponse_headers: all\nnear_limit_ratio: 2\n";
    let environment = [
        ("FLUXLIMIT_DRAIN_DELAY", "5"),
        ("FLUXLIMIT_HTTP", "localhost"),
        ("FLUXLIMIT_GRPC", ""),
        ("FLUXLIMIT_MEMORY__MAX_KEYS", "0"),
    ];
    let flags = Flags { store: Some("redis://user:secret@host:port".to_owned()), ..flags() };
    let expected = "9 mistakes in the settings
FILE:1:17: drain_delay_ms: wrong type: found the text `soon`; expected a whole number from 0 to 3600000
FILE:3:3: memory.max_kyes: unknown key `max_kyes`; expected `max_keys` or `sweep_ms`
  hint: did you mean `max_keys`?
FILE:4:19: response_headers: unknown value `all`; expected `off`, `reference`, `ietf` or `both`
FILE:5:19: near_limit_ratio: the ratio `2` is out of range; expected a number from 0 to 1
FLUXLIMIT_DRAIN_DELAY: unknown variable `FLUXLIMIT_DRAIN_DELAY`
  hint: did you mean `FLUXLIMIT_DRAIN_DELAY_MS`?
FLUXLIMIT_GRPC: the variable is empty; expected a value, or no such variable
FLUXLIMIT_HTTP: `localhost` is no address to listen on; expected ADDRESS:PORT such as `0.0.0.0:8081` or `[::]:8081`
FLUXLIMIT_MEMORY__MAX_KEYS: `0` is out of range; expected a whole number from 1 to 4294967296
--store: this URL of a Redis cannot be read: a port is no whole number from 1 to 65535
  hint: an IPv6 address stands in `[]`; in a user or password, `/`, `?`, `#`, `@`, `:` and `%` are percent-encoded, such as `%2F` for `/`";
    assert_eq!(mistakes(text, &environment, flags), expected);
}

#[test]
fn a_server_without_rules_is_told_how_to_get_some() {
    assert_eq!(
        load(&Flags::default(), &[]).unwrap_err().to_string(),
        "1 mistake in the settings\nsettings: no rules are given; expected `--rules PATH`, FLUXLIMIT_RULES, or `rules` in the settings file"
    );
}

#[test]
fn a_settings_file_that_is_not_there_is_an_error_and_not_the_defaults() {
    let flags = Flags { config: Some("/nowhere/fluxlimit.yaml".into()), ..flags() };
    let error = load(&flags, &[]).unwrap_err().to_string();
    assert!(error.contains("\n/nowhere/fluxlimit.yaml: cannot read the settings: "), "{error}");
}

/// Kubernetes tells every pod of the services beside it, and one of them is likely to be called `fluxlimit`.
#[test]
fn the_variables_that_kubernetes_makes_of_services_are_not_mistaken_for_settings() {
    let linked = [
        ("FLUXLIMIT_SERVICE_HOST", "10.0.0.1"),
        ("FLUXLIMIT_SERVICE_PORT", "8081"),
        ("FLUXLIMIT_SERVICE_PORT_GRPC", "8081"),
        ("FLUXLIMIT_PORT", "tcp://10.0.0.1:8081"),
        ("FLUXLIMIT_PORT_8081_TCP", "tcp://10.0.0.1:8081"),
        ("FLUXLIMIT_PORT_8081_TCP_ADDR", "10.0.0.1"),
        ("FLUXLIMIT_HEADLESS_SERVICE_HOST", "None"),
        ("FLUXLIMIT_HEADLESS_PORT_8081_TCP_PROTO", "tcp"),
    ];
    assert_eq!(load(&flags(), &linked), load(&flags(), &[]));
}

/// `FLUXLIMIT_GRPC_PORT` looks like one of them, and is what somebody who knows the reference would try.
#[test]
fn a_port_of_no_service_is_a_mistake() {
    for name in ["FLUXLIMIT_GRPC_PORT", "FLUXLIMIT_PORT", "FLUXLIMIT_PORT_8081", "FLUXLIMIT_PORT_TCP"] {
        let error = load(&flags(), &[(name, "8081")]).unwrap_err().to_string();
        assert!(error.contains(&format!("\n{name}: unknown variable `{name}`")), "{error}");
    }
}

#[test]
fn a_key_that_stands_twice_is_a_mistake() {
    let error = mistakes("drain_delay_ms: 1\ndrain_delay_ms: 2\n", &[], flags());
    assert!(error.contains("FILE:1:1: drain_delay_ms: `drain_delay_ms` stands twice"), "{error}");
}

#[test]
fn a_settings_file_that_never_ends_is_not_read_for_ever() {
    let flags = Flags { config: Some("/dev/zero".into()), ..flags() };
    let error = load(&flags, &[]).unwrap_err().to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_text_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt;
    let environment = [("FLUXLIMIT_HTTP".into(), OsString::from_vec(vec![0xff]))];
    let error = Config::load_with(&flags(), environment).unwrap_err().to_string();
    assert!(error.ends_with("\nFLUXLIMIT_HTTP: the value is not UTF-8"), "{error}");
}

#[test]
fn a_postgres_is_put_together_of_all_sources() {
    use crate::store::{Password, Secret};
    let text = "store: postgres://elsewhere/x\npostgres:\n  user: app\n  password_file: pw\n  schema: limits\n  connect_timeout_ms: 250\n";
    let directory = tempfile::tempdir().unwrap();
    let [file, secrets] = ["fluxlimit.yaml", "pw"].map(|name| directory.path().join(name));
    std::fs::write(&file, text).unwrap();
    std::fs::write(&secrets, "x").unwrap();
    let with_file = || Flags { config: Some(file.clone()), ..self::flags() };
    let flags = Flags { store: Some("host=/run/postgresql dbname=limits".to_owned()), ..with_file() };
    let environment = [
        ("FLUXLIMIT_POSTGRES__CONNECTIONS", "4"),
        ("FLUXLIMIT_POSTGRES__DURABILITY", "off"),
        ("FLUXLIMIT_STORE_TIMEOUT_MS", "30"),
        ("PGPORT", "6000"),
        ("PGUSER", "nobody"),
        ("HOME", "/home/x"),
    ];
    let config = load(&flags, &environment).unwrap();
    let postgres = &config.postgres;
    assert_eq!(config.store, StoreKind::Postgres);
    assert_eq!(
        postgres.server.to_string(),
        "Postgres at /run/postgresql/.s.PGSQL.6000, database `limits`, user `app`"
    );
    assert_eq!(postgres.server.password, Some(Password::File(secrets.clone())));
    assert_eq!(postgres.server.passfile, Some("/home/x/.pgpass".into()));
    assert_eq!(
        (postgres.connections, postgres.connect_timeout_ms, postgres.timeout_ms, postgres.schema.as_str()),
        (4, 250, 30, "limits")
    );
    std::fs::remove_file(secrets).unwrap();

    let to_memory = Flags { store: Some("memory".to_owned()), ..with_file() };
    assert_eq!(load(&to_memory, &[]).unwrap().store, StoreKind::Memory);

    let by_environment = Flags { store: Some("postgres".to_owned()), ..self::flags() };
    let environment = [("USER", "os"), ("PGHOST", "db"), ("PGPASSWORD", "secret"), ("PGDATABASE", "")];
    let server = load(&by_environment, &environment).unwrap().postgres.server;
    assert_eq!(server.to_string(), "Postgres at db:5432, database `os`, user `os`");
    assert_eq!(server.password, Some(Password::Text(Secret::new("secret"))));
}

#[test]
fn what_is_wrong_about_a_postgres_is_told_without_its_secrets() {
    let text = "\
store: postgres://app:hunter2@db?sslmode=verify-full
postgres:
  user: other
  password: hunter2
";
    assert_eq!(
        mistakes(text, &[("PGSSLROOTCERT", "/nowhere/ca.pem")], flags()),
        "2 mistakes in the settings
settings: postgres.password: the connection string of the store has `password` as well
settings: postgres.user: the connection string of the store has `user` as well"
    );
    let text =
        "store: postgres://db\npostgres: { password: [hunter2], port: 0, migrations: on, table: '' }\n";
    assert_eq!(
        mistakes(text, &[("FLUXLIMIT_POSTGRES__PASSWORD", "")], flags()),
        "5 mistakes in the settings
FILE:2:23: postgres.password: this is no password; expected a text that is not empty
FILE:2:40: postgres.port: `0` is out of range; expected a whole number from 1 to 65535
FILE:2:55: postgres.migrations: unknown value `on`; expected `auto`, `check` or `off`
FILE:2:66: postgres.table: `` is no name of a schema or table; expected 1 to 63 printable bytes
FLUXLIMIT_POSTGRES__PASSWORD: the variable is empty; expected a value, or no such variable"
    );
    let error = mistakes("store: postgres://app:hunter2/x@db\n", &[], flags());
    assert!(error.contains("there is an `@` behind the first `/`") && !error.contains("hunter2"), "{error}");
    let error = mistakes("store: postgres://app@db?hunter2=1\n", &[], flags());
    assert!(
        error.contains("FILE:1:8: store: this connection string") && !error.contains("hunter2"),
        "{error}"
    );
    // A long number is a password like any other, and not to be repeated as one that is too large.
    let file = file("store: postgres://u@db\npostgres: { password: 123456789012345678901234 }\n");
    assert!(load(&with_file(&file), &[]).is_ok());
}

#[test]
fn a_redis_is_put_together_of_all_sources() {
    use crate::store::Password;
    use crate::store::redis::{Endpoint, Form};
    let text = "store: redis://elsewhere\nredis:\n  username: app\n  password_file: secrets/pw\n  key_prefix: 'x:'\n";
    let file = file(text);
    let flags = Flags { store: Some("redis+unix:///run/r.sock".to_owned()), ..with_file(&file) };
    let config = load(&flags, &[("FLUXLIMIT_REDIS__DATABASE", "4")]).unwrap();
    assert_eq!(config.store, StoreKind::Redis);
    assert_eq!(config.redis.form, Form::Standalone(Endpoint::Socket("/run/r.sock".into())));
    assert_eq!((config.redis.database, config.redis.key_prefix.as_str()), (4, "x:"));
    let password = file.path().parent().unwrap().join("secrets/pw");
    assert_eq!(config.redis.login.password, Some(Password::File(password)));
    let to_memory = Flags { store: Some("memory".to_owned()), ..with_file(&file) };
    assert_eq!(load(&to_memory, &[]).unwrap().store, StoreKind::Memory);
}

#[test]
fn what_contradicts_itself_about_a_redis_is_told_without_its_secrets() {
    let text = "\
store: rediss://app:hunter2@cache
redis:
  username: other
  password: hunter2
  tls_ca_file: /nowhere/ca.pem
  sentinel_tls: false
";
    assert_eq!(
        mistakes(text, &[], flags()),
        "4 mistakes in the settings
settings: redis.username: the URL of the store names a user as well
settings: redis.password: the URL of the store holds a password as well
settings: redis.sentinel_tls: it has no meaning without Sentinels; expected a store such as `redis+sentinel://HOST/MASTER`
settings: redis.tls_ca_file: `/nowhere/ca.pem` cannot be read: No such file or directory (os error 2)"
    );
    let text = "store: redis://cache\nredis: { password: [hunter2], key_prefix: 'a{b}', connections: 0, database: -1 }\n";
    assert_eq!(
        mistakes(text, &[("FLUXLIMIT_REDIS__PASSWORD", "")], flags()),
        "5 mistakes in the settings
FILE:2:20: redis.password: this is no password; expected a text that is not empty
FILE:2:43: redis.key_prefix: a prefix of keys may not hold braces: between them a Redis Cluster finds where a key belongs
FILE:2:64: redis.connections: `0` is out of range; expected a whole number from 1 to 64
FILE:2:77: redis.database: `-1` is out of range; expected a whole number from 0 to 2147483647
FLUXLIMIT_REDIS__PASSWORD: the variable is empty; expected a value, or no such variable"
    );
    // A long number is a password like any other, and not to be repeated as one that is too large.
    let file = file("store: redis://cache\nredis: { password: 123456789012345678901234 }\n");
    assert!(load(&with_file(&file), &[]).is_ok());
}
