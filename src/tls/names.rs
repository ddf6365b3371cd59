//! The names in certificates of clients, and which of them may ask.

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::yaml::{Message, quoted};

/// The most names that are allowed one by one: each is compared with those of a client at its handshake.
pub const MAX_NAMES: usize = 10_000;

/// The longest name, in bytes; SPIFFE allows 2,048.
const MAX_NAME_BYTES: usize = 2_048;

/// The most names of a certificate that are read; more are not a client's.
const MAX_PRESENTED: usize = 100;

/// A subject alternative name that may ask: of DNS or a URI such as a SPIFFE id.
///
/// It is compared segment by segment; segments stand between the dots of a DNS name, or the slashes of a URI. `*`
/// stands for exactly one whole segment: the first of a DNS name, any of a URI's path. `**` as the last of a path
/// stands for one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedName(Pattern);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// In lower case.
    Dns(String),
    Uri(String),
}

impl AllowedName {
    /// The name, or pattern of names, that `text` is.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Message> {
        let wrong = |what: &str| {
            let message = Message::new(format!("{} {what}", quoted(text)));
            message.expected(
                "a DNS name such as `envoy.example.com`, or a URI such as `spiffe://example.com/envoy`",
            )
        };
        if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(wrong("is no name of a client"));
        }
        if text.contains(':') {
            return uri(text).map(Pattern::Uri).map(Self).map_err(wrong);
        }
        dns(text).map(Pattern::Dns).map(Self).map_err(wrong)
    }

    /// Whether `name` is meant.
    fn matches(&self, name: &ClientName) -> bool {
        match (&self.0, name) {
            (Pattern::Dns(pattern), ClientName::Dns(name)) => {
                let name = name.to_ascii_lowercase();
                match pattern.strip_prefix("*.") {
                    // A certificate may itself be for `*.example.com`; that is one segment like any other.
                    Some(parent) => {
                        name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == parent)
                    }
                    None => *pattern == name,
                }
            }
            (Pattern::Uri(pattern), ClientName::Uri(name)) => uri_matches(pattern, name),
            _ => false,
        }
    }
}

/// The pattern, or what is wrong with it.
fn dns(text: &str) -> Result<String, &'static str> {
    let parent = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if parent.contains('*') {
        return Err("may hold `*` only as the whole first part of a DNS name");
    }
    if !parent.split('.').all(is_label) {
        return Err("is no DNS name");
    }
    Ok(text.to_ascii_lowercase())
}

/// The pattern, or what is wrong with it.
fn uri(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or("is no URI")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => rest.split_once('/').unwrap_or((rest, "")),
    };
    if !is_scheme || authority.is_empty() {
        return Err("is no URI with a host");
    }
    if authority.contains('*') {
        return Err("may hold `*` only in the path of a URI");
    }
    let last = path.split('/').count() - 1;
    for (index, segment) in path.split('/').enumerate() {
        let is_pattern = segment == "*" || segment == "**" && index == last;
        if segment.contains('*') && !is_pattern {
            return Err("may hold `*` only as a whole part of the path, and `**` only as the last one");
        }
    }
    Ok(text.to_owned())
}

fn uri_matches(pattern: &str, name: &str) -> bool {
    // What stands before the path has no pattern, so it is compared like the rest.
    let mut names = name.split('/');
    let mut patterns = pattern.split('/');
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some("*"), Some(segment)) if is_plain(segment) => {}
            (Some("**"), Some(segment)) => return is_plain(segment) && names.all(is_plain),
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
}

/// Whether a part of a path is what it seems: some readers of a URI take `..` for a step back.
fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

/// A subject alternative name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClientName {
    Dns(String),
    Uri(String),
    /// An address, for example; it is shown and never allowed.
    Other(&'static str),
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Whatever stands in it stays on its line of the log.
            Self::Dns(name) | Self::Uri(name) => write!(f, "{}", name.escape_debug()),
            Self::Other(kind) => write!(f, "({kind})"),
        }
    }
}

/// The names of a certificate.
///
/// # Errors
/// The certificate, or its list of names, cannot be read.
pub(super) fn client_names(
    certificate: &CertificateDer<'_>,
) -> Result<Vec<ClientName>, x509_cert::der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let found = certificate.tbs_certificate.get::<SubjectAltName>()?;
    let names = found.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let name = |name: GeneralName| match name {
        GeneralName::DnsName(name) => ClientName::Dns(name.as_str().to_owned()),
        GeneralName::UniformResourceIdentifier(name) => ClientName::Uri(name.as_str().to_owned()),
        GeneralName::IpAddress(_) => ClientName::Other("an address"),
        GeneralName::Rfc822Name(_) => ClientName::Other("a mailbox"),
        _ => ClientName::Other("another kind of name"),
    };
    Ok(names.into_iter().take(MAX_PRESENTED).map(name).collect())
}

/// Whether one of the names is allowed.
pub(super) fn is_allowed(allowed: &[AllowedName], names: &[ClientName]) -> bool {
    names.iter().any(|name| allowed.iter().any(|allowed| allowed.matches(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        let allowed = AllowedName::parse(pattern).unwrap_or_else(|message| panic!("{pattern}: {message}"));
        let name =
            if name.contains(':') { ClientName::Uri(name.into()) } else { ClientName::Dns(name.into()) };
        assert_eq!(allowed.matches(&name), expected, "{pattern} and {name}");
    }

    #[test]
    fn a_name_without_a_star_is_exactly_that_name() {
        check("envoy.example.com", "envoy.example.com", true);
        check("Envoy.example.com", "envoy.EXAMPLE.com", true);
        for other in ["a.envoy.example.com", "example.com", "envoy.example.com.", "*.example.com", "envoy"] {
            check("envoy.example.com", other, false);
        }
        check("spiffe://td/ns/x/sa/y", "spiffe://td/ns/x/sa/y", true);
        for other in [
            "spiffe://td/ns/x/sa/Y",
            "spiffe://td/ns/x/sa/y/",
            "spiffe://td/ns/x/sa",
            "spiffe://TD/ns/x/sa/y",
            "https://td/ns/x/sa/y",
            "spiffe://td/ns/x/sa/y/z",
            "spiffe://td//ns/x/sa/y",
        ] {
            check("spiffe://td/ns/x/sa/y", other, false);
        }
        check("spiffe://td", "spiffe://td", true);
        check("urn:uuid:1", "urn:uuid:1", true);
    }

    #[test]
    fn a_star_is_one_whole_part() {
        check("*.example.com", "a.example.com", true);
        check("*.example.com", "*.example.com", true);
        for other in ["example.com", "a.b.example.com", ".example.com", "aexample.com", "a.example.com.org"] {
            check("*.example.com", other, false);
        }
        check("spiffe://td/ns/*/sa/y", "spiffe://td/ns/x/sa/y", true);
        for other in ["spiffe://td/ns/x/z/sa/y", "spiffe://td/ns//sa/y", "spiffe://td/ns/../sa/y"] {
            check("spiffe://td/ns/*/sa/y", other, false);
        }
        check("spiffe://td/*", "spiffe://td/x", true);
        check("spiffe://td/*", "spiffe://td/x/y", false);
        check("spiffe://td/*", "spiffe://td", false);
    }

    #[test]
    fn two_stars_are_the_rest_of_a_path() {
        check("spiffe://td/ns/x/**", "spiffe://td/ns/x/sa/y", true);
        check("spiffe://td/ns/x/**", "spiffe://td/ns/x/sa", true);
        for other in
            ["spiffe://td/ns/x", "spiffe://td/ns/x/", "spiffe://td/ns/xy/sa", "spiffe://td/ns/x/../z"]
        {
            check("spiffe://td/ns/x/**", other, false);
        }
        check("spiffe://td/**", "spiffe://td.evil/x", false);
    }

    #[test]
    fn a_dns_name_is_never_a_uri() {
        let allowed = AllowedName::parse("spiffe://td/x").unwrap();
        assert!(!allowed.matches(&ClientName::Dns("spiffe://td/x".to_owned())));
        let allowed = AllowedName::parse("td").unwrap();
        assert!(!allowed.matches(&ClientName::Uri("td".to_owned())));
        assert!(!allowed.matches(&ClientName::Other("an address")));
    }

    #[test]
    fn what_would_allow_more_than_it_seems_is_no_name() {
        for text in [
            "",
            "*",
            "*.*.com",
            "a.*.com",
            "a*.com",
            "**.com",
            "*.",
            "a..b",
            "a b",
            "ä.com",
            ":x",
            "1a:b",
            "spiffe://*/x",
            "spiffe://td*/x",
            "spiffe:///x",
            "spiffe://td/a*",
            "spiffe://td/**/x",
            "spiffe:",
            "spiffe://td/x y",
            "spiffe://td/***",
        ] {
            assert!(AllowedName::parse(text).is_err(), "{text}");
        }
        assert!(AllowedName::parse(&"a".repeat(MAX_NAME_BYTES + 1)).is_err());
    }

    #[test]
    fn the_names_of_a_certificate_are_read() {
        use rcgen::{CertificateParams, KeyPair, SanType};
        let mut params = CertificateParams::new(["a.example.com".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://td/x".try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = client_names(certificate.der()).unwrap();
        assert_eq!(
            names,
            [
                ClientName::Dns("a.example.com".to_owned()),
                ClientName::Other("an address"),
                ClientName::Uri("spiffe://td/x".to_owned())
            ]
        );
        let bare = CertificateParams::new([]).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(client_names(bare.der()).unwrap(), []);
        assert!(client_names(&CertificateDer::from(vec![0x30, 3, 1, 2, 3])).is_err());
    }
}
