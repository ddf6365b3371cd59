//! The program of the image where there is nothing but it: another root directory without a shell, a library or a
//! file of users, which is read-only, as a user that owns nothing. That is what the last stage of the Dockerfile
//! makes, less its certificates and time zones.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::image::{all, program, words};
use super::{read, repository, succeeds};
use crate::support::{Fluxlimit, Process, Redis, eventually, own_loopback_address};

/// Makes the root read-only in a mount namespace of its own, and starts the rest there as the user of the image.
const ENTER: &str = r#"root=$1 user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" "$root" "$@""#;

/// A root directory with the program and the sample rules.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "another root directory takes root: run the tests as root"
        );
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join(words(&all("ENTRYPOINT")[0])[0].trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(program(), target).unwrap();
        succeeds(Command::new("chmod").arg("755").arg(root.path()));
        let root = Self(root);
        for file in repository().join("config/rules").read_dir().unwrap() {
            let file = file.unwrap();
            root.write(
                &format!("{}/{}", rules_directory(), file.file_name().display()),
                &fs::read_to_string(file.path()).unwrap(),
            );
        }
        root
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The words that start something there.
    fn entering<'a>(&'a self, user: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        let root = self.0.path().to_str().unwrap();
        [&["--mount", "sh", "-euc", ENTER, "sh", root, user], rest].concat()
    }

    /// What ENTRYPOINT and CMD start, with these variables beside those of the image.
    async fn serve(&self, variables: &[(&str, &str)]) -> Fluxlimit {
        let (entrypoint, command, user) =
            (words(&all("ENTRYPOINT")[0]), words(&all("CMD")[0]), all("USER").swap_remove(0));
        let started: Vec<&str> = entrypoint.iter().chain(&command).map(String::as_str).collect();
        // The ports of the image are fixed.
        let ports = [
            ("FLUXLIMIT_GRPC", "127.0.0.1:0"),
            ("FLUXLIMIT_HTTP", "127.0.0.1:0"),
            ("FLUXLIMIT_ADMIN__ADDRESS", "off"),
            ("NO_COLOR", "1"),
        ];
        let mut environment: Vec<(String, String)> = ports
            .iter()
            .chain(variables)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let image = all("ENV");
        environment.extend(
            image
                .iter()
                .map(|line| line.split_once('=').unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let arguments = self.entering(&user, &started);
        Fluxlimit::started(Process::start(
            "fluxlimit",
            Path::new("/usr/bin/unshare"),
            &arguments,
            &environment,
        ))
        .await
    }
}

/// Where the image looks for rules.
fn rules_directory() -> String {
    all("ENV").swap_remove(0).split_once("FLUXLIMIT_RULES=").expect("the only variable").1.to_owned()
}

#[tokio::test]
async fn the_program_serves_where_there_is_nothing_else() {
    let root = Root::new();
    let server = root.serve(&[]).await;
    server.ready().await;
    assert_eq!(server.ask("remote_address", "10.0.0.1").await.status, 200);
    let asking = ["ask", "--server", &server.grpc.to_string(), "--domain", "edge", "remote_address=10.0.0.1"];
    let (status, output) = Fluxlimit::run(&asking, &[]).await;
    assert!(status.success() && output.starts_with("OK\n"), "{output}");
    // The health check of the image, in the container, so to speak.
    let health = all("HEALTHCHECK").swap_remove(0);
    let health = words(health.split_once("CMD ").unwrap().1);
    let health: Vec<&str> = health.iter().map(String::as_str).collect();
    let user = all("USER").swap_remove(0);
    let mut probe = Command::new("unshare");
    probe.args(root.entering(&user, &health)).env("FLUXLIMIT_HTTP", server.http.to_string());
    assert_eq!(succeeds(&mut probe), "OK\n");
    // As who it runs and that nothing can be written are not what the test says, but what Linux says.
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", server.process.id())).unwrap();
    assert!(
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some("/")
                && line.split(' ').nth(3).unwrap().starts_with("ro")),
        "{mounts}"
    );
    assert!(server.stop().await.success());
}

/// Answers every question for an address with this one, on port 53 of it.
fn name_server(address: SocketAddr) {
    let socket = UdpSocket::bind(address).expect("port 53 of an address of this test's own");
    std::thread::spawn(move || {
        let std::net::IpAddr::V4(ip) = address.ip() else { unreachable!() };
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            // The name ends with an empty part; its type and class follow. There may be more records after them.
            let name = question[12..length].iter().position(|byte| *byte == 0).unwrap();
            let asked = &question[12..12 + name + 5];
            let is_a = asked[name + 1..name + 3] == [0, 1];
            let head = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
            let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &ip.octets()].concat();
            let answer = [&head[..], asked, if is_a { &record } else { &[] }].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
}

/// Bug class: a libc in the program that wants to load others to find a name.
#[tokio::test]
async fn names_are_found_without_a_libc_beside_the_program() {
    let ip = own_loopback_address();
    name_server(SocketAddr::new(ip, 53));
    let redis = Redis::start().await;
    let port = redis.address().port();
    for (file, text) in
        [("etc/hosts", format!("{ip} redis.test\n")), ("etc/resolv.conf", format!("nameserver {ip}\n"))]
    {
        let root = Root::new();
        root.write(file, &text);
        let server = root.serve(&[("FLUXLIMIT_STORE", &format!("redis://redis.test:{port}"))]).await;
        eventually(file, async || (server.page("/ready").await.status == 200).then_some(())).await;
    }
}

#[test]
fn the_documented_commands_mount_the_rules_where_the_image_looks_for_them() {
    let mount = format!("config/rules:{}:ro", rules_directory());
    for page in ["README.md", "Dockerfile", "examples/compose/compose.yaml"] {
        assert!(read(page).contains(&mount), "{page} does not say {mount}");
    }
}
