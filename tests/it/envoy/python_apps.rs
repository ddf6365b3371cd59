//! `examples/fastapi` and `examples/flask`: an application, Envoy and the server, started as their READMEs say.

use super::{in_the_repository, with_replaced};
use crate::support::{Answer, Envoy, Fluxlimit, Process};
use std::net::SocketAddr;

/// Everything that one example runs; the order of the fields is the order in which it ends.
#[derive(Debug)]
struct Example {
    envoy: Envoy,
    _server: Fluxlimit,
    app: Process,
}

impl Example {
    /// Starts `examples/{name}`, whose application is served by the Python module `server` with `arguments`,
    /// and whose Envoy expects it on `port`.
    async fn start(name: &str, server: &str, arguments: &[&str], port: u16) -> Self {
        let folder = in_the_repository("examples").join(name);
        let python = in_the_repository(".tools/python-apps").join(name).join("bin/python");
        assert!(python.exists(), "there is no Python at {}: run .ci/setup once", python.display());
        let environment = [
            ("PYTHONPATH", folder.to_str().expect("test paths are UTF-8")),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONUNBUFFERED", "1"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let arguments = [&["-m", server], arguments].concat();
        let mut app = Process::start("the application", &python, &arguments, &environment);
        let address = app.output_with("the application's address", address).await;
        let server = Fluxlimit::with_rules_at(&folder.join("rules.yaml")).start().await;
        let bootstrap = with_replaced(
            &format!("examples/{name}/envoy.yaml"),
            &[
                ("port_value: 10000", "port_value: 0"),
                ("port_value: 9901", "port_value: 0"),
                ("port_value: 8081", &format!("port_value: {}", server.grpc.port())),
                (&format!("port_value: {port}"), &format!("port_value: {}", address.port())),
                // It suits production, not the busiest moment of a test run.
                ("timeout: 0.1s", "timeout: 10s"),
            ],
        );
        let envoy = Envoy::start(&bootstrap).await;
        Self { envoy, _server: server, app }
    }

    async fn get(&mut self, path: &str, headers: &[(&str, &[u8])]) -> Answer {
        self.envoy.get(path, headers).await
    }
}

/// Where the application says that it listens.
fn address(output: &str) -> Option<SocketAddr> {
    let (_, rest) = output.split_once("http://")?;
    // Until the line has ended, the last digits of the port may be missing.
    let (line, _) = rest.split_once('\n')?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn fastapi_gets_two_reports_a_minute_and_knows_nothing_of_it() {
    let mut example = Example::start("fastapi", "uvicorn", &["--port", "0", "app:app"], 8000).await;
    for left in [1, 0] {
        let allowed = example.get("/report", &[]).await;
        assert_eq!((allowed.status.as_u16(), allowed.body.as_str()), (200, r#"{"items":2,"total":7}"#));
        assert_eq!(allowed.number("x-ratelimit-remaining"), left);
        assert_eq!(allowed.header("retry-after"), None);
    }
    // Nor does it help to claim another address.
    let claims: [&[(&str, &[u8])]; 2] = [&[], &[("x-forwarded-for", b"203.0.113.9")]];
    for headers in claims {
        let refused = example.get("/report", headers).await;
        assert_eq!(refused.status, 429);
        assert!((1..=60).contains(&refused.number("retry-after")), "{refused:?}");
        assert_eq!(refused.number("x-ratelimit-remaining"), 0);
        assert!(refused.header("x-ratelimit-limit").is_some_and(|it| it.contains(r#"name="report""#)));
    }
    // Two of thirty were used by the reports that passed, none by those that did not.
    let item = example.get("/items/tea", &[]).await;
    assert_eq!((item.status.as_u16(), item.number("x-ratelimit-remaining")), (200, 27));
    let seen = example.app.output_with("the last request in the application's log", |log| {
        log.contains("GET /items/tea").then(|| log.matches("GET /report").count())
    });
    assert_eq!(seen.await, 2);
}

#[tokio::test]
async fn flask_serves_each_key_one_slow_page_a_day_and_fifty_others_an_hour() {
    let arguments = ["--listen=127.0.0.1:0", "app:app"];
    let mut example = Example::start("flask", "waitress", &arguments, 5000).await;
    let mine: [(&str, &[u8]); 1] = [("x-api-key", b"mine")];
    let slow = example.get("/slow", &mine).await;
    assert_eq!((slow.status.as_u16(), slow.body.as_str()), (200, "that took a while\n"));
    let refused = example.get("/slow", &mine).await;
    assert_eq!(refused.status, 429);
    assert!((86_000..=86_400).contains(&refused.number("retry-after")), "{refused:?}");
    assert_eq!(example.get("/slow", &[("x-api-key", b"yours")]).await.status, 200);
    for left in (0..50).rev() {
        let fast = example.get("/fast", &mine).await;
        assert_eq!((fast.status.as_u16(), fast.number("x-ratelimit-remaining")), (200, left));
    }
    let refused = example.get("/fast", &mine).await;
    assert_eq!(refused.status, 429);
    assert!((3000..=3600).contains(&refused.number("retry-after")), "{refused:?}");
    let ping = example.get("/ping", &mine).await;
    assert_eq!((ping.status.as_u16(), ping.header("x-ratelimit-limit")), (200, None));
}
