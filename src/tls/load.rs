//! What a handshake begins with, read from files.

use std::path::Path;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::clients::AllowedClients;
use super::{AllowedName, MAX_NAMES, MinVersion, Names, Protocol, Settings};
use crate::store::Mistake;
use crate::store::pem::{self, Named, Pair};
use crate::time::Timestamp;

/// How far in the future a certificate may begin, in milliseconds: one that was just issued must not be refused
/// because this machine's clock is a little late.
const MAX_CLOCK_SKEW_MS: u64 = 5 * 60 * 1_000;

/// What handshakes begin with, and what it was made of.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the certificate is good no more.
    pub(super) expires: Timestamp,
    /// What stands in the files; the same again is not news.
    pub(super) texts: Vec<Vec<u8>>,
}

/// Reads the files of `settings`, which name a certificate and a key.
///
/// # Errors
/// Every file that cannot be used, and why.
pub(super) fn load(
    settings: &Settings,
    names: &Names,
    protocol: Protocol,
    now: Timestamp,
) -> Result<Loaded, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut texts = Vec::new();
    let cert = Named { setting: names.cert_file, path: settings.cert_file.as_deref() };
    let key = Named { setting: names.key_file, path: settings.key_file.as_deref() };
    let pair = pem::pair(cert, key, "holds no private key in PEM form", &mut mistakes);
    let cert_path = settings.cert_file.as_deref().unwrap_or(Path::new(""));
    let mistake = |what: &str| pem::mistake(names.cert_file, cert_path, what);
    let expires = pair.as_ref().and_then(|Pair { chain, .. }| {
        expiry(&chain[0], now).map_err(|what| mistakes.push(mistake(&what))).ok()
    });
    let clients = clients(settings, names, &mut texts, &mut mistakes);
    let (Some(pair), Some(expires), true) = (pair, expires, mistakes.is_empty()) else {
        return Err(mistakes);
    };
    texts.extend([pair.chain_text, pair.key_text]);
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions(settings.min_version))
        .expect("the provider has what the protocol needs");
    let is_known = clients.is_some();
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(pair.chain, pair.key)
        .map_err(|error| vec![mistake(&format!("and its key cannot be used: {error}"))])?;
    config.alpn_protocols = vec![protocol.alpn()];
    if is_known {
        // A session that is resumed shows no certificate, so one that is allowed no more would still get in.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), expires, texts })
}

fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        MinVersion::Tls12 => &FROM_TLS12,
        MinVersion::Tls13 => &FROM_TLS12[..1],
    }
}

/// When a certificate expires.
///
/// # Errors
/// What is wrong with it, if it cannot be shown to anybody at `now`.
fn expiry(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<Timestamp, String> {
    let read = Certificate::from_der(certificate)
        .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
    let validity = read.tbs_certificate.validity;
    let ms = |time: x509_cert::time::Time| {
        Timestamp::from_ms(u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX))
    };
    if ms(validity.not_after) <= now {
        return Err(format!("holds a certificate that expired at {}", validity.not_after));
    }
    if ms(validity.not_before).ms() > now.ms().saturating_add(MAX_CLOCK_SKEW_MS) {
        return Err(format!("holds a certificate that is not valid before {}", validity.not_before));
    }
    Ok(ms(validity.not_after))
}

/// What checks clients, if they are to be known.
fn clients(
    settings: &Settings,
    names: &Names,
    texts: &mut Vec<Vec<u8>>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let path = settings.client_ca_file.as_deref()?;
    let mut allowed = settings.client_sans.clone();
    if let Some(path) = &settings.client_sans_file {
        allowed.extend(allowed_names(names.client_sans_file, path, texts, mistakes)?);
    }
    let (text, certificates) = pem::certificates(names.client_ca_file, path, mistakes)?;
    let roots = pem::authorities(names.client_ca_file, path, &certificates, mistakes)?;
    texts.push(text);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signed = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let signed = signed.map_err(|error| {
        mistakes.push(pem::mistake(names.client_ca_file, path, &format!("cannot be used: {error}")));
    });
    let signed = signed.ok()?;
    Some(if allowed.is_empty() { signed } else { Arc::new(AllowedClients { signed, allowed }) })
}

/// The names in a file: one on each line, at least one in all.
fn allowed_names(
    setting: &'static str,
    path: &Path,
    texts: &mut Vec<Vec<u8>>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Vec<AllowedName>> {
    let text = pem::read(setting, path, mistakes)?;
    let found = String::from_utf8_lossy(&text).into_owned();
    texts.push(text);
    let lines = found.lines().map(str::trim).enumerate();
    let mut allowed = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match AllowedName::parse(line) {
            Ok(name) => allowed.push(name),
            Err(message) => {
                let what = format!("holds in line {} what cannot be compared: {message}", index + 1);
                mistakes.push(pem::mistake(setting, path, &what));
                return None;
            }
        }
    }
    let what = match allowed.len() {
        0 => "names nobody, so no client could connect",
        length if length > MAX_NAMES => "holds too many names",
        _ => return Some(allowed),
    };
    mistakes.push(pem::mistake(setting, path, what));
    None
}
