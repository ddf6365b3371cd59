//! Every way in which a Postgres is reached, with the whole program and libpq's conventions.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::redis_forms::statuses;
use crate::support::{Certificates, Fluxlimit, Postgres, Process, RuleDirectory, free_address};

/// Three a day for every user.
const THREE_A_DAY: &str = "\
domain: edge
descriptors:
- { key: user, rate_limit: { unit: day, requests_per_unit: 3, algorithm: sliding_window } }
";

/// A password that appears nowhere by chance.
const PASSWORD: &str = "hunter2-right";

/// How many connections of our server are encrypted, and how many there are.
const ENCRYPTED: &str = "SELECT count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
     WHERE application_name = 'fluxlimit'";
const CONNECTED: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fluxlimit'";

/// A server of those rules with settings, and with variables of libpq.
async fn started(settings: &[(&str, &str)], variables: &[(&str, &str)]) -> (RuleDirectory, Fluxlimit) {
    let rules = RuleDirectory::with(THREE_A_DAY);
    let mut setup = Fluxlimit::with_rules_at(rules.path());
    for (name, value) in settings {
        setup = setup.setting(name, value);
    }
    for (name, value) in variables {
        setup = setup.variable(name, value);
    }
    let server = setup.start().await;
    (rules, server)
}

/// The same, once it decides.
pub(crate) async fn ready(
    settings: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> (RuleDirectory, Fluxlimit) {
    let (rules, server) = started(settings, variables).await;
    server.decides().await;
    (rules, server)
}

/// A server whose log says `what` about a Postgres that it cannot use.
async fn complains(settings: &[(&str, &str)], variables: &[(&str, &str)], what: &str) {
    let (_rules, mut server) = started(settings, variables).await;
    server.process.output_with(what, |log| log.contains(what).then_some(())).await;
    assert_ne!(server.page("/ready").await.status, 200);
}

/// A Postgres with a user `app` who has a password and may make tables.
async fn with_app() -> Postgres {
    let postgres = Postgres::start().await;
    let statements = format!(
        "CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE client LOGIN; \
         GRANT CREATE ON SCHEMA public TO app, client"
    );
    postgres.run(&statements).await;
    postgres
}

/// The connection string of `app` under a name that the certificate of the test is not for.
fn as_localhost(postgres: &Postgres, more: &str) -> String {
    let (address, port) = (postgres.address().ip(), postgres.address().port());
    format!(
        "host=localhost hostaddr={address} port={port} dbname=postgres user=app password={PASSWORD} {more}"
    )
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[tokio::test]
async fn each_sslmode_protects_as_much_as_it_says() {
    let postgres = with_app().await;
    let (ours, others) =
        (Certificates::of(postgres.address().ip()), Certificates::of(postgres.address().ip()));
    postgres.secure(&ours).await;
    postgres.admit("hostssl all app all scram-sha-256").await;
    let right_name = format!("postgres://app:{PASSWORD}@{}/postgres", postgres.address());
    let ca = |of: &Certificates, mode: &str| format!("sslmode={mode} sslrootcert={}", shown(&of.ca()));
    for mode in ["prefer", "require"] {
        let (_rules, _server) = ready(&[("STORE", &format!("{right_name}?sslmode={mode}"))], &[]).await;
        assert_ne!(postgres.number(CONNECTED).await, 0);
        assert_eq!(postgres.number(ENCRYPTED).await, postgres.number(CONNECTED).await);
    }
    let (_rules, _server) = ready(&[("STORE", &as_localhost(&postgres, &ca(&ours, "verify-ca")))], &[]).await;
    let root = shown(&ours.ca()).to_owned();
    let settings = [("STORE", right_name.as_str()), ("POSTGRES__SSLROOTCERT", root.as_str())];
    let (_rules, _server) = ready(&settings, &[("PGSSLMODE", "verify-full")]).await;
    for (store, what) in [
        (format!("{right_name}?sslmode=disable"), "no pg_hba.conf entry"),
        (as_localhost(&postgres, &ca(&ours, "verify-full")), "not valid for name \"localhost\""),
        (as_localhost(&postgres, &ca(&others, "verify-ca")), "no TLS: invalid peer certificate"),
        (as_localhost(&postgres, &ca(&others, "verify-full")), "no TLS: invalid peer certificate"),
    ] {
        complains(&[("STORE", &store)], &[], what).await;
    }
}

#[tokio::test]
async fn prefer_goes_without_tls_where_there_is_none_and_require_does_not() {
    let postgres = with_app().await;
    let url = |mode: &str| format!("{}?sslmode={mode}", postgres.url_of("app"));
    let (rules, server) = ready(&[("STORE", &url("prefer"))], &[]).await;
    drop((rules, server));
    complains(&[("STORE", &url("require"))], &[], "no TLS: server does not support TLS").await;
    // There is TLS now, but this user may come only without.
    postgres.secure(&Certificates::of(postgres.address().ip())).await;
    postgres.admit("hostnossl all app all trust").await;
    let (_rules, _server) = ready(&[("STORE", &url("prefer"))], &[]).await;
    assert_eq!(postgres.number(ENCRYPTED).await, 0);
    complains(&[("STORE", &url("require"))], &[], "no pg_hba.conf entry").await;
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate() {
    let postgres = with_app().await;
    let certificates = Certificates::of(postgres.address().ip());
    postgres.secure(&certificates).await;
    postgres.admit("hostssl all client all cert").await;
    let (cert, key) = certificates.client();
    let store = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        postgres.url_of("client"),
        shown(&certificates.ca())
    );
    let (pair, without) =
        ([("PGSSLCERT", shown(&cert)), ("PGSSLKEY", shown(&key))], "requires a valid client certificate");
    let (_rules, server) = ready(&[("STORE", &store)], &pair).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
    complains(&[("STORE", &store)], &[], without).await;
}

#[tokio::test]
async fn a_changed_password_file_is_read_at_the_next_connection() {
    let postgres = with_app().await;
    postgres.admit("host all app all scram-sha-256").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "wrong\n").unwrap();
    let app = postgres.url_of("app");
    let settings = [("STORE", app.as_str()), ("POSTGRES__PASSWORD_FILE", shown(&file))];
    let (_rules, mut server) = started(&settings, &[]).await;
    let refused = "password authentication failed for user \"app\" (28P01)";
    server.process.output_with(refused, |log| log.contains(refused).then_some(())).await;
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    server.decides().await;
    // The next one is in the file before the server asks for it.
    fs::write(&file, "another").unwrap();
    postgres.run("ALTER ROLE app PASSWORD 'another'").await;
    postgres.run("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = 'app'").await;
    server.decides().await;
}

#[tokio::test]
async fn the_environment_and_a_password_file_say_what_settings_do_not() {
    let postgres = with_app().await;
    postgres.admit("host all app all scram-sha-256").await;
    let (host, port) = (postgres.address().ip().to_string(), postgres.address().port().to_string());
    let home = tempfile::tempdir().unwrap();
    let pgpass = home.path().join(".pgpass");
    fs::write(&pgpass, format!("{host}:1:*:*:wrong\n{host}:{port}:postgres:app:{PASSWORD}\n")).unwrap();
    let private = |mode| fs::set_permissions(&pgpass, fs::Permissions::from_mode(mode)).unwrap();
    private(0o600);
    let variables = [
        ("PGHOST", host.as_str()),
        ("PGPORT", &port),
        ("PGUSER", "app"),
        ("PGDATABASE", "postgres"),
        ("HOME", shown(home.path())),
    ];
    let (rules, server) = ready(&[("STORE", "postgres")], &variables).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
    drop((rules, server));
    private(0o640);
    complains(&[("STORE", "postgres")], &variables, "the password file").await;
    let with_password = [&variables[..], &[("PGPASSWORD", PASSWORD)]].concat();
    let (rules, server) = ready(&[("STORE", "postgres")], &with_password).await;
    drop((rules, server));
    let wrong = [&variables[..], &[("PGPASSWORD", "wrong")]].concat();
    complains(&[("STORE", "postgres")], &wrong, "password authentication failed").await;
}

#[tokio::test]
async fn servers_on_one_table_count_as_one_however_they_reach_it() {
    let postgres = Postgres::start().await;
    let (sockets, port) = (postgres.sockets(), postgres.address().port().to_string());
    let by_fields = [
        ("STORE", "postgres"),
        ("POSTGRES__HOST", shown(&sockets)),
        ("POSTGRES__PORT", &port),
        ("POSTGRES__USER", "postgres"),
        // There is no TLS on a socket, so there is nothing to require.
        ("POSTGRES__SSLMODE", "require"),
    ];
    let (_first_rules, first) = ready(&by_fields, &[]).await;
    let (_second_rules, second) = ready(&[("STORE", &postgres.url())], &[]).await;
    let pairs = format!("host={} port={port} user=postgres", shown(&sockets));
    let (_third_rules, third) = ready(&[("STORE", &pairs)], &[]).await;
    assert_eq!(statuses(&first, "alice", 1).await, [200]);
    assert_eq!(statuses(&second, "alice", 1).await, [200]);
    assert_eq!(statuses(&third, "alice", 2).await, [200, 429]);
    assert_eq!(statuses(&first, "alice", 1).await, [429]);
}

#[tokio::test]
async fn the_first_host_that_takes_writes_is_used() {
    let (reader, writer) = (Postgres::start().await, Postgres::start().await);
    reader.run("ALTER DATABASE postgres SET default_transaction_read_only = on").await;
    let (dead, read, write) = (free_address(), reader.address(), writer.address());
    let only_reader = format!("postgres://postgres@{dead},{read}/postgres");
    complains(&[("STORE", &only_reader)], &[], &format!("{read}: the server takes no writes")).await;
    let store = format!("postgres://postgres@{dead},{read},{write}/postgres?target_session_attrs=read-write");
    let (_rules, server) = ready(&[("STORE", &store)], &[]).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
    assert_eq!(reader.number(CONNECTED).await, 0);
    assert_ne!(writer.number(CONNECTED).await, 0);
}

#[tokio::test]
async fn secrets_stand_nowhere_in_the_log_nor_in_what_is_served() {
    let postgres = with_app().await;
    postgres.admit("host all app all scram-sha-256").await;
    let place = format!("{}/postgres", postgres.address());
    for (password, decides_then) in [(PASSWORD, true), ("hunter2-wrong", false)] {
        let store = format!("postgres://app:{password}@{place}");
        let (_rules, mut server) = started(&[("STORE", &store), ("LOG__FILTER", "trace")], &[]).await;
        if decides_then {
            server.decides().await;
            assert_eq!(statuses(&server, "alice", 1).await, [200]);
        } else {
            let what = "password authentication failed";
            server.process.output_with(what, |log| log.contains(what).then_some(())).await;
        }
        let log = server.process.output();
        assert!(
            log.contains("TRACE") && log.contains(&place.replace("/postgres", ", database `postgres`")),
            "{log}"
        );
        assert!(!log.contains("hunter2"), "{log}");
        for page in ["/rlconfig", "/metrics", "/ready"] {
            assert!(!server.page(page).await.body.contains("hunter2"), "{page}");
        }
    }
}

/// A `PgBouncer` in transaction mode before a Postgres.
struct Bouncer {
    _process: Process,
    _directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Bouncer {
    async fn before(postgres: &Postgres) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let file = |name: &str, text: &str| -> PathBuf {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            path
        };
        let users = file("users.txt", "\"postgres\" \"\"\n");
        let (host, behind) = (postgres.address().ip(), postgres.address().port());
        let config = format!(
            "[databases]\npostgres = host={host} port={behind} dbname=postgres\n[pgbouncer]\npool_mode = transaction\n\
             listen_addr = {}\nlisten_port = {}\nauth_type = trust\nauth_file = {}\nunix_socket_dir =\n\
             default_pool_size = 2\n",
            address.ip(),
            address.port(),
            shown(&users)
        );
        let config = file("pgbouncer.ini", &config);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut process = Postgres::as_its_user(Path::new("/usr/sbin/pgbouncer"), &[shown(&config)]);
        process.output_with("a bouncer that listens", |log| log.contains("process up").then_some(())).await;
        Self { _process: process, _directory: directory, address }
    }
}

/// Three tasks share two connections of the bouncer, so each transaction may be on another one.
#[tokio::test]
async fn a_bouncer_in_transaction_mode_makes_no_difference() {
    let postgres = Postgres::start().await;
    let bouncer = Bouncer::before(&postgres).await;
    let store = format!("postgres://postgres@{}/postgres", bouncer.address);
    let (_rules, server) = ready(&[("STORE", &store)], &[]).await;
    for user in ["alice", "bob", "carol"] {
        assert_eq!(statuses(&server, user, 4).await, [200, 200, 200, 429]);
    }
    let (_direct_rules, direct) = ready(&[("STORE", &postgres.url())], &[]).await;
    assert_eq!(statuses(&direct, "alice", 1).await, [429]);
}
