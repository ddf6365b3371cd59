//! How the listeners speak TLS.

use super::{MAX_WAIT_MS, Setting, path, problems, put, setting};
use crate::config::Config;
use crate::tls::{self, AllowedName, MAX_NAMES, MinVersion};
use crate::yaml::{Kind, Message, Problem, Value};

/// The settings below `$group`, which go to `$place`.
macro_rules! settings {
    ($group:literal, $place:ident) => {
        [
            setting(concat!($group, ".cert_file"), |value, to| {
                let path = path(value, to);
                put(&mut to.$place.cert_file, path.map(Some));
            }),
            setting(concat!($group, ".key_file"), |value, to| {
                let path = path(value, to);
                put(&mut to.$place.key_file, path.map(Some));
            }),
            setting(concat!($group, ".client_ca_file"), |value, to| {
                let path = path(value, to);
                put(&mut to.$place.client_ca_file, path.map(Some));
            }),
            setting(concat!($group, ".client_sans"), |value, to| {
                put(&mut to.$place.client_sans, client_sans(value));
            }),
            setting(concat!($group, ".client_sans_file"), |value, to| {
                let path = path(value, to);
                put(&mut to.$place.client_sans_file, path.map(Some));
            }),
            setting(concat!($group, ".min_version"), |value, to| {
                put(&mut to.$place.min_version, value.choice(&MinVersion::ALL));
            }),
            setting(concat!($group, ".handshake_timeout_ms"), |value, to| {
                put(&mut to.$place.handshake_timeout_ms, value.u64_in(1..=MAX_WAIT_MS));
            }),
            setting(concat!($group, ".max_handshakes"), |value, to| {
                put(&mut to.$place.max_handshakes, handshakes(value));
            }),
        ]
    };
}

/// The settings of gRPC's listener.
pub(super) const GRPC: &[Setting] = &settings!("grpc_tls", grpc_tls);

/// The settings of HTTP's listener.
pub(super) const HTTP: &[Setting] = &settings!("http_tls", http_tls);

/// The settings of the listener of operators.
pub(super) const ADMIN: &[Setting] = &settings!("admin_tls", admin_tls);

/// What the listeners lack. Files are read when they are opened.
pub(super) fn complete(config: &Config) -> Vec<Problem> {
    let mut mistakes = config.grpc_tls.mistakes(&tls::GRPC);
    mistakes.extend(config.http_tls.mistakes(&tls::HTTP));
    mistakes.extend(config.admin_tls.mistakes(&tls::ADMIN));
    problems(mistakes)
}

/// A list, or a text with `,` between names, as a variable has it.
fn client_sans(value: &mut Value<'_, '_>) -> Option<Vec<AllowedName>> {
    let names = if let Kind::Scalar(_) = value.node().kind {
        let text = value.text()?;
        let names: Result<Vec<_>, Message> =
            text.split(',').map(|name| AllowedName::parse(name.trim())).collect();
        names.map_err(|message| value.error(message)).ok()?
    } else {
        value.list(|item| {
            let name = AllowedName::parse(&item.text().unwrap_or_default());
            name.map_err(|message| item.error(message)).ok()
        })?
    };
    if names.len() > MAX_NAMES {
        let message = Message::new(format!("{} names are too many", names.len()));
        value.error(message.expected(format!("at most {MAX_NAMES}")).hint("one `*` may stand for many"));
        return None;
    }
    Some(names)
}

/// Places for handshakes.
fn handshakes(value: &mut Value<'_, '_>) -> Option<usize> {
    value.u64_in(1..=1 << 20).and_then(|count| usize::try_from(count).ok())
}
