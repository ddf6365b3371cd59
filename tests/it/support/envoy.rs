//! A real Envoy as a child process: a listener with the rate-limit filter in front of an upstream.
//!
//! The upstream is a second, internal listener of the same Envoy, because Envoy never asks the rate-limit
//! service about a route that it answers with `direct_response`.
//! Every port is 0; the harness asks Envoy which ones it got.

use super::{Answer, Client, Process, eventually};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const HTTP_CONNECTION_MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What an Envoy is to serve.
#[derive(Debug)]
pub(crate) struct Site {
    domain: String,
    routes: Vec<Value>,
    earlier_filters: Vec<Value>,
    filter_options: Map<String, Value>,
    servers: Vec<SocketAddr>,
    health_checks: bool,
    echoed: Vec<String>,
    traced: Option<(Value, SocketAddr)>,
}

impl Site {
    /// A site limited in `domain` by `server`, so far without a route.
    pub(crate) fn new(domain: &str, server: SocketAddr) -> Self {
        Self {
            domain: domain.to_owned(),
            routes: Vec::new(),
            earlier_filters: Vec::new(),
            filter_options: Map::new(),
            servers: vec![server],
            health_checks: false,
            echoed: Vec::new(),
            traced: None,
        }
    }

    /// With a route for paths that start with `prefix`; `rate_limits` is the YAML of Envoy's field.
    /// Routes are tried in the order in which they were added.
    pub(crate) fn route(mut self, prefix: &str, rate_limits: &str) -> Self {
        self.routes.push(json!({
            "match": { "prefix": prefix },
            "route": { "cluster": "upstream", "rate_limits": yaml(rate_limits) },
        }));
        self
    }

    /// The same in a domain of its own instead of the site's.
    pub(crate) fn route_in_domain(self, prefix: &str, domain: &str, rate_limits: &str) -> Self {
        let mut site = self.route_with_costs(prefix, rate_limits);
        let route = site.routes.last_mut().expect("just added");
        route["typed_per_filter_config"]["envoy.filters.http.ratelimit"]["domain"] = json!(domain);
        site
    }

    /// The same with a list that Envoy reads in the filter's own configuration of a route.
    /// Only there do `hits_addend` and `apply_on_stream_done` count; in a route's plain list Envoy ignores them.
    pub(crate) fn route_with_costs(mut self, prefix: &str, rate_limits: &str) -> Self {
        let per_route = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
            "rate_limits": yaml(rate_limits),
        });
        self.routes.push(json!({
            "match": { "prefix": prefix },
            "route": { "cluster": "upstream" },
            "typed_per_filter_config": { "envoy.filters.http.ratelimit": per_route },
        }));
        self
    }

    /// With a Lua script that sees each request before the rate-limit filter does.
    pub(crate) fn script(mut self, lua: &str) -> Self {
        let script = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": lua },
        });
        self.earlier_filters.push(json!({ "name": "envoy.filters.http.lua", "typed_config": script }));
        self
    }

    /// With an option of the rate-limit filter, in YAML: `failure_mode_deny: true`.
    pub(crate) fn filter(mut self, option: &str) -> Self {
        let Value::Object(options) = yaml(option) else { panic!("`{option}` is not a map") };
        self.filter_options.extend(options);
        self
    }

    /// With one more rate-limit server; Envoy then asks each how it is and avoids those that are leaving.
    pub(crate) fn second_server(mut self, server: SocketAddr) -> Self {
        self.servers.push(server);
        self.health_checks = true;
        self
    }

    /// With an upstream that answers with this header just as the request had it.
    pub(crate) fn upstream_echoes(mut self, header: &str) -> Self {
        self.echoed.push(header.to_owned());
        self
    }

    /// With traces as `tracing` says, in the YAML of Envoy's field, told to the cluster `collector`, which is there.
    pub(crate) fn traced(mut self, tracing: &str, collector: SocketAddr) -> Self {
        self.traced = Some((yaml(tracing), collector));
        self
    }

    /// Starts an Envoy that serves this and waits until it does.
    pub(crate) async fn start(self) -> Envoy {
        Envoy::start(&self.bootstrap().to_string()).await
    }

    fn bootstrap(&self) -> Value {
        let collector = self.traced.iter().map(|(_, address)| http2_cluster("collector", &[*address]));
        let upstream = [json!({ "envoy_internal_address": { "server_listener_name": "upstream" } })];
        let clusters =
            [cluster("upstream", upstream), self.rate_limit_cluster()].into_iter().chain(collector);
        json!({
            "admin": { "address": any_port() },
            "bootstrap_extensions": [{
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener" },
            }],
            "static_resources": {
                "listeners": [self.site_listener(), self.upstream_listener()],
                "clusters": clusters.collect::<Vec<_>>(),
            },
        })
    }

    fn site_listener(&self) -> Value {
        let mut filter = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": self.domain,
            // Envoy's 20 ms would make the count on a busy machine a matter of luck.
            "timeout": "10s",
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": "fluxlimit" } },
            },
        });
        filter.as_object_mut().expect("written as a map").extend(self.filter_options.clone());
        let log_format = json!({
            "path": "%REQ(:PATH)%",
            "status": "%RESPONSE_CODE%",
            "flags": "%RESPONSE_FLAGS%",
            "decided_by": "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:decided_by)%",
        });
        let mut filters = self.earlier_filters.clone();
        filters.push(json!({ "name": "envoy.filters.http.ratelimit", "typed_config": filter }));
        filters.push(router());
        let mut manager = json!({
            "@type": HTTP_CONNECTION_MANAGER,
            "stat_prefix": "site",
            "access_log": [{
                "name": "envoy.access_loggers.stdout",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                    "log_format": { "json_format": log_format },
                },
            }],
            "route_config": virtual_host(&self.routes),
            "http_filters": filters,
        });
        if let Some((tracing, _)) = &self.traced {
            manager["tracing"] = tracing.clone();
        }
        json!({ "name": "site", "address": any_port(), "filter_chains": filter_chains(&manager) })
    }

    fn upstream_listener(&self) -> Value {
        let echoes: Vec<Value> = self
            .echoed
            .iter()
            .map(|name| json!({ "header": { "key": name, "value": format!("%REQ({name})%") } }))
            .collect();
        let route = json!({
            "match": { "prefix": "/" },
            "direct_response": { "status": 200, "body": { "inline_string": "from the upstream" } },
            "response_headers_to_add": echoes,
        });
        let manager = json!({
            "@type": HTTP_CONNECTION_MANAGER,
            "stat_prefix": "upstream",
            "route_config": virtual_host(&[route]),
            "http_filters": [router()],
        });
        json!({ "name": "upstream", "internal_listener": {}, "filter_chains": filter_chains(&manager) })
    }

    fn rate_limit_cluster(&self) -> Value {
        let mut cluster = http2_cluster("fluxlimit", &self.servers);
        if self.health_checks {
            cluster["health_checks"] = json!([{
                "timeout": "5s",
                "interval": "0.1s",
                // Without it Envoy waits a minute between checks of a server that it has not used yet.
                "no_traffic_interval": "0.1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }]);
        }
        cluster
    }
}

/// A running Envoy.
#[derive(Debug)]
pub(crate) struct Envoy {
    pub(crate) process: Process,
    /// Where the limited site answers.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    client: Client,
    _directory: TempDir,
}

impl Envoy {
    /// Where `.ci/setup` puts the program.
    pub(crate) fn program() -> PathBuf {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/envoy/envoy");
        assert!(path.exists(), "there is no Envoy at {}: run .ci/setup once", path.display());
        path
    }

    /// Starts an Envoy with this bootstrap, whose limited listener is named `site`, and waits until it serves.
    pub(crate) async fn start(bootstrap: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("envoy.yaml");
        std::fs::write(&file, bootstrap).expect("the directory can be written");
        let admin_file = directory.path().join("admin-address");
        let arguments = [
            ["-c", file.to_str().expect("test paths are UTF-8")],
            ["--admin-address-path", admin_file.to_str().expect("test paths are UTF-8")],
            ["--concurrency", "1"],
            ["--log-level", "warning"],
            // Otherwise the access log is written every ten seconds.
            ["--file-flush-interval-msec", "10"],
        ]
        .concat();
        let arguments = [arguments.as_slice(), &["--disable-hot-restart"]].concat();
        let mut process = Process::start("envoy", &Self::program(), &arguments, &[]);
        let admin = process
            .output_with("Envoy's admin address", |_| {
                std::fs::read_to_string(&admin_file).ok()?.trim().parse().ok()
            })
            .await;
        let mut admin_client = Client::new(admin);
        let address = eventually("Envoy to be ready", async || {
            let ready = admin_client.get("/ready", &[]).await.ok()?;
            (ready.status == 200).then_some(())?;
            site_address(&admin_client.get("/listeners?format=json", &[]).await.ok()?.body)
        })
        .await;
        Self { process, address, admin, client: Client::new(address), _directory: directory }
    }

    /// Sends a GET through Envoy.
    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &[u8])]) -> Answer {
        self.client.get(path, headers).await.expect("Envoy answers")
    }

    /// The statuses of `count` such requests, one after the other.
    pub(crate) async fn statuses(&mut self, count: usize, path: &str, headers: &[(&str, &[u8])]) -> Vec<u16> {
        let mut statuses = Vec::with_capacity(count);
        for _ in 0..count {
            statuses.push(self.get(path, headers).await.status.as_u16());
        }
        statuses
    }

    /// How many rate-limit servers Envoy holds for healthy now.
    pub(crate) async fn healthy_servers(&self) -> Option<u64> {
        self.count("membership_healthy").await
    }

    /// How many connections it has opened to rate-limit servers.
    pub(crate) async fn connections_so_far(&self) -> Option<u64> {
        self.count("upstream_cx_total").await
    }

    /// How often it has taken other certificates to reach rate-limit servers with.
    pub(crate) async fn secrets_so_far(&self) -> Option<u64> {
        self.count("client_ssl_socket_factory.ssl_context_update_by_sds").await
    }

    /// One of Envoy's counts for the rate-limit servers.
    async fn count(&self, name: &str) -> Option<u64> {
        let path = format!("/stats?filter=cluster.fluxlimit.{name}");
        let answer = Client::new(self.admin).get(&path, &[]).await.ok()?;
        answer.body.rsplit_once(':')?.1.trim().parse().ok()
    }

    /// The access log's entries so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let output = self.process.output();
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn site_address(listeners: &str) -> Option<SocketAddr> {
    let listeners: Value = serde_json::from_str(listeners).ok()?;
    let statuses = listeners["listener_statuses"].as_array()?;
    let site = statuses.iter().find(|status| status["name"] == "site")?;
    let address = &site["local_address"]["socket_address"];
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::new(address["address"].as_str()?.parse().ok()?, port))
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

fn any_port() -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } })
}

fn virtual_host(routes: &[Value]) -> Value {
    json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] })
}

fn filter_chains(manager: &Value) -> Value {
    let name = "envoy.filters.network.http_connection_manager";
    json!([{ "filters": [{ "name": name, "typed_config": manager }] }])
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    })
}

fn cluster(name: &str, addresses: impl IntoIterator<Item = Value>) -> Value {
    let endpoints: Vec<Value> =
        addresses.into_iter().map(|address| json!({ "endpoint": { "address": address } })).collect();
    json!({
        "name": name,
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    })
}

fn http2_cluster(name: &str, servers: &[SocketAddr]) -> Value {
    let addresses = servers
        .iter()
        .map(|server| json!({ "socket_address": { "address": server.ip(), "port_value": server.port() } }));
    let mut cluster = cluster(name, addresses);
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        },
    });
    cluster
}
