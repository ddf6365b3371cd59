//! Which source counts, and every kind of mistake.

use super::*;

fn of(string: &str) -> Options {
    Options { string: Parameters::parse(string).unwrap(), ..Options::default() }
}

fn parameters(pairs: &[(&'static str, &str)]) -> Parameters {
    let mut parameters = Parameters::default();
    for (keyword, value) in pairs {
        parameters.set(keyword, *value);
    }
    parameters
}

fn mistakes(options: &Options) -> Vec<String> {
    let found = options.settings(&Settings::default()).expect_err("something is wrong");
    found.into_iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message)).collect()
}

fn text(text: &str) -> Password {
    Password::Text(Secret::new(text))
}

#[test]
fn what_nobody_says_is_as_libpq_has_it() {
    let server = of("user=app").server().unwrap();
    let local = Host { name: "localhost".to_owned(), address: None, port: 5432 };
    let expected = Server {
        hosts: vec![local],
        user: "app".to_owned(),
        database: "app".to_owned(),
        ..Server::default()
    };
    assert_eq!(server, expected);
    assert_eq!(server.to_string(), "Postgres at localhost:5432, database `app`, user `app`");
}

#[test]
fn settings_come_before_the_environment_and_that_before_a_password_file() {
    let environment = parameters(&[
        ("host", "elsewhere"),
        ("port", "1"),
        ("user", "env"),
        ("password", "from-env"),
        ("passfile", "/home/x/.pgpass"),
        ("connect_timeout", "9"),
    ]);
    let alone = Options { environment: environment.clone(), ..Options::default() };
    let server = alone.server().unwrap();
    assert_eq!(server.hosts[0].to_string(), "elsewhere:1");
    assert_eq!((server.user.as_str(), server.password), ("env", Some(text("from-env"))));
    assert_eq!(alone.settings(&Settings::default()).unwrap().connect_timeout_ms, 9000);

    let fields = parameters(&[("user", "field")]);
    let string = Parameters::parse("postgres://:from-string@db?connect_timeout=3").unwrap();
    let both = Options { fields, string, environment: environment.clone(), ..Options::default() };
    let server = both.server().unwrap();
    // The port is the environment's, as it would be with psql.
    assert_eq!(server.hosts[0].to_string(), "db:1");
    assert_eq!((server.user.as_str(), server.password), ("field", Some(text("from-string"))));
    assert_eq!(both.settings(&Settings::default()).unwrap().connect_timeout_ms, 3000);
    let exact = Options { connect_timeout_ms: Some(250), ..both };
    assert_eq!(exact.settings(&Settings::default()).unwrap().connect_timeout_ms, 250);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x\n").unwrap();
    let with_file = Options { password_file: Some(file.path().into()), environment, ..Options::default() };
    assert_eq!(with_file.server().unwrap().password, Some(Password::File(file.path().into())));
}

#[test]
fn hosts_are_tried_in_order_each_with_its_port() {
    let shown = |string: &str| -> Vec<String> {
        of(string).server().unwrap().hosts.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown("postgres://u@a:1,b,[::1]:3/d"), ["a:1", "b:5432", "[::1]:3"]);
    assert_eq!(shown("user=u host=a,b port=7"), ["a:7", "b:7"]);
    assert_eq!(shown("user=u host=/run/postgresql"), ["/run/postgresql/.s.PGSQL.5432"]);
    assert_eq!(shown("user=u hostaddr=::1,10.0.0.1"), ["[::1]:5432", "10.0.0.1:5432"]);
    let server = of("user=u host=db hostaddr=10.0.0.1").server().unwrap();
    let expected = Host { name: "db".to_owned(), address: "10.0.0.1".parse().ok(), port: 5432 };
    assert_eq!(server.hosts, [expected]);
}

#[test]
fn whoever_names_an_authority_gets_a_server_of_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let root = file.path().display().to_string();
    let modes = [
        ("", "", SslMode::Prefer, false),
        ("", "root", SslMode::VerifyFull, true),
        ("require", "", SslMode::Require, false),
        ("require", "root", SslMode::VerifyCa, true),
        ("verify-ca", "root", SslMode::VerifyCa, true),
        ("verify-full", "root", SslMode::VerifyFull, true),
        ("prefer", "root", SslMode::Prefer, false),
        ("disable", "root", SslMode::Disable, false),
    ];
    for (mode, roots, expected, has_roots) in modes {
        let roots = if roots.is_empty() { "" } else { &root };
        let fields = parameters(&[("user", "u"), ("sslmode", mode), ("sslrootcert", roots)]);
        let server = Options { fields, ..Options::default() }.server().unwrap();
        assert_eq!((server.ssl_mode, server.tls_files.roots.is_some()), (expected, has_roots), "{mode}");
    }
}

#[test]
fn what_cannot_be_is_told_at_its_place() {
    assert_eq!(
        mistakes(&Options::default()),
        [
            "postgres.user: no user of Postgres is named; expected `postgres.user`, a connection string with a \
             user, or PGUSER"
        ]
    );
    let fields = parameters(&[("port", "1"), ("sslmode", "verify-full"), ("password", "hunter2")]);
    let options = Options {
        fields,
        password_file: Some("/nowhere".into()),
        environment: parameters(&[("channel_binding", "yes")]),
        ..of("postgres://app:hunter2@a,b:2?gssencmode=require&connect_timeout=0")
    };
    assert_eq!(
        mistakes(&options),
        [
            "postgres.password: the connection string of the store has `password` as well",
            "postgres.port: the connection string of the store has `port` as well",
            "postgres.password_file: `postgres.password` is set as well",
            "postgres.sslrootcert: `verify-full` needs to know whom to trust; expected a file with certificates \
             of authorities, or `system` for those of the system",
            "store: there is no GSSAPI encryption here, only TLS",
            "PGCHANNELBINDING: unknown value `yes` of `channel_binding`; expected `disable`, `prefer` or `require`",
            "store: the `connect_timeout` `0` is out of range; expected whole seconds from 1 to 3600",
        ]
    );
    let wrong = |string: &str| mistakes(&of(string)).join("\n");
    assert!(wrong("user=u host=a,b,c port=1,2").starts_with("store: hosts, addresses and ports"));
    assert!(wrong("user=u hostaddr=db").starts_with("store: this is no IP address"));
    assert!(wrong("user=u sslmode=allow").contains("`allow` is not supported"));
    assert!(wrong("user=u sslmode=require sslrootcert=system").contains("would trust anybody"));
    assert!(wrong("user=u sslmode=verify_full").contains("did you mean `verify-full`?"));
    let port = wrong("postgres://app:hunter2");
    assert!(port.contains("a port is no whole number") && !port.contains("hunter2"), "{port}");
}

#[test]
fn no_form_of_the_settings_shows_a_secret() {
    let options = of("postgres://app:hunter2@db/d");
    assert!(!format!("{options:?}").contains("hunter2"));
    let settings = options.settings(&Settings::default()).unwrap();
    assert!(!format!("{settings:?} {}", settings.server).contains("hunter2"));
}
