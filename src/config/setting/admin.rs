//! The settings of the admin listener, and of the pages that the HTTP listener need not have.

use super::{Setting, address, count, path, problems, put, secret, setting};
use crate::admin::Address;
use crate::config::Config;
use crate::yaml::{Problem, Value};

pub(super) const SETTINGS: &[Setting] = &[
    setting("admin.address", |value, to| put(&mut to.admin.address, admin_address(value))),
    setting("admin.token", |value, to| put(&mut to.admin.token, secret(value).map(Some))),
    setting("admin.token_file", |value, to| {
        let path = path(value, to);
        put(&mut to.admin.token_file, path.map(Some));
    }),
    setting("admin.without_token", |value, to| put(&mut to.admin.without_token, value.bool())),
    setting("limits.admin_connections", |value, to| put(&mut to.admin.bounds.connections, count(value))),
    setting("endpoints.json", |value, to| put(&mut to.endpoints.json, value.bool())),
    setting("endpoints.rlconfig", |value, to| put(&mut to.endpoints.rlconfig, value.bool())),
];

/// What the settings of the admin listener say together.
pub(super) fn complete(config: &Config) -> Vec<Problem> {
    problems(config.admin.mistakes())
}

fn admin_address(value: &mut Value<'_, '_>) -> Option<Address> {
    // Unquoted it is a truth value for YAML.
    if value.node().scalar().is_some_and(|scalar| &*scalar.text == "off") {
        return Some(Address::Off);
    }
    address(value).map(Address::At)
}
