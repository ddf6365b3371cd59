//! `examples/kubernetes/`: what kustomize makes of it, against Kubernetes' schemas and its own promises.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::components::with_component;
use super::rendered::{Rendered, text};
use super::{documents, read, repository, succeeds, tool};
use crate::support::{Client, Fluxlimit, Postgres, Redis, eventually};

/// The folders that are applied; the others are parts of them.
const APPLIED: [&str; 3] = ["base", "redis", "postgres"];

/// How long a process may take to end after all that it waits for, in seconds.
const TIME_TO_END_S: u64 = 5;

/// What pages tell to apply, after `-k` or `-f`.
fn applied(page: &str, flag: &str) -> Vec<String> {
    let page = read(page);
    let commands = page.lines().filter_map(|line| line.split_once(&format!("kubectl apply {flag} ")));
    commands.map(|(_, path)| path.split([' ', '`']).next().unwrap().to_owned()).collect()
}

#[test]
fn everything_that_pages_tell_to_apply_is_there() {
    let mut found = 0;
    let gateways = ["istio", "envoy-gateway", "contour"].map(|name| format!("examples/{name}/README.md"));
    let pages = ["README.md", "docs/kubernetes.md"].map(str::to_owned).into_iter().chain(gateways);
    for page in pages {
        for folder in applied(&page, "-k") {
            assert!(!Rendered::at(&folder).objects.is_empty(), "{page}: {folder}");
            found += 1;
        }
        for file in applied(&page, "-f") {
            assert!(!documents(&read(&file)).is_empty(), "{page}: {file}");
            found += 1;
        }
    }
    assert!(found >= 8, "{found}");
}

#[test]
fn every_manifest_fits_the_schemas_of_its_kind() {
    let directory = tempfile::tempdir().unwrap();
    let all = APPLIED.map(Rendered::of).into_iter().chain(["monitoring", "tracing"].map(with_component));
    for (index, rendered) in all.enumerate() {
        let (custom, known): (Vec<&Value>, Vec<&Value>) =
            rendered.objects.iter().partition(|object| text(&object["apiVersion"]).contains(".coreos.com/"));
        let write = |name: &str, objects: &[&Value]| {
            let path = directory.path().join(format!("{name}-{index}.yaml"));
            let texts = objects.iter().map(|object| serde_yaml::to_string(object).unwrap());
            fs::write(&path, texts.collect::<Vec<_>>().join("---\n")).unwrap();
            path
        };
        succeeds(tool("kubernetes-validate").args(["--strict", "--quiet"]).arg(write("known", &known)));
        if !custom.is_empty() {
            let script = repository().join("tests/it/deploy/crd.py");
            succeeds(tool("python").arg(script).arg(write("custom", &custom)));
        }
    }
}

/// What the Pod Security Standard `restricted` asks for, and a root that nobody writes to.
#[test]
fn every_pod_keeps_to_the_strictest_standard() {
    for folder in APPLIED {
        let rendered = Rendered::of(folder);
        for pod in rendered.pods() {
            let spec = &pod["spec"];
            let of_the_pod = &spec["securityContext"];
            assert_eq!(of_the_pod["runAsNonRoot"], true, "{folder}");
            assert_eq!(of_the_pod["runAsUser"], 65534, "{folder}");
            assert_eq!(of_the_pod["seccompProfile"]["type"], "RuntimeDefault", "{folder}");
            assert_eq!(spec["automountServiceAccountToken"], false, "{folder}");
            for container in spec["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{folder}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{folder}");
                assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }), "{folder}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{folder}");
            }
            let volumes = spec["volumes"].as_array().unwrap();
            assert!(volumes.iter().all(|volume| volume["hostPath"].is_null()), "{folder}");
        }
        let account = rendered.one("ServiceAccount", "fluxlimit");
        assert_eq!(account["automountServiceAccountToken"], false);
    }
}

/// What Kubernetes would tell of Services begins with the letters of our settings.
#[test]
fn no_pod_gets_variables_of_services() {
    for folder in APPLIED {
        for pod in Rendered::of(folder).pods() {
            assert_eq!(pod["spec"]["enableServiceLinks"], false, "{folder}");
        }
    }
}

pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(name, value)| &labels[name] == value)
}

#[test]
fn what_selects_pods_and_ports_finds_the_server_alone() {
    for folder in APPLIED {
        let rendered = Rendered::of(folder);
        let labels = &rendered.one("Deployment", "fluxlimit")["spec"]["template"]["metadata"]["labels"];
        let ports: Vec<&str> =
            rendered.server()["ports"].as_array().unwrap().iter().map(|port| text(&port["name"])).collect();
        let selector = |object: &Value| match text(&object["kind"]) {
            "Service" => object["spec"]["selector"].clone(),
            "NetworkPolicy" => object["spec"]["podSelector"]["matchLabels"].clone(),
            _ => object["spec"]["selector"]["matchLabels"].clone(),
        };
        let mut found = 0;
        for kind in ["Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"] {
            for object in rendered.all(kind) {
                let selector = selector(object);
                assert!(selects(&selector, labels), "{folder}: {kind} selects {selector}");
                found += 1;
                // The policy is for the Job as well.
                let jobs = rendered.all("Job").filter(|_| kind != "NetworkPolicy");
                let mut strangers = jobs.map(|job| &job["spec"]["template"]["metadata"]["labels"]);
                assert!(strangers.all(|other| !selects(&selector, other)), "{folder}: {kind}");
            }
        }
        assert_eq!(found, 5, "{folder}");
        for service in rendered.all("Service") {
            let targets = service["spec"]["ports"].as_array().unwrap();
            assert!(targets.iter().all(|port| ports.contains(&text(&port["targetPort"]))), "{folder}");
            let grpc = targets.iter().find(|port| port["name"] == "grpc").unwrap();
            assert_eq!((&grpc["port"], &grpc["appProtocol"]), (&json!(8081), &json!("grpc")), "{folder}");
        }
        assert_eq!(rendered.one("Service", "fluxlimit-headless")["spec"]["clusterIP"], "None");
    }
}

/// The settings file that the server of a folder gets.
fn settings(rendered: &Rendered) -> String {
    text(&rendered.one("ConfigMap", "fluxlimit-settings-")["data"]["fluxlimit.yaml"]).to_owned()
}

#[test]
fn kubernetes_waits_longer_for_the_end_than_the_server_takes() {
    for folder in APPLIED {
        let rendered = Rendered::of(folder);
        let settings = &documents(&settings(&rendered))[0];
        let waits_ms = |name: &str| settings[name].as_u64().unwrap();
        let takes_s = (waits_ms("drain_delay_ms") + waits_ms("stop_grace_ms")).div_ceil(1000) + TIME_TO_END_S;
        let pod = &rendered.one("Deployment", "fluxlimit")["spec"]["template"]["spec"];
        let grace_s = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace_s >= takes_s, "{folder}: {grace_s} s are less than {takes_s} s");
        // Not ready for at least two probes before connections are closed.
        let probe = &rendered.server()["readinessProbe"];
        let seen_s = probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
        assert!(seen_s * 1000 < waits_ms("drain_delay_ms"), "{folder}");
        assert_eq!(
            rendered.one("Deployment", "fluxlimit")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
            0
        );
    }
}

#[test]
fn only_servers_with_a_shared_store_are_many() {
    let base = Rendered::of("base");
    assert_eq!(base.one("Deployment", "fluxlimit")["spec"]["replicas"], 1);
    assert_eq!(base.all("HorizontalPodAutoscaler").count(), 0);
    for folder in ["redis", "postgres"] {
        let rendered = Rendered::of(folder);
        assert!(rendered.one("Deployment", "fluxlimit")["spec"]["replicas"].is_null(), "{folder}");
        let scaler = &rendered.one("HorizontalPodAutoscaler", "fluxlimit")["spec"];
        assert_eq!(scaler["scaleTargetRef"]["name"], "fluxlimit");
        assert!(scaler["minReplicas"].as_u64() >= Some(2));
        assert!(rendered.server()["resources"]["requests"]["cpu"].is_string(), "what the utilization is of");
    }
}

/// The files of a `ConfigMap` or Secret as the kubelet mounts them: links into `..data`, which is swapped as a whole.
fn mount(directory: &Path, version: &str, files: &serde_json::Map<String, Value>) {
    let data = directory.join(version);
    fs::create_dir_all(&data).unwrap();
    for (name, content) in files {
        fs::write(data.join(name), text(content)).unwrap();
        let link = directory.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    let draft = directory.join("..data_tmp");
    symlink(version, &draft).unwrap();
    fs::rename(draft, directory.join("..data")).unwrap();
}

/// The server of a folder with what its Pod mounts, on free ports, and with texts of its settings replaced.
struct Pod {
    root: tempfile::TempDir,
    rendered: Rendered,
}

impl Pod {
    fn of(folder: &str, replacements: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let rendered = Rendered::of(folder);
        let mut files = rendered.one("ConfigMap", "fluxlimit-settings-")["data"].as_object().unwrap().clone();
        let etc = root.path().display().to_string();
        for content in files.values_mut() {
            let mut file = text(content).replace("/etc/fluxlimit", &etc);
            for (old, new) in replacements {
                file = file.replace(old, new);
            }
            *content = json!(file);
        }
        mount(&root.path().join("settings"), "..2026_01", &files);
        let pod = Self { root, rendered };
        let rules = pod.rendered.one("ConfigMap", "fluxlimit-rules")["data"].as_object().unwrap().clone();
        pod.mount_rules("..2026_01", &rules);
        pod
    }

    fn mount_rules(&self, version: &str, files: &serde_json::Map<String, Value>) {
        mount(&self.root.path().join("rules"), version, files);
    }

    fn mount_secret(&self, name: &str, content: &str) {
        fs::create_dir_all(self.root.path().join("store")).unwrap();
        fs::write(self.root.path().join("store").join(name), content).unwrap();
    }

    /// What a container is started with.
    fn arguments(&self, container: &Value) -> Vec<String> {
        let etc = self.root.path().display().to_string();
        let arguments = container["args"].as_array().unwrap().iter();
        arguments.map(|argument| text(argument).replace("/etc/fluxlimit", &etc)).collect()
    }

    async fn start(&self) -> Fluxlimit {
        let mut arguments = self.arguments(self.rendered.server());
        arguments.extend(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"].map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // Its port is fixed, and each Pod has its own 127.0.0.1.
        let admin = ("FLUXLIMIT_ADMIN__ADDRESS".to_owned(), "off".to_owned());
        Fluxlimit::start(&arguments, &[admin]).await
    }

    /// Whether the server passes both probes of its container.
    async fn probes_pass(&self, server: &Fluxlimit) -> bool {
        let mut pass = true;
        for probe in ["readinessProbe", "livenessProbe"] {
            let path = text(&self.rendered.server()[probe]["httpGet"]["path"]);
            pass &= server.page(path).await.status == 200;
        }
        pass
    }

    async fn becomes_ready(&self, server: &Fluxlimit) {
        eventually("probes that pass", async || self.probes_pass(server).await.then_some(())).await;
    }
}

#[tokio::test]
async fn the_smallest_deployment_serves_and_takes_new_rules_while_it_runs() {
    let pod = Pod::of("base", &[]);
    let server = pod.start().await;
    pod.becomes_ready(&server).await;
    assert_eq!(server.ask("remote_address", "10.0.0.1").await.status, 200);
    assert_eq!(server.ask("user", "alice").await.body.matches("OVER_LIMIT").count(), 0);
    let rules =
        "domain: edge\ndescriptors: [{ key: user, rate_limit: { unit: day, requests_per_unit: 0 } }]\n";
    let rules = json!({ "edge.yaml": rules });
    pod.mount_rules("..2026_02", rules.as_object().unwrap());
    eventually("the rules of the new ConfigMap", async || {
        (server.ask("user", "alice").await.status == 429).then_some(())
    })
    .await;
    // Without a hash in its name, a changed ConfigMap does not roll the Pods; settings have one, and do.
    assert_eq!(pod.rendered.one("ConfigMap", "fluxlimit-rules")["metadata"]["name"], "fluxlimit-rules");
}

#[tokio::test]
async fn the_deployment_with_redis_counts_there() {
    let redis = Redis::with(&["--requirepass", "sesame"]).await;
    let address = redis.address().to_string();
    let pod = Pod::of("redis", &[("redis.redis.svc.cluster.local:6379", &address)]);
    pod.mount_secret("password", "sesame\n");
    let (one, two) = (pod.start().await, pod.start().await);
    for server in [&one, &two] {
        pod.becomes_ready(server).await;
    }
    let mut statuses = Vec::new();
    for server in [&one, &two, &one, &two, &one, &two] {
        let entries =
            json!([{ "key": "action", "value": "login" }, { "key": "remote_address", "value": "10.0.0.1" }]);
        let question = json!({ "domain": "edge", "descriptors": [{ "entries": entries }] });
        let answer = Client::new(server.http).post("/json", question.to_string()).await.unwrap();
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
}

#[tokio::test]
async fn the_deployment_with_postgres_counts_in_the_table_of_its_job() {
    let postgres = Postgres::start().await;
    let (host, port) = (postgres.address().ip().to_string(), postgres.address().port().to_string());
    let mut roles = Command::new("psql");
    roles.args(["--host", &host, "--port", &port, "--username", "postgres", "--set", "ON_ERROR_STOP=1"]);
    // Everybody is trusted in this Postgres; that passwords are checked is tested elsewhere.
    roles.args(["--set", "password=x", "--set", "owner_password=y", "--file"]);
    succeeds(roles.arg(repository().join("examples/kubernetes/postgres/roles.sql")));
    let address = postgres.address().to_string();
    let pod = Pod::of("postgres", &[("postgres.postgres.svc.cluster.local:5432", &address)]);
    pod.mount_secret("password", "x\n");
    pod.mount_secret("owner-password", "y\n");
    let server = pod.start().await;
    let job = &pod.rendered.one("Job", "fluxlimit-migrate")["spec"]["template"]["spec"]["containers"][0];
    let arguments = pod.arguments(job);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(server.page("/ready").await.status, 503, "there is no table yet");
    let (status, output) = Fluxlimit::run(&arguments, &[]).await;
    assert!(status.success() && output.contains("made the table"), "{output}");
    pod.becomes_ready(&server).await;
    assert_eq!(server.ask("remote_address", "10.0.0.1").await.status, 200);
}

#[test]
fn the_manifests_name_the_version_of_the_crate() {
    let image = text(&Rendered::of("base").server()["image"]).to_owned();
    assert_eq!(image, concat!("fluxlimit:", env!("CARGO_PKG_VERSION")));
    assert!(read("docs/kubernetes.md").contains(&image));
}
