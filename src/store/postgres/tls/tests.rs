//! Handshakes in memory, with every kind of certificate.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;

/// An authority with its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

/// What a server shows, in PEM form: its certificate and its key.
type Pair = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    fn roots(&self) -> Roots {
        Roots::File(self.directory.path().join("ca.pem"))
    }

    fn signs(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

/// A certificate that signed itself, as `openssl req -x509` makes it: an authority and a server in one.
fn own_authority(name: &str) -> Pair {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A handshake of a client in that mode with a server called `db`.
fn shakes(mode: SslMode, roots: Option<Roots>, (cert, key): &Pair) -> Result<(), Error> {
    let files = TlsFiles { roots, ..TlsFiles::default() };
    let client = Arc::new(files.load(mode).unwrap_or_else(|mistakes| panic!("{mistakes:?}")));
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut client = ClientConnection::new(client, "db".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[track_caller]
fn refuses(mode: SslMode, roots: Option<Roots>, pair: &Pair, why: &str) {
    let error = shakes(mode, roots, pair).expect_err("a bad certificate").to_string();
    assert!(error.contains(why), "{mode:?}: {error}");
}

#[test]
fn each_mode_asks_for_as_much_as_it_says() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (right, wrong_name, foreign) =
        (ours.signs(&named("db")), ours.signs(&named("elsewhere")), others.signs(&named("db")));
    for mode in [SslMode::Prefer, SslMode::Require] {
        for pair in [&right, &wrong_name, &foreign] {
            shakes(mode, None, pair).unwrap();
        }
    }
    shakes(SslMode::VerifyCa, Some(ours.roots()), &right).unwrap();
    shakes(SslMode::VerifyCa, Some(ours.roots()), &wrong_name).unwrap();
    refuses(SslMode::VerifyCa, Some(ours.roots()), &foreign, "invalid peer certificate");
    shakes(SslMode::VerifyFull, Some(ours.roots()), &right).unwrap();
    refuses(SslMode::VerifyFull, Some(ours.roots()), &wrong_name, "not valid for name");
    refuses(SslMode::VerifyFull, Some(ours.roots()), &foreign, "invalid peer certificate");
}

#[test]
fn a_certificate_out_of_its_time_is_refused_where_authorities_count() {
    let ours = Authority::new();
    let mut params = named("db");
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let expired = ours.signs(&params);
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        refuses(mode, Some(ours.roots()), &expired, "expired");
    }
    shakes(SslMode::Require, None, &expired).unwrap();
}

#[test]
fn a_certificate_that_signed_itself_is_trusted_if_it_is_the_one_in_the_file() {
    let ours = Authority::new();
    let [pair, stranger] = [own_authority("db"), own_authority("db")];
    let file = ours.directory.path().join("self.pem");
    std::fs::write(&file, &pair.0).unwrap();
    let roots = || Some(Roots::File(file.clone()));
    shakes(SslMode::VerifyFull, roots(), &pair).unwrap();
    refuses(SslMode::VerifyFull, roots(), &stranger, "invalid peer certificate");
    refuses(SslMode::VerifyCa, roots(), &stranger, "invalid peer certificate");
    let elsewhere = own_authority("elsewhere");
    std::fs::write(&file, &elsewhere.0).unwrap();
    shakes(SslMode::VerifyCa, roots(), &elsewhere).unwrap();
    refuses(SslMode::VerifyFull, roots(), &elsewhere, "not valid for name");
}

/// Otherwise whoever has seen the server's certificate could show it, and a bound login would bind to him.
#[test]
fn a_certificate_without_its_key_is_refused_in_every_mode() {
    let ours = Authority::new();
    let (cert, _) = ours.signs(&named("db"));
    let key = KeyPair::generate().unwrap();
    let provider = ring::default_provider();
    let signing =
        provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    let stolen = rustls::sign::CertifiedKey::new(
        vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
        signing.unwrap(),
    );
    let server = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    let client = TlsFiles::default().load(SslMode::Require).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), "db".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    wire.clear();
    server.write_tls(&mut wire).unwrap();
    client.read_tls(&mut wire.as_slice()).unwrap();
    let error = client.process_new_packets().unwrap_err().to_string();
    assert!(error.contains("BadSignature"), "{error}");
}

#[test]
fn each_file_that_cannot_be_used_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let said = |files: &TlsFiles| -> Vec<String> {
        let mistakes = files.load(SslMode::VerifyFull).expect_err("something is wrong");
        mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message)).collect()
    };
    let (roots, cert) = (Some(Roots::File("/nowhere/ca.pem".into())), Some(file("empty.pem", "")));
    let found = said(&TlsFiles { roots, cert: cert.clone(), key: Some(file("key.pem", "hunter2")) });
    assert!(found[0].starts_with("postgres.sslrootcert: `/nowhere/ca.pem` cannot be read: "), "{found:?}");
    assert!(found[1].starts_with("postgres.sslcert: ") && found[1].ends_with("no certificate in PEM form"));
    assert!(found[2].starts_with("postgres.sslkey: ") && found[2].contains("no private key"), "{found:?}");
    let half = TlsFiles { cert, ..TlsFiles::default() };
    assert_eq!(said(&half), ["postgres.sslcert: `postgres.sslkey` is missing"]);
    let half = TlsFiles { key: Some("/x".into()), ..TlsFiles::default() };
    assert_eq!(said(&half), ["postgres.sslkey: `postgres.sslcert` is missing"]);
}
