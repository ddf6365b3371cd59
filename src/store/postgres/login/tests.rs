//! Files, good and bad.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, text: &str, mode: u32) -> std::path::PathBuf {
        let path = self.0.path().join("file");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn host(name: &str) -> Host {
    Host { name: name.to_owned(), address: None, port: 5432 }
}

#[tokio::test]
async fn a_password_file_is_read_again_for_each_login() {
    let directory = Directory::new();
    let path = directory.file("one\r\n", 0o644);
    let server = Server { password: Some(Password::File(path)), ..Server::default() };
    let password = async || Login::read(&server).await.map(|login| login.password(&server, &host("db")));
    assert_eq!(password().await, Ok(Some("one".to_owned())));
    directory.file(" two \n\n", 0o644);
    assert_eq!(password().await, Ok(Some(" two \n".to_owned())));
    directory.file("\n", 0o644);
    let error = password().await.unwrap_err();
    assert!(error.starts_with("postgres.password_file: `") && error.ends_with("` is empty"), "{error}");
}

#[tokio::test]
async fn passwords_by_host_are_used_only_from_a_private_file() {
    let directory = Directory::new();
    let path = directory.file("db:*:*:*:of-db\nlocalhost:*:*:*:local\n10.0.0.1:*:*:*:numeric\n", 0o600);
    let server = Server { passfile: Some(path), ..Server::default() };
    let login = Login::read(&server).await.unwrap();
    let found = |host: &Host| login.password(&server, host);
    assert_eq!(found(&host("db")).as_deref(), Some("of-db"));
    assert_eq!(found(&host("/run/postgresql")).as_deref(), Some("local"));
    assert_eq!(found(&host("/elsewhere")), None);
    let address = "10.0.0.1".parse().ok();
    assert_eq!(found(&Host { address, ..host("") }).as_deref(), Some("numeric"));
    assert_eq!(found(&Host { address, ..host("db") }).as_deref(), Some("of-db"));

    directory.file("*:*:*:*:x\n", 0o640);
    let login = Login::read(&server).await.unwrap();
    assert_eq!(login.password(&server, &host("db")), None);
    assert!(login.unused.unwrap().contains("is not used, since others than its owner may use it"));
    let missing = Server { passfile: Some("/nowhere/.pgpass".into()), ..Server::default() };
    let login = Login::read(&missing).await.unwrap();
    assert_eq!((login.password(&missing, &host("db")), login.unused), (None, None));
}

#[tokio::test]
async fn a_password_that_is_given_makes_the_file_superfluous() {
    let directory = Directory::new();
    let path = directory.file("*:*:*:*:from-file\n", 0o600);
    let password = Some(Password::Text(crate::store::Secret::new("given")));
    let server = Server { passfile: Some(path), password, ..Server::default() };
    let login = Login::read(&server).await.unwrap();
    assert_eq!(login.password(&server, &host("db")).as_deref(), Some("given"));
}
