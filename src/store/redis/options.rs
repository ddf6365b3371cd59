//! What the settings say about a Redis, as they say it; checked against each other once all are read.

use std::path::PathBuf;

use super::settings::{
    DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_CONNECTIONS, DEFAULT_KEY_PREFIX, DEFAULT_MAX_WAITING, Form, Login,
    Sentinel, Settings,
};
use super::tls::{Tls, TlsFiles};
use super::url::{Target, Url};
use crate::store::{Mistake, Password, Secret};
use crate::yaml::Message;

/// What stands in the settings; [`Self::settings`] makes settings of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The value of `store`.
    pub url: Option<Url>,
    /// User and password of the Redis.
    pub login: LoginOptions,
    /// The number of the database.
    pub database: Option<u32>,
    /// What every key begins with.
    pub key_prefix: String,
    /// Connections to one Redis.
    pub connections: usize,
    /// How long one attempt to connect may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Files with certificates.
    pub tls_files: TlsFiles,
    /// User and password of the Sentinels.
    pub sentinel_login: LoginOptions,
    /// Whether connections to the Sentinels are encrypted; `None`: as those to the Redis.
    pub sentinel_tls: Option<bool>,
}

/// A user and the places where its password may stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginOptions {
    /// The user.
    pub username: Option<String>,
    /// The password itself.
    pub password: Option<Secret>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// The names of the settings of a login, for messages.
struct Names {
    username: &'static str,
    password: &'static str,
    password_file: &'static str,
}

const REDIS: Names =
    Names { username: "redis.username", password: "redis.password", password_file: "redis.password_file" };

const SENTINEL: Names = Names {
    username: "redis.sentinel_username",
    password: "redis.sentinel_password",
    password_file: "redis.sentinel_password_file",
};

impl Default for Options {
    fn default() -> Self {
        Self {
            url: None,
            login: LoginOptions::default(),
            database: None,
            key_prefix: DEFAULT_KEY_PREFIX.to_owned(),
            connections: DEFAULT_CONNECTIONS,
            connect_timeout_ms: DEFAULT_CONNECT_TIMEOUT_MS,
            tls_files: TlsFiles::default(),
            sentinel_login: LoginOptions::default(),
            sentinel_tls: None,
        }
    }
}

impl Options {
    /// The settings that these mean together. Reads the files with certificates.
    ///
    /// # Errors
    /// Everything that does not go together or cannot be used.
    pub fn settings(&self) -> Result<Settings, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let defaults = Settings::default();
        let (target, url) = match &self.url {
            Some(url) => (url.target.clone(), url.clone()),
            None => return Ok(defaults),
        };
        let login = self.login.together(&url, &REDIS, &mut mistakes);
        let is_sentinel = matches!(target, Target::Sentinel { .. });
        if !is_sentinel {
            self.refuse_sentinel(&mut mistakes);
        }
        let sentinel_tls = is_sentinel && self.sentinel_tls.unwrap_or(url.tls);
        let tls = self.tls(url.tls || sentinel_tls, &mut mistakes);
        let form = match target {
            Target::Standalone(endpoint) => Form::Standalone(endpoint),
            Target::Cluster(addresses) => Form::Cluster(addresses),
            Target::Sentinel { addresses, master } => {
                let login = self.sentinel_login.alone(&SENTINEL, &mut mistakes);
                Form::Sentinel(Box::new(Sentinel {
                    addresses,
                    master,
                    login,
                    tls: tls.clone().filter(|_| sentinel_tls),
                }))
            }
        };
        let database = self.database(&url, &form, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Settings {
            form,
            login,
            tls: tls.filter(|_| url.tls),
            database,
            key_prefix: self.key_prefix.clone(),
            connections: self.connections,
            connect_timeout_ms: self.connect_timeout_ms,
            max_waiting: DEFAULT_MAX_WAITING,
            ..defaults
        })
    }

    fn refuse_sentinel(&self, mistakes: &mut Vec<Mistake>) {
        let LoginOptions { username, password, password_file } = &self.sentinel_login;
        let given = [
            (SENTINEL.username, username.is_some()),
            (SENTINEL.password, password.is_some()),
            (SENTINEL.password_file, password_file.is_some()),
            ("redis.sentinel_tls", self.sentinel_tls.is_some()),
        ];
        for (setting, _) in given.iter().filter(|(_, is_given)| *is_given) {
            let message = Message::new("it has no meaning without Sentinels");
            mistakes.push(Mistake {
                setting,
                message: message.expected("a store such as `redis+sentinel://HOST/MASTER`"),
            });
        }
    }

    fn tls(&self, is_on: bool, mistakes: &mut Vec<Mistake>) -> Option<Tls> {
        if is_on {
            return self.tls_files.load().map_err(|found| mistakes.extend(found)).ok();
        }
        for (setting, _) in self.tls_files.given() {
            let message = Message::new("it has no meaning without TLS");
            mistakes
                .push(Mistake { setting, message: message.expected("a store that begins with `rediss`") });
        }
        None
    }

    fn database(&self, url: &Url, form: &Form, mistakes: &mut Vec<Mistake>) -> u32 {
        let setting = "redis.database";
        let database = self.database.or(url.database).unwrap_or(0);
        if url.database.is_some_and(|of_url| of_url != database) {
            let message = Message::new("the URL of the store names another database");
            mistakes.push(Mistake { setting, message });
        }
        if database != 0 && matches!(form, Form::Cluster(_)) {
            mistakes.push(Mistake { setting, message: Message::new("a cluster has no database but 0") });
        }
        database
    }
}

impl LoginOptions {
    /// This login with what the URL says of it.
    fn together(&self, url: &Url, names: &Names, mistakes: &mut Vec<Mistake>) -> Login {
        let mut all = self.clone();
        if let Some(username) = &url.username {
            if all.username.is_some() {
                let message = Message::new("the URL of the store names a user as well");
                mistakes.push(Mistake { setting: names.username, message });
            }
            all.username = Some(username.clone());
        }
        if let Some(password) = &url.password {
            for (setting, is_given) in [
                (names.password, self.password.is_some()),
                (names.password_file, self.password_file.is_some()),
            ] {
                if is_given {
                    let message = Message::new("the URL of the store holds a password as well");
                    mistakes.push(Mistake { setting, message });
                }
            }
            all.password = Some(password.clone());
            all.password_file = None;
        }
        all.alone(names, mistakes)
    }

    fn alone(&self, names: &Names, mistakes: &mut Vec<Mistake>) -> Login {
        let username = self.username.clone();
        let password = match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => {
                let message = Message::new(format!("there is `{}` as well", names.password));
                mistakes
                    .push(Mistake { setting: names.password_file, message: message.expected("one of them") });
                return Login::default();
            }
            (Some(password), None) => Some(Password::Text(password.clone())),
            (None, Some(path)) => Some(Password::File(path.clone())),
            (None, None) => None,
        };
        if username.is_some() && password.is_none() {
            let message = Message::new("there is a user without a password");
            let expected = format!("`{}` or `{}`", names.password, names.password_file);
            // Redis takes a user's name only together with a password; `nopass` takes any.
            let hint = "a user that needs none accepts any";
            mistakes
                .push(Mistake { setting: names.username, message: message.expected(expected).hint(hint) });
        }
        Login { username, password }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> Options {
        Options { url: Some(Url::parse(url).unwrap()), ..Options::default() }
    }

    fn secret() -> Secret {
        Secret::new("hunter2".to_owned())
    }

    fn login(username: Option<&str>, password: Option<Secret>, file: Option<&str>) -> LoginOptions {
        let username = username.map(ToOwned::to_owned);
        LoginOptions { username, password, password_file: file.map(PathBuf::from) }
    }

    fn check(options: &Options, expected: &[(&str, &str)]) {
        let mistakes = options.settings().expect_err("something is wrong");
        let found: Vec<(&str, String)> =
            mistakes.iter().map(|mistake| (mistake.setting, mistake.message.statement.clone())).collect();
        let found: Vec<(&str, &str)> =
            found.iter().map(|(setting, said)| (*setting, said.as_str())).collect();
        assert_eq!(found, expected);
        assert!(!format!("{mistakes:?} {options:?}").contains("hunter2"));
    }

    #[test]
    fn the_url_and_the_settings_complete_each_other() {
        let with_login =
            Options { login: login(Some("app"), None, Some("/run/pw")), ..options("redis://a/2") };
        let settings = with_login.settings().unwrap();
        let password = Some(Password::File("/run/pw".into()));
        assert_eq!(settings.login, Login { username: Some("app".to_owned()), password });
        assert_eq!(settings.database, 2);
        let user_of_url = Options { login: login(None, Some(secret()), None), ..options("redis://app@a") };
        assert_eq!(user_of_url.settings().unwrap().login.username.as_deref(), Some("app"));
    }

    #[test]
    fn settings_that_contradict_each_other_are_mistakes() {
        let both = Options {
            login: login(Some("b"), Some(secret()), Some("f")),
            database: Some(1),
            ..options("redis://a:hunter2@a/2")
        };
        check(
            &both,
            &[
                ("redis.username", "the URL of the store names a user as well"),
                ("redis.password", "the URL of the store holds a password as well"),
                ("redis.password_file", "the URL of the store holds a password as well"),
                ("redis.database", "the URL of the store names another database"),
            ],
        );
        let twice = Options { login: login(None, Some(secret()), Some("f")), ..options("redis://a") };
        check(&twice, &[("redis.password_file", "there is `redis.password` as well")]);
        check(&options("redis://app@a"), &[("redis.username", "there is a user without a password")]);
        let in_cluster = Options { database: Some(1), ..options("redis+cluster://a") };
        check(&in_cluster, &[("redis.database", "a cluster has no database but 0")]);
    }

    #[test]
    fn settings_that_mean_nothing_are_mistakes() {
        let options = Options {
            tls_files: TlsFiles { ca: Some("ca.pem".into()), ..TlsFiles::default() },
            sentinel_login: login(None, Some(secret()), None),
            sentinel_tls: Some(true),
            ..options("redis://a")
        };
        check(
            &options,
            &[
                ("redis.sentinel_password", "it has no meaning without Sentinels"),
                ("redis.sentinel_tls", "it has no meaning without Sentinels"),
                ("redis.tls_ca_file", "it has no meaning without TLS"),
            ],
        );
    }
}
