//! Password files in libpq's form: lines of `host:port:database:user:password`.

/// What a line has to name; `*` there fits everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Any of the names that the host has: a unix socket in its usual place is `localhost` as well.
    pub(super) hosts: &'a [&'a str],
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that fits.
pub(super) fn password(text: &str, wanted: &Wanted<'_>) -> Option<String> {
    let port = wanted.port.to_string();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut fitting = lines.filter_map(|line| {
        let (host, rest) = field(line)?;
        let (of_port, rest) = field(rest)?;
        let (database, rest) = field(rest)?;
        let (user, rest) = field(rest)?;
        let fits = wanted.hosts.iter().any(|wanted| host.fits(wanted))
            && of_port.fits(&port)
            && database.fits(wanted.database)
            && user.fits(wanted.user);
        // Nothing has to stand after the password, so a `:` in it needs no `\`.
        fits.then(|| unescaped(rest))
    });
    fitting.next().filter(|password| !password.is_empty())
}

/// One field of a line, as it is written.
struct Field<'a>(&'a str);

impl Field<'_> {
    fn fits(&self, wanted: &str) -> bool {
        self.0 == "*" || unescaped(self.0) == wanted
    }
}

/// The field before the first `:` that no `\` makes a plain letter, and what follows.
fn field(line: &str) -> Option<(Field<'_>, &str)> {
    let mut escaped = false;
    let end = line.bytes().position(|byte| {
        let ends = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    // Not by an index: a panic over one would print the line, which holds a password.
    let (first, rest) = line.split_at_checked(end)?;
    Some((Field(first), rest.strip_prefix(':')?))
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        // One at the end stands for itself.
        plain.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(text: &str, expected: Option<&str>) {
        let wanted = Wanted { hosts: &["db"], port: 5432, database: "limits", user: "app" };
        assert_eq!(password(text, &wanted).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        finds("", None);
        finds("other:5432:limits:app:no\ndb:5432:limits:app:one\n*:*:*:*:two", Some("one"));
        finds("db:5433:limits:app:no\ndb:5432:x:app:no\ndb:5432:limits:x:no\n*:*:*:*:two\n", Some("two"));
        finds("#db:5432:limits:app:no\r\ndb:*:*:*:yes\r\n", Some("yes"));
        finds("db:5432:limits:app\ndb:5432:limits", None);
        finds("db:5432:limits:app:\n*:*:*:*:later", None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        finds(r"*:*:*:*:a\:b\\c:d", Some(r"a:b\c:d"));
        finds(r"d\b:*:*:*:yes", Some("yes"));
        finds(r"\*:*:*:*:no", None);
        let wanted = Wanted { hosts: &["::1"], port: 1, database: "a:b", user: r"c\d" };
        assert_eq!(password(r"\:\:1:1:a\:b:c\\d:yes", &wanted).as_deref(), Some("yes"));
        assert_eq!(password("::1:1:a:b:c", &wanted), None);
    }

    #[test]
    fn a_socket_has_two_names() {
        let wanted = Wanted { hosts: &["/run/postgresql", "localhost"], port: 1, database: "d", user: "u" };
        assert_eq!(password("localhost:1:d:u:yes", &wanted).as_deref(), Some("yes"));
        assert_eq!(password("/run/postgresql:1:d:u:yes", &wanted).as_deref(), Some("yes"));
    }
}
