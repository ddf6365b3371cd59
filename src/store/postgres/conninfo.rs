//! Connection strings in the two forms that libpq reads: a URL, or pairs of keyword and value.
//!
//! No message repeats a part of the string but what stands where a host or a mode should: a password whose
//! special characters are not encoded may turn up anywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use crate::store::percent::{self, Undecodable};
use crate::yaml::{Message, either, nearest};

/// What libpq's keywords mean, as far as they mean something here.
pub(super) const KEYWORDS: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "options",
    "passfile",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Means nothing here, since only a server that takes writes is of use; still checked.
const TARGET: &str = "target_session_attrs";

/// Values by keyword, of one source.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// Reads a connection string.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, Message> {
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
        let mut parameters = Self::default();
        match rest {
            Some(rest) => parameters.read_url(rest)?,
            None => parameters.read_pairs(text)?,
        }
        Ok(parameters)
    }

    /// Whether a text is a connection string of Postgres and not that of another store.
    #[must_use]
    pub fn recognizes(text: &str) -> bool {
        if let Some((scheme, _)) = text.split_once("://")
            && !scheme.contains('=')
        {
            return SCHEMES.contains(&scheme);
        }
        let keyword = text.split_once('=').map(|(keyword, _)| keyword.trim());
        keyword.is_some_and(|keyword| keyword == TARGET || KEYWORDS.contains(&keyword))
    }

    /// Gives `keyword` a value, in the place of one that it has.
    pub fn set(&mut self, keyword: &'static str, value: impl Into<String>) {
        self.0.insert(keyword, value.into());
    }

    /// The value of `keyword`; an empty one counts as none, as with libpq.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The keywords that have a value.
    pub(super) fn keywords(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(keyword, _)| *keyword)
    }

    fn read_url(&mut self, text: &str) -> Result<(), Message> {
        let (place, query) = text.split_once('?').map_or((text, ""), |(place, query)| (place, query));
        // As libpq looks for it: a `@` after the first `/` belongs to what follows.
        let (place, path) = place.split_once('/').map_or((place, ""), |(place, path)| (place, path));
        let (login, hosts) = place.rsplit_once('@').map_or(("", place), |(login, hosts)| (login, hosts));
        if path.contains('@') {
            // libpq takes it for a part of the name. More likely it is the rest of a password with a `/`, and names
            // are logged.
            return Err(unreadable("there is an `@` behind the first `/`"));
        }
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        for (keyword, value) in [("user", user), ("password", password), ("dbname", path)] {
            if !value.is_empty() {
                self.set(keyword, decoded(value)?);
            }
        }
        self.read_hosts(hosts)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((keyword, value)) = pair.split_once('=') else {
                return Err(unreadable("a parameter after the `?` has no value"));
            };
            let (keyword, value) = (decoded(keyword)?, decoded(value)?);
            // What JDBC calls it; libpq takes it as well.
            let (keyword, value) = match (keyword.as_str(), value.as_str()) {
                ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
                _ => (keyword, value),
            };
            self.put(&keyword, value)?;
        }
        Ok(())
    }

    fn read_hosts(&mut self, text: &str) -> Result<(), Message> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for place in text.split(',') {
            let (host, port) = match place.strip_prefix('[') {
                Some(rest) => {
                    let Some((host, rest)) = rest.split_once(']') else {
                        return Err(unreadable("a `[` has no `]` after it"));
                    };
                    (host, rest.strip_prefix(':').unwrap_or(rest))
                }
                None => place.split_once(':').unwrap_or((place, "")),
            };
            let host = decoded(host)?;
            if host.contains(',') {
                return Err(unreadable("a host holds a comma"));
            }
            hosts.push(host);
            ports.push(decoded(port)?);
        }
        self.set("host", hosts.join(","));
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", ports.join(","));
        }
        Ok(())
    }

    fn read_pairs(&mut self, text: &str) -> Result<(), Message> {
        let mut rest = text.chars().peekable();
        loop {
            skip_space(&mut rest);
            let mut keyword = String::new();
            while let Some(letter) = rest.next_if(|letter| !letter.is_whitespace() && *letter != '=') {
                keyword.push(letter);
            }
            skip_space(&mut rest);
            match (keyword.is_empty(), rest.next()) {
                (true, None) => return Ok(()),
                (false, Some('=')) => {}
                _ => return Err(unreadable("there is no `=` after a keyword")),
            }
            skip_space(&mut rest);
            let value = read_value(&mut rest)?;
            self.put(&keyword, value)?;
        }
    }

    fn put(&mut self, keyword: &str, value: String) -> Result<(), Message> {
        if let Some(known) = KEYWORDS.iter().find(|known| **known == keyword) {
            self.set(known, value);
            return Ok(());
        }
        if keyword == TARGET {
            return match value.as_str() {
                "any" | "read-write" | "primary" => Ok(()),
                _ => Err(unreadable("the store needs a server that takes writes")
                    .expected("`target_session_attrs` to be `read-write` or left out")),
            };
        }
        let known = || KEYWORDS.into_iter().chain([TARGET]);
        let message = unreadable("it holds a keyword that is unknown or has no meaning here");
        Err(message.expected(either(known())).did_you_mean(nearest(keyword, known())))
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// The characters up to a space, or those between quotes; `\` makes any character a plain one.
fn read_value(rest: &mut Peekable<Chars<'_>>) -> Result<String, Message> {
    let mut value = String::new();
    let quoted = rest.next_if_eq(&'\'').is_some();
    loop {
        match rest.next_if(|letter| quoted || !letter.is_whitespace()) {
            Some('\'') if quoted => return Ok(value),
            Some('\\') => value.extend(rest.next()),
            Some(letter) => value.push(letter),
            None if quoted => return Err(unreadable("a `'` has no `'` after it")),
            None => return Ok(value),
        }
    }
}

fn skip_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|letter| letter.is_whitespace()).is_some() {}
}

/// A part of a URL without its percent-encoding. Postgres' texts cannot hold a zero byte.
fn decoded(text: &str) -> Result<String, Message> {
    const NO_TEXT: &str = "a part of it is not UTF-8 text once it is decoded";
    match percent::decode(text) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) | Err(Undecodable::NotUtf8) => Err(unreadable(NO_TEXT)),
        Err(Undecodable::Digits) => Err(unreadable("a `%` is not followed by two hexadecimal digits")),
    }
}

/// The whole string cannot be used.
pub(super) fn unreadable(why: &str) -> Message {
    Message::new(format!("this connection string cannot be read: {why}"))
        .hint("in a URL, `/`, `?`, `#`, `@`, `:` and `%` of a user or password are percent-encoded, such as `%2F` for `/`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(&'static str, String)> {
        Parameters::parse(text).unwrap_or_else(|message| panic!("{message}")).0.into_iter().collect()
    }

    #[track_caller]
    fn means(text: &str, expected: &[(&str, &str)]) {
        let found = pairs(text);
        let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        means("postgres://", &[]);
        means("postgresql://db", &[("host", "db")]);
        means(
            "postgresql://app:p%40ss%3A%2F@db:5433/limits?sslmode=verify-full&application_name=a%20b",
            &[
                ("application_name", "a b"),
                ("dbname", "limits"),
                ("host", "db"),
                ("password", "p@ss:/"),
                ("port", "5433"),
                ("sslmode", "verify-full"),
                ("user", "app"),
            ],
        );
        means("postgres://a:1,b,[::1]:3/d", &[("dbname", "d"), ("host", "a,b,::1"), ("port", "1,,3")]);
        means("postgres://%2Fvar%2Frun%2Fpostgresql/d", &[("dbname", "d"), ("host", "/var/run/postgresql")]);
        means(
            "postgres:///d?host=/tmp&user=u&target_session_attrs=read-write&ssl=true",
            &[("dbname", "d"), ("host", "/tmp"), ("sslmode", "require"), ("user", "u")],
        );
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        means("", &[]);
        means("host=db  port = 5433", &[("host", "db"), ("port", "5433")]);
        means(
            r"password='it\'s \\ me' user=a\ b host='' dbname = 'x'",
            &[("dbname", "x"), ("host", ""), ("password", r"it's \ me"), ("user", "a b")],
        );
    }

    #[test]
    fn no_message_repeats_what_may_be_a_password() {
        let hidden = "hunter2";
        for text in [
            "postgres://app:hunter2%zz@db",
            "postgres://app:x@db?hunter2",
            "postgres://app:x@db?hunter2=1",
            "postgres://app:x@[hunter2",
            "password=a hunter2=b",
            "password=a hunter2",
            "password='hunter2",
            "postgres://db?target_session_attrs=hunter2",
        ] {
            let message = Parameters::parse(text).unwrap_err().to_string();
            assert!(!message.contains(hidden), "{message}");
            assert!(message.starts_with("this connection string cannot be read: "), "{message}");
        }
        let shown = format!("{:?}", Parameters::parse("postgres://app:hunter2@db").unwrap());
        assert!(shown.contains("password") && !shown.contains(hidden), "{shown}");
    }

    #[test]
    fn a_misspelt_keyword_is_answered_with_the_right_one() {
        let message = Parameters::parse("postgres://db?sslmod=require").unwrap_err().to_string();
        assert!(message.ends_with("hint: did you mean `sslmode`?"), "{message}");
    }

    #[test]
    fn strings_of_postgres_are_told_from_those_of_other_stores() {
        for text in ["postgres://", "postgresql://db/x", "host=db", "dbname = x", "password=a://b"] {
            assert!(Parameters::recognizes(text), "{text}");
        }
        for text in ["memory", "postgres", "redis://db?host=x", "mysql://db", "x=y", ""] {
            assert!(!Parameters::recognizes(text), "{text}");
        }
    }
}
