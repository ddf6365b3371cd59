//! The rules in force as text, one line per limit, as the reference prints them at `/rlconfig`.

use std::fmt::{self, Write};

use super::{LimitInfo, RuleSet};
use crate::engine::Path;
use crate::limit::Algorithm;

impl RuleSet {
    /// One line per limit, in file order.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for limit in &self.limits {
            let domain = self.by_name.get(limit.domain.as_bytes());
            let policy = domain.and_then(|domain| self.on_store_failure(*domain));
            let policy = policy.map(|policy| format!(", on_store_failure: {}", policy.name()));
            let tag = domain.and_then(|domain| self.domains[*domain].hash_tag.as_ref());
            let tag = tag.map(|tag| format!(", hash_tag: {}", tag.name()));
            writeln!(text, "{limit}{}{}", policy.unwrap_or_default(), tag.unwrap_or_default())
                .expect("writing to a string cannot fail");
        }
        text
    }
}

impl LimitInfo {
    pub(super) fn unlimited(domain: &str, path: &Path, name: &str) -> Self {
        Self {
            domain: domain.into(),
            path: path.clone(),
            name: name.into(),
            limit: None,
            shadow_mode: false,
            quota_mode: false,
            in_list: false,
        }
    }

    /// What tells this limit from the others of its rule: its name, else its numbers.
    #[must_use]
    pub fn label(&self) -> String {
        let Some(limit) = self.limit else { return "unlimited".to_owned() };
        if !self.name.is_empty() {
            return self.name.to_string();
        }
        let (units, unit) = (limit.unit_multiplier(), limit.unit().symbol());
        format!("{}/{units}{unit}/{}", limit.count(), limit.algorithm().name())
    }
}

/// The reference's line; what only we have follows where it differs from the reference's meaning.
impl fmt::Display for LimitInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.reference_name(&self.domain);
        let unit = self.limit.map_or("unknown", |limit| limit.unit().name()).to_uppercase();
        let count = self.limit.map_or(0, |limit| limit.count());
        let (shadow, quota) = (self.shadow_mode, self.quota_mode);
        write!(
            f,
            "{name}: unit={unit} requests_per_unit={count}, shadow_mode: {shadow}, quota_mode: {quota}"
        )?;
        let Some(limit) = self.limit else { return Ok(()) };
        if limit.algorithm() != Algorithm::FixedWindow || !limit.count_refused() {
            write!(f, ", algorithm: {}, count_refused: {}", limit.algorithm().name(), limit.count_refused())?;
        }
        if limit.unit_multiplier() != 1 {
            write!(f, ", unit_multiplier: {}", limit.unit_multiplier())?;
        }
        if limit.algorithm().is_bucket() {
            write!(f, ", burst: {}", limit.capacity())?;
        }
        Ok(())
    }
}
