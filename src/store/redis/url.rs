//! The URL of a Redis: one line that says how it is deployed, where, and who asks.
//!
//! Messages say which part is wrong and never what it says: a password that holds a `/` or an `@` turns up
//! in any part.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use rustls_pki_types::ServerName;

use super::settings::{Address, Endpoint};
use crate::store::Secret;
use crate::store::percent::{self, Undecodable};
use crate::yaml::Message;

/// The schemes of a Redis, each with what it means. `valkey` is another word for `redis`, as in other clients.
const SCHEMES: [(&str, Shape, bool); 11] = [
    ("redis", Shape::Standalone, false),
    ("rediss", Shape::Standalone, true),
    ("valkey", Shape::Standalone, false),
    ("valkeys", Shape::Standalone, true),
    ("unix", Shape::Socket, false),
    ("redis+unix", Shape::Socket, false),
    ("valkey+unix", Shape::Socket, false),
    ("redis+sentinel", Shape::Sentinel, false),
    ("rediss+sentinel", Shape::Sentinel, true),
    ("redis+cluster", Shape::Cluster, false),
    ("rediss+cluster", Shape::Cluster, true),
];

/// The port of a Redis.
const PORT: u16 = 6379;

/// The port of a Sentinel.
const SENTINEL_PORT: u16 = 26379;

/// The most servers that one URL names.
const MAX_ADDRESSES: usize = 100;

/// The largest number of a database.
pub const MAX_DATABASE: u32 = i32::MAX.cast_unsigned();

const ENCODING: &str =
    "in a user or password, `/`, `?`, `#`, `@`, `:` and `%` are percent-encoded, such as `%2F` for `/`";

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// How it is deployed, and where.
    pub(super) target: Target,
    /// Whether connections are encrypted.
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<u32>,
}

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Standalone(Endpoint),
    Sentinel { addresses: Vec<Address>, master: String },
    Cluster(Vec<Address>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Standalone,
    Socket,
    Sentinel,
    Cluster,
}

impl Url {
    /// Whether `scheme` is that of a Redis.
    #[must_use]
    pub fn is_scheme(scheme: &str) -> bool {
        SCHEMES.iter().any(|(name, ..)| *name == scheme)
    }

    /// Reads a URL whose scheme is that of a Redis.
    ///
    /// # Errors
    /// Which part is wrong.
    pub fn parse(text: &str) -> Result<Self, Message> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("there is no `://`"))?;
        let known = SCHEMES.iter().find(|(name, ..)| *name == scheme);
        let &(_, shape, tls) = known.ok_or_else(|| wrong("the scheme is unknown"))?;
        if rest.contains('#') {
            return Err(wrong("there is a `#`").hint(ENCODING));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let (username, password) = user.map_or(Ok((None, None)), login)?;
        let mut database = query.map(query_database).transpose()?;
        if database.is_some() && shape != Shape::Socket {
            return Err(
                wrong("`db` has a meaning for unix sockets only").hint("the database follows the host: `/1`")
            );
        }
        let target = match shape {
            Shape::Socket => Target::Standalone(Endpoint::Socket(socket(hosts, path)?)),
            Shape::Standalone => {
                database = path_database(path)?;
                let mut addresses = addresses(hosts, PORT, tls)?;
                if addresses.len() > 1 {
                    return Err(wrong("there are several hosts")
                        .hint("several belong to `redis+cluster://` or `redis+sentinel://`"));
                }
                Target::Standalone(Endpoint::Tcp(addresses.remove(0)))
            }
            Shape::Sentinel => {
                if path.contains('@') {
                    // More likely the rest of a password with a `/` than a name.
                    return Err(wrong("there is an `@` behind the first `/`").hint(ENCODING));
                }
                let path = path.strip_prefix('/').unwrap_or(path);
                let (master, number) = path.split_at(path.find('/').unwrap_or(path.len()));
                if master.is_empty() {
                    return Err(
                        wrong("the name of the master is missing").expected("`/NAME` after the sentinels")
                    );
                }
                database = path_database(number)?;
                Target::Sentinel {
                    addresses: addresses(hosts, SENTINEL_PORT, tls)?,
                    master: decoded(master)?,
                }
            }
            Shape::Cluster => {
                if path_database(path)?.is_some_and(|database| database != 0) {
                    return Err(wrong("a cluster has no database but 0"));
                }
                Target::Cluster(addresses(hosts, PORT, tls)?)
            }
        };
        Ok(Self { target, tls, username, password, database })
    }
}

fn wrong(what: &str) -> Message {
    Message::new(format!("this URL of a Redis cannot be read: {what}"))
}

fn login(user: &str) -> Result<(Option<String>, Option<Secret>), Message> {
    let (username, password) =
        user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
    let username = Some(decoded(username)?).filter(|username| !username.is_empty());
    let password = password.map(decoded).transpose()?;
    if password.as_deref() == Some("") {
        return Err(wrong("the password is empty"));
    }
    Ok((username, password.map(Secret::new)))
}

fn addresses(hosts: &str, default_port: u16, tls: bool) -> Result<Vec<Address>, Message> {
    let addresses: Vec<Address> =
        hosts.split(',').map(|host| address(host, default_port, tls)).collect::<Result<_, _>>()?;
    if addresses.len() > MAX_ADDRESSES {
        return Err(wrong("there are too many hosts").expected(format!("at most {MAX_ADDRESSES}")));
    }
    Ok(addresses)
}

fn address(text: &str, default_port: u16, tls: bool) -> Result<Address, Message> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (host, port) = inner.split_once(']').ok_or_else(|| wrong("a `[` is not closed"))?;
        let host = host.parse::<Ipv6Addr>().map_err(|_| wrong("what stands in `[]` is no IPv6 address"))?;
        (host.to_string(), port)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (host.to_owned(), port)
    };
    if host.is_empty() {
        return Err(wrong("a host is missing").expected("HOST or HOST:PORT"));
    }
    if host.parse::<IpAddr>().is_err() && ServerName::try_from(host.as_str()).is_err() {
        return Err(wrong("a host is no name and no IP address").hint(ENCODING));
    }
    if tls && host.ends_with('.') {
        // Certificates name hosts without it.
        return Err(wrong("a host ends with a dot, which no certificate does"));
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        port => {
            let number = port.and_then(|port| port.parse().ok()).filter(|port| *port > 0);
            number.ok_or_else(|| {
                wrong("a port is no whole number from 1 to 65535")
                    .hint(format!("an IPv6 address stands in `[]`; {ENCODING}"))
            })?
        }
    };
    Ok(Address { host, port })
}

fn socket(hosts: &str, path: &str) -> Result<PathBuf, Message> {
    if !hosts.is_empty() || path.len() < 2 {
        return Err(wrong("the path of the socket is missing or relative")
            .expected("such as `unix:///run/redis.sock`"));
    }
    Ok(PathBuf::from(decoded(path)?))
}

fn path_database(path: &str) -> Result<Option<u32>, Message> {
    match path.trim_start_matches('/') {
        "" => Ok(None),
        number => database(number).map(Some),
    }
}

fn query_database(query: &str) -> Result<u32, Message> {
    let number = query.strip_prefix("db=");
    number.map_or_else(|| Err(wrong("the part after the `?` is not `db=NUMBER`").hint(ENCODING)), database)
}

fn database(number: &str) -> Result<u32, Message> {
    number.parse().ok().filter(|number| *number <= MAX_DATABASE).ok_or_else(|| {
        wrong(&format!("the database is no whole number from 0 to {MAX_DATABASE}")).hint(ENCODING)
    })
}

fn decoded(text: &str) -> Result<String, Message> {
    percent::decode(text).map_err(|why| match why {
        Undecodable::Digits => wrong("a `%` does not begin two hexadecimal digits").hint(ENCODING),
        Undecodable::NotUtf8 => wrong("it is not UTF-8 where it is percent-encoded"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    fn url(target: Target) -> Url {
        Url { target, tls: false, username: None, password: None, database: None }
    }

    #[test]
    fn every_form_has_its_url() {
        let alone = |host, port| url(Target::Standalone(Endpoint::Tcp(tcp(host, port))));
        let socket = || url(Target::Standalone(Endpoint::Socket("/run/a b.sock".into())));
        let sentinel =
            Target::Sentinel { addresses: vec![tcp("a", 26379), tcp("b", 1)], master: "main".to_owned() };
        let cluster = Target::Cluster(vec![tcp("a", 6379), tcp("::1", 7000)]);
        let (user, secret) =
            (|name: &str| Some(name.to_owned()), |text: &str| Some(Secret::new(text.to_owned())));
        let expected = [
            ("redis://cache", alone("cache", 6379)),
            ("valkey://10.0.0.1:7000/", alone("10.0.0.1", 7000)),
            ("rediss://cache/3", Url { tls: true, database: Some(3), ..alone("cache", 6379) }),
            ("redis://[::1]:1", alone("::1", 1)),
            ("redis://:p%40ss@cache", Url { password: secret("p@ss"), ..alone("cache", 6379) }),
            (
                "redis://me:a@b@cache",
                Url { username: user("me"), password: secret("a@b"), ..alone("cache", 6379) },
            ),
            ("redis://me@cache", Url { username: user("me"), ..alone("cache", 6379) }),
            ("unix:///run/a%20b.sock", socket()),
            ("redis+unix:///run/a%20b.sock?db=2", Url { database: Some(2), ..socket() }),
            ("redis+sentinel://a,b:1/main", url(sentinel.clone())),
            ("rediss+sentinel://a,b:1/main/4", Url { tls: true, database: Some(4), ..url(sentinel) }),
            ("redis+cluster://a,[::1]:7000/0", url(cluster)),
        ];
        for (text, expected) in expected {
            assert_eq!(Url::parse(text), Ok(expected), "{text}");
        }
    }

    /// The password of each holds `secret`, also where it is written so that it lands in another part.
    #[test]
    fn a_mistake_is_named_without_what_the_url_says() {
        for (text, what) in [
            ("redis://:secret@", "a host is missing"),
            ("redis://:secret@a:0", "a port is no whole number"),
            ("redis://:x/secret@a", "the database is no whole number"),
            ("redis://a/secret", "the database is no whole number"),
            ("redis://:a#secret@a", "there is a `#`"),
            ("redis://:a%secret@a", "a `%` does not begin"),
            ("redis://a/?password=secret", "the part after the `?`"),
            ("redis://a/?db=1", "for unix sockets only"),
            ("redis://a,b/secret", "the database is no whole number"),
            ("redis://a,b", "several hosts"),
            ("redis://:@a", "the password is empty"),
            ("redis://secret secret", "a host is no name"),
            ("redis://::1", "a host is missing"),
            ("rediss://secret.", "ends with a dot"),
            ("unix://secret/x", "the path of the socket"),
            ("redis+sentinel://a,b", "the name of the master is missing"),
            ("redis+sentinel://me:12/secret@a", "there is an `@` behind"),
            ("redis+cluster://me:secret", "a port is no whole number"),
            ("redis+cluster://a/1", "no database but 0"),
        ] {
            let message = Url::parse(text).expect_err(text).to_string();
            assert!(message.contains(what) && !message.contains("secret"), "{text}: {message}");
        }
    }
}
