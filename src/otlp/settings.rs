//! Where a collector is and how it is spoken to.

use std::fmt;

use http::{HeaderName, HeaderValue, Uri};

use super::TlsFiles;
use crate::store::{Mistake, percent};
use crate::yaml::{Message, quoted};

/// How long one export may take unless settings say otherwise, in milliseconds; OpenTelemetry's own default.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;

/// The most attributes of a resource, and headers of an export.
const MAX_PAIRS: usize = 64;

/// The variables of OpenTelemetry that are read where no setting says it, in the order of [`Environment`].
pub const VARIABLES: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
];

/// Where a collector is and how it is spoken to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Its address; `None` is the protocol's port on this machine.
    pub endpoint: Option<Endpoint>,
    /// What it speaks; `None` is gRPC.
    pub protocol: Option<Protocol>,
    /// Sent with every export; values are never shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one export may take, in milliseconds, with all attempts.
    pub timeout_ms: u64,
    /// What an encrypted connection is opened with.
    pub tls: TlsFiles,
    /// The name under which this service is known.
    pub service_name: Option<String>,
    /// What else is told about this instance.
    pub resource_attributes: Vec<(String, String)>,
    /// What OpenTelemetry's variables say; read by [`Self::complete`].
    pub environment: Environment,
}

/// The values of [`VARIABLES`] that are set and not empty. They are read for what they say only where something is
/// exported, so nobody has looked yet whether a password stands in them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(pub [Option<String>; VARIABLES.len()]);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = VARIABLES.iter().zip(&self.0).filter(|(_, value)| value.is_some());
        f.debug_set().entries(set.map(|(name, _)| name)).finish()
    }
}

/// What a collector speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP/1.1, in protobuf.
    Http,
}

/// The URL of a collector: `http` or `https`, a host, a port, and for OTLP over HTTP what comes before
/// `/v1/traces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            headers: Vec::new(),
            timeout_ms: DEFAULT_TIMEOUT_MS,
            tls: TlsFiles::default(),
            service_name: None,
            resource_attributes: Vec::new(),
            environment: Environment::default(),
        }
    }
}

impl Settings {
    /// Fills in what only OpenTelemetry's variables say, and reads the files once to see whether they can be used.
    pub fn complete(&mut self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let Environment([endpoint, protocol, service_name, attributes_text]) = self.environment.clone();
        let mut told = |variable: usize, message| {
            mistakes.push(Mistake { setting: VARIABLES[variable], message });
        };
        if let (None, Some(text)) = (&self.endpoint, endpoint) {
            self.endpoint = Endpoint::parse(&text).map_err(|message| told(0, message)).ok();
        }
        if let (None, Some(text)) = (self.protocol, protocol) {
            self.protocol = Protocol::parse(&text).map_err(|message| told(1, message)).ok();
        }
        if self.service_name.is_none() {
            self.service_name = service_name;
        }
        if let (true, Some(text)) = (self.resource_attributes.is_empty(), attributes_text) {
            let read = attributes(&text).map_err(|message| told(3, message));
            self.resource_attributes = read.unwrap_or_default();
        }
        // What the system trusts is no mistake of a setting.
        if let Err(found) = self.tls.load(false) {
            mistakes.extend(found);
        }
        mistakes
    }

    /// What the collector speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::Grpc)
    }

    /// The URL that `path` of OTLP over HTTP has; gRPC has no path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let base = self.endpoint.as_ref().map(|Endpoint(url)| url.trim_end_matches('/'));
        match self.protocol() {
            Protocol::Grpc => base.unwrap_or("http://localhost:4317").to_owned(),
            Protocol::Http => format!("{}{path}", base.unwrap_or("http://localhost:4318")),
        }
    }
}

impl Endpoint {
    /// The endpoint that `text` names.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Message> {
        let expected = "a URL such as `http://collector:4317` or `https://collector:4318`";
        // It may be one with a password or a token in it.
        let is_plain =
            text.chars().all(|letter| letter.is_ascii_alphanumeric() || ":/.-_[]".contains(letter));
        let shown = if is_plain { quoted(text) } else { "this".to_owned() };
        let wrong = || Message::new(format!("{shown} is no address of a collector"));
        let uri: Uri = text.parse().map_err(|_| wrong().expected(expected))?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        // A password would be logged with the address; there are headers for it.
        let clean = uri.query().is_none() && uri.authority().is_some_and(|at| !at.as_str().contains('@'));
        if !known || !clean {
            return Err(wrong().expected(expected));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether connections to it are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Protocol {
    /// The names of both in settings.
    pub const ALL: [(&'static str, Self); 2] = [("grpc", Self::Grpc), ("http", Self::Http)];

    fn parse(text: &str) -> Result<Self, Message> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => {
                let message = Message::new(format!("{} is no protocol of OTLP", quoted(text)));
                Err(message.expected("`grpc` or `http/protobuf`"))
            }
        }
    }
}

/// Attributes of a resource: `name=value` with `,` between them, and `%2C` for a `,` in a value.
///
/// # Errors
/// Says what is wrong with them.
pub fn attributes(text: &str) -> Result<Vec<(String, String)>, Message> {
    pairs(text, "`name=value`, with `,` between several")
}

/// Headers: as [`attributes`], with names and values that HTTP allows. No error repeats a value.
///
/// # Errors
/// Says what is wrong with them.
pub fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Message> {
    let read = pairs(text, "`name=value`, with `,` between several")?;
    let header = |(name, value): (String, String)| {
        let of_name = |_| Message::new(format!("{} cannot be the name of a header", quoted(&name)));
        let of_value = |_| Message::new(format!("the value of {} cannot stand in a header", quoted(&name)));
        let mut value = HeaderValue::try_from(value).map_err(of_value)?;
        value.set_sensitive(true);
        Ok((HeaderName::try_from(name.as_str()).map_err(of_name)?, value))
    };
    read.into_iter().map(header).collect()
}

fn pairs(text: &str, expected: &str) -> Result<Vec<(String, String)>, Message> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').filter(|(name, _)| !name.trim().is_empty())?;
        Some((percent::decode(name.trim()).ok()?, percent::decode(value.trim()).ok()?))
    };
    // What stands there may be a secret, so it is not repeated.
    let wrong = || Message::new("a part of it is no pair of a name and a value").expected(expected);
    let read: Vec<_> = parts.map(|part| pair(part).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    if read.len() > MAX_PAIRS {
        return Err(
            Message::new(format!("there are {} pairs", read.len())).expected(format!("at most {MAX_PAIRS}"))
        );
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_a_password() {
        for text in ["http://collector:4317", "https://[::1]:4318", "HTTPS://collector/otlp", "http://a:1/"] {
            assert!(Endpoint::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "collector:4317", "grpc://a:1", "http://me:secret@a:1", "http://a:1?x=y", "/a", "http://"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        assert!(Endpoint::parse("HTTPS://a").unwrap().is_encrypted());
        assert!(!Endpoint::parse("http://https").unwrap().is_encrypted());
    }

    #[test]
    fn pairs_are_read_as_opentelemetry_writes_them() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(attributes(text), Ok(expected), "{text}");
        };
        check("", &[]);
        check("a=b", &[("a", "b")]);
        check(" a = b , c=d=e,", &[("a", "b"), ("c", "d=e")]);
        check("a=b%2Cc%20d,e=", &[("a", "b,c d"), ("e", "")]);
        for text in ["a", "=b", "a=%2", "a=%zz", "a=%+f", "a=%ff", "a=b,c", "a=%é"] {
            assert!(attributes(text).is_err(), "{text}");
        }
        assert!(attributes(&"a=b,".repeat(65)).is_err());
    }

    #[test]
    fn no_message_and_no_debug_form_shows_a_header() {
        let read = headers("authorization=Bearer%20hidden").unwrap();
        assert_eq!(read[0].1.to_str().unwrap(), "Bearer hidden");
        assert!(!format!("{read:?}").contains("hidden"), "{read:?}");
        for text in ["a=b,hidden", "a=hidden%0A", "a b=hidden"] {
            let message = headers(text).unwrap_err().to_string();
            assert!(!message.contains("hidden"), "{message}");
        }
    }

    #[test]
    fn settings_count_before_variables() {
        let environment = ["http://of-variable:1", "http/protobuf", "of-variable", "a=b"];
        let environment = Environment(environment.map(|text| Some(text.to_owned())));
        let mut of_variables = Settings { environment: environment.clone(), ..Settings::default() };
        assert_eq!(of_variables.complete(), []);
        assert_eq!(of_variables.url("/v1/traces"), "http://of-variable:1/v1/traces");
        assert_eq!(of_variables.service_name.as_deref(), Some("of-variable"));
        assert_eq!(of_variables.resource_attributes, [("a".to_owned(), "b".to_owned())]);
        let own = Settings {
            endpoint: Some(Endpoint::parse("http://own:2/otlp/").unwrap()),
            protocol: Some(Protocol::Grpc),
            service_name: Some("own".to_owned()),
            resource_attributes: vec![("c".to_owned(), "d".to_owned())],
            environment,
            ..Settings::default()
        };
        let mut completed = own.clone();
        assert_eq!(completed.complete(), []);
        assert_eq!(completed, own);
        assert_eq!(completed.url("/v1/traces"), "http://own:2/otlp");
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named() {
        let environment = ["collector", "udp", "", "a"].map(|text| Some(text.to_owned()));
        let mut settings = Settings { environment: Environment(environment), ..Settings::default() };
        let named: Vec<_> = settings.complete().into_iter().map(|mistake| mistake.setting).collect();
        assert_eq!(named, [VARIABLES[0], VARIABLES[1], VARIABLES[3]]);
    }
}
