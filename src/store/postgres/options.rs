//! What the settings and the environment say about a Postgres, as they say it; put together once all are read.

use std::net::IpAddr;
use std::path::PathBuf;

use super::conninfo::Parameters;
use super::server::{ChannelBinding, DEFAULT_PORT, Host, Server, SslMode};
use super::settings::Settings;
use super::tls::{Roots, TlsFiles};
use crate::store::{Mistake, Password, Secret};
use crate::yaml::{Message, either, nearest, quoted};

/// The most hosts that are tried, one after the other.
const MAX_HOSTS: usize = 16;

/// What stands in the settings; [`Self::server`] makes one server of it.
///
/// As with libpq, what the settings say comes before the environment, and that before a password file. But the
/// connection string and the other settings may not say the same thing twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The connection string.
    pub string: Parameters,
    /// The settings of single parameters.
    pub fields: Parameters,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// How long an attempt to connect may take, in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// The variables of libpq, and who and where the user of this process is, as parameters.
    pub environment: Parameters,
}

/// Reads parameters and collects what is wrong with them.
struct Reader<'a> {
    options: &'a Options,
    mistakes: Vec<Mistake>,
}

impl Options {
    /// The server that all of it describes.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn server(&self) -> Result<Server, Vec<Mistake>> {
        let mut reader = Reader { options: self, mistakes: Vec::new() };
        reader.refuse_what_is_said_twice();
        let user = reader.user();
        let (mode, roots) = reader.trust();
        let tls_files = TlsFiles {
            roots,
            cert: reader.get("sslcert").map(PathBuf::from),
            key: reader.get("sslkey").map(PathBuf::from),
        };
        if reader.get("gssencmode") == Some("require") {
            reader.wrong("gssencmode", Message::new("there is no GSSAPI encryption here, only TLS"));
        }
        let server = Server {
            hosts: reader.hosts(),
            database: reader.get("dbname").unwrap_or(&user).to_owned(),
            user,
            password: reader.password(),
            passfile: reader.get("passfile").map(PathBuf::from),
            ssl_mode: mode,
            tls_files,
            channel_binding: reader.choice("channel_binding", &ChannelBinding::ALL).unwrap_or_default(),
            application_name: reader.get("application_name").unwrap_or("fluxlimit").to_owned(),
            options: reader.get("options").map(str::to_owned),
        };
        let mut mistakes = reader.mistakes;
        if mistakes.is_empty() {
            mistakes = server.mistakes_in_files();
        }
        if mistakes.is_empty() { Ok(server) } else { Err(mistakes) }
    }

    /// `settings` with the server that all of it describes, and how long an attempt to connect to it may take.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn settings(&self, settings: &Settings) -> Result<Settings, Vec<Mistake>> {
        let mut reader = Reader { options: self, mistakes: Vec::new() };
        let said_ms = reader.connect_timeout_ms();
        match self.server() {
            Ok(server) if reader.mistakes.is_empty() => {
                let connect_timeout_ms = self.connect_timeout_ms.or(said_ms);
                let connect_timeout_ms = connect_timeout_ms.unwrap_or(settings.connect_timeout_ms);
                Ok(Settings { server, connect_timeout_ms, ..settings.clone() })
            }
            Ok(_) => Err(reader.mistakes),
            Err(mistakes) => Err(mistakes.into_iter().chain(reader.mistakes).collect()),
        }
    }
}

impl<'a> Reader<'a> {
    fn get(&self, keyword: &str) -> Option<&'a str> {
        let Options { fields, string, environment, .. } = self.options;
        fields.get(keyword).or_else(|| string.get(keyword)).or_else(|| environment.get(keyword))
    }

    fn wrong(&mut self, keyword: &str, message: Message) {
        let setting = self.place(keyword);
        self.mistakes.push(Mistake { setting, message });
    }

    /// Where the value of a parameter comes from, or where it should stand.
    fn place(&self, keyword: &str) -> &'static str {
        let Options { fields, string, environment, .. } = self.options;
        if fields.get(keyword).is_some() {
            return setting(keyword);
        }
        let variable = VARIABLES.iter().find(|(_, of)| *of == keyword).map(|(variable, _)| *variable);
        match (string.get(keyword), environment.get(keyword), variable) {
            (Some(_), ..) => STORE,
            (None, Some(_), Some(variable)) => variable,
            _ => setting(keyword),
        }
    }

    /// The time in libpq's way: whole seconds, and 0 for any time, which is too long here.
    fn connect_timeout_ms(&mut self) -> Option<u64> {
        let text = self.get("connect_timeout")?;
        let seconds = text.trim().parse::<u64>().ok().filter(|seconds| (1..=3600).contains(seconds));
        if seconds.is_none() {
            let message = Message::new(format!("the `connect_timeout` {} is out of range", quoted(text)));
            self.wrong("connect_timeout", message.expected("whole seconds from 1 to 3600"));
        }
        seconds.map(|seconds| seconds * 1000)
    }

    fn refuse_what_is_said_twice(&mut self) {
        let Options { fields, string, password_file, .. } = self.options;
        let twice: Vec<&str> = fields.keywords().filter(|keyword| string.get(keyword).is_some()).collect();
        for keyword in twice {
            self.wrong(
                keyword,
                Message::new(format!("the connection string of the store has `{keyword}` as well")),
            );
        }
        if password_file.is_some() {
            let message = if fields.get("password").is_some() {
                "`postgres.password` is set as well"
            } else if string.get("password").is_some() {
                "the connection string of the store holds a password as well"
            } else {
                return;
            };
            self.mistakes.push(Mistake { setting: PASSWORD_FILE, message: Message::new(message) });
        }
    }

    fn user(&mut self) -> String {
        if let Some(user) = self.get("user") {
            return user.to_owned();
        }
        let message = Message::new("no user of Postgres is named");
        self.wrong("user", message.expected("`postgres.user`, a connection string with a user, or PGUSER"));
        String::new()
    }

    fn password(&self) -> Option<Password> {
        let Options { fields, string, environment, password_file, .. } = self.options;
        let text = |parameters: &Parameters| {
            parameters.get("password").map(|text| Password::Text(Secret::new(text)))
        };
        text(fields)
            .or_else(|| text(string))
            .or_else(|| password_file.clone().map(Password::File))
            .or_else(|| text(environment))
    }

    /// How well TLS has to protect, and which authorities count.
    fn trust(&mut self) -> (SslMode, Option<Roots>) {
        let roots = self.get("sslrootcert").map(|name| match name {
            "system" => Roots::System,
            path => Roots::File(PathBuf::from(path)),
        });
        if self.get("sslmode") == Some("allow") {
            let message = Message::new("`allow` is not supported: it begins without TLS");
            self.wrong("sslmode", message.expected("`prefer`, or better `verify-full`"));
            return (SslMode::default(), roots);
        }
        let mode = self.choice("sslmode", &SslMode::ALL);
        match (mode, &roots) {
            // Whoever names an authority wants to be sure of the server.
            (None, Some(_)) => (SslMode::VerifyFull, roots),
            (None, None) => (SslMode::default(), None),
            // As libpq does for the sake of old settings.
            (Some(SslMode::Require), Some(Roots::File(_))) => (SslMode::VerifyCa, roots),
            // Anybody can get a certificate of a public authority, so without the name it proves nothing.
            (Some(mode @ (SslMode::Require | SslMode::VerifyCa)), Some(Roots::System)) => {
                let name = name_of(mode);
                let message =
                    Message::new(format!("`{name}` with `sslrootcert` `system` would trust anybody"));
                self.wrong("sslmode", message.expected("`verify-full`"));
                (mode, roots)
            }
            (Some(mode @ (SslMode::VerifyCa | SslMode::VerifyFull)), None) => {
                let name = name_of(mode);
                let message = Message::new(format!("`{name}` needs to know whom to trust"));
                self.wrong(
                    "sslrootcert",
                    message.expected(
                        "a file with certificates of authorities, or `system` for those of the system",
                    ),
                );
                (mode, roots)
            }
            // Here anybody may be the server, so authorities would only look as if they counted.
            (Some(mode @ (SslMode::Disable | SslMode::Prefer)), _) => (mode, None),
            (Some(mode), _) => (mode, roots),
        }
    }

    fn hosts(&mut self) -> Vec<Host> {
        let split = |value: Option<&'a str>| -> Vec<&'a str> {
            value.map(|value| value.split(',').map(str::trim).collect()).unwrap_or_default()
        };
        let (names, addresses) = (split(self.get("host")), split(self.get("hostaddr")));
        let ports = split(self.get("port"));
        let count = names.len().max(addresses.len()).max(1);
        let uneven = |given: &[&str]| !given.is_empty() && given.len() != count;
        if uneven(&names) || uneven(&addresses) || ports.len() > 1 && uneven(&ports) {
            let message = Message::new("hosts, addresses and ports are not of the same number");
            self.wrong("host", message.expected("one port for all, or one for each host"));
            return Vec::new();
        }
        if count > MAX_HOSTS {
            self.wrong("host", Message::new(format!("{count} hosts are too many")).expected("at most 16"));
            return Vec::new();
        }
        let one = |index: usize, reader: &mut Self| {
            let port = ports.get(index).or_else(|| ports.first().filter(|_| ports.len() == 1));
            let address = addresses.get(index).copied().filter(|address| !address.is_empty());
            let name = names.get(index).copied().filter(|name| !name.is_empty());
            let fallback = if address.is_some() { "" } else { "localhost" };
            Host {
                name: name.unwrap_or(fallback).to_owned(),
                address: address.and_then(|address| reader.address(address)),
                port: port.filter(|port| !port.is_empty()).map_or(DEFAULT_PORT, |port| reader.port(port)),
            }
        };
        (0..count).map(|index| one(index, self)).collect()
    }

    fn address(&mut self, text: &str) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            self.wrong(
                "hostaddr",
                Message::new("this is no IP address").expected("one such as `10.0.0.1` or `::1`"),
            );
        }
        address
    }

    /// The text may be a part of a password in a URL where something is not encoded, so it is not shown.
    fn port(&mut self, text: &str) -> u16 {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.unwrap_or_else(|| {
            self.wrong("port", super::conninfo::unreadable("a port is no whole number from 1 to 65535"));
            DEFAULT_PORT
        })
    }

    fn choice<T: Copy>(&mut self, keyword: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.get(keyword)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names = || choices.iter().map(|(name, _)| *name);
            let message = Message::new(format!("unknown value {} of `{keyword}`", quoted(text)));
            self.wrong(keyword, message.expected(either(names())).did_you_mean(nearest(text, names())));
        }
        found.map(|(_, value)| *value)
    }
}

fn name_of(mode: SslMode) -> &'static str {
    SslMode::ALL.iter().find(|(_, of)| *of == mode).map_or("", |(name, _)| name)
}

/// The variables of libpq that are read, with the keyword that each stands for.
pub const VARIABLES: [(&str, &str); 16] = [
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGUSER", "user"),
];

/// The setting that connection strings stand in.
pub(super) const STORE: &str = "store";

/// The setting of a file with the password.
pub(super) const PASSWORD_FILE: &str = "postgres.password_file";

/// The setting that a parameter has of its own, or the one that connection strings stand in.
fn setting(keyword: &str) -> &'static str {
    match keyword {
        "application_name" => "postgres.application_name",
        "dbname" => "postgres.database",
        "host" => "postgres.host",
        "password" => "postgres.password",
        "port" => "postgres.port",
        "sslcert" => "postgres.sslcert",
        "sslkey" => "postgres.sslkey",
        "sslmode" => "postgres.sslmode",
        "sslrootcert" => "postgres.sslrootcert",
        "user" => "postgres.user",
        _ => STORE,
    }
}

#[cfg(test)]
mod tests;
