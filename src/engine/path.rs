//! The way to a rule in its domain, or to what it counted.

use std::fmt;

/// Keys and values from the root of a domain down: how people and metrics name a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Path(Vec<(Box<str>, Option<Box<str>>)>);

impl Path {
    /// The path that goes on from this one by `key` and, where there is one, `value`.
    #[must_use]
    pub fn then(&self, key: &str, value: Option<&str>) -> Self {
        let mut longer = self.clone();
        longer.push(key, value);
        longer
    }

    /// Goes on by `key` and, where there is one, `value`.
    pub fn push(&mut self, key: &str, value: Option<&str>) {
        self.0.push((key.into(), value.map(Into::into)));
    }

    /// How the reference server names it in metrics and at `/rlconfig`: `domain.key_value.key`.
    #[must_use]
    pub fn reference_name(&self, domain: &str) -> String {
        let mut name = domain.to_owned();
        for (key, value) in &self.0 {
            name.push('.');
            name.push_str(key);
            if let Some(value) = value {
                name.push('_');
                name.push_str(value);
            }
        }
        name
    }
}

/// `tenant=acme > user`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " > " };
            write!(f, "{separator}{key}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_well_and_has_the_references_name_too() {
        let path = Path::default().then("tenant", Some("acme")).then("user", None);
        assert_eq!(path.to_string(), "tenant=acme > user");
        assert_eq!(path.reference_name("edge"), "edge.tenant_acme.user");
    }
}
